package engine_test

import (
	"errors"

	"github.com/tongpengdl/small-db/engine"
)

// modelTx is an attempt of a transaction, as the model sees it.
type modelTx struct {
	began  modelState
	reads  []modelCondition // what it has read must still be so when it is committed
	writes []modelWrite
	since  map[string]bool // keys written by others since it began
	stale  bool            // it was refused a read of one of these
	failed bool            // its function has returned an error of its own
}

// update runs a transaction. What is written between comes from inside its function, on the first attempt only.
func (m *modelMachine) update(s modelStep) {
	var attempt *modelTx
	v, err := m.db.Update(ctx, func(tx *engine.Tx) error {
		first := attempt == nil
		if !first && !m.conflicts(attempt) {
			m.t.Fatalf("run again without a conflict")
		}
		m.tick()
		attempt = &modelTx{began: m.clone(), since: make(map[string]bool)}
		m.values = 0
		return m.attempt(tx, attempt, s, first)
	})
	switch {
	case m.conflicts(attempt):
		m.t.Fatalf("a conflict was overlooked: %v, %v", v, err)
	case s.Last:
		if err != errOwn {
			m.t.Fatalf("update: %v; want %v", err, errOwn)
		}
	case len(attempt.writes) == 0:
		if err != nil || v != attempt.began.version {
			m.t.Fatalf("update without writes: version %v, %v; want %v", v, err, attempt.began.version)
		}
	default:
		m.committed()
		for _, w := range attempt.writes {
			m.modelState.write(w)
		}
		m.wantVersion("update", v, err)
	}
}

// conflicts reports whether an attempt must be made again.
func (m *modelMachine) conflicts(a *modelTx) bool {
	m.tick()
	return a.stale || !a.failed && len(a.writes) > 0 && m.broken(a.reads) >= 0
}

// attempt is the function of the transaction.
func (m *modelMachine) attempt(tx *engine.Tx, a *modelTx, s modelStep, first bool) error {
	for i, choice := range s.Steps {
		if first && s.Disturb != nil && s.N == i {
			m.disturb(a, *s.Disturb)
		}
		if choice.Kind != stepRead {
			w := m.resolve(choice)
			w.addTo(tx)
			a.writes = append(a.writes, w)
		} else if err := m.readInTx(tx, a, choice.Key); err != nil && !s.Flag {
			return err
		}
	}
	if first && s.Disturb != nil && s.N == len(s.Steps) {
		m.disturb(a, *s.Disturb)
	}
	if a.failed = s.Last; a.failed {
		return errOwn
	}
	return nil
}

func (m *modelMachine) disturb(a *modelTx, s modelStep) {
	values := m.values
	m.values = 1 << 20 // others than those of the transaction, however often it is run
	m.perform(s)
	m.values = values
	a.since[s.Key] = s.Kind != stepClock
}

// readInTx reads a key. The first error of a read that others have made stale is returned.
func (m *modelMachine) readInTx(tx *engine.Tx, a *modelTx, key string) error {
	got, ok, err := tx.Entry([]byte(key))
	for i := len(a.writes) - 1; i >= 0; i-- {
		if a.writes[i].key == key {
			m.compareOwn(a, a.writes[i], got, ok, err)
			return nil
		}
	}
	if errors.Is(err, engine.ErrConflict) && a.since[key] {
		a.stale = true
		return err
	}
	m.compare("entry in a transaction", key, got, ok, err, &a.began)
	kind := whenAbsent
	if ok {
		kind = whenVersion
	}
	a.reads = append(a.reads, modelCondition{kind: kind, key: key, version: got.Version})
	value, ok, err := tx.Get([]byte(key))
	if err != nil || ok != (kind == whenVersion) || string(value) != string(got.Value) {
		m.t.Fatalf("get %.20q in a transaction: %s, %t, %v", key, brief(value), ok, err)
	}
	return nil
}

// compareOwn compares what a transaction reads with what it has written itself.
func (m *modelMachine) compareOwn(a *modelTx, w modelWrite, got engine.Entry, ok bool, err error) {
	want := modelEntry{value: w.value, deadline: w.deadline}
	set := !w.del && !a.began.due(want)
	if err != nil || ok != set || ok && !want.is(w.key, got) {
		m.t.Fatalf("own write of %.20q: %s, %t, %v; want %v, %t", w.key, briefly(got), ok, err, want, set)
	}
}
