package engine_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
)

// resolve says what the choices of a write come to. No two values of some length are the same.
func (m *modelMachine) resolve(s modelStep) modelWrite {
	w := modelWrite{key: s.Key, del: s.Kind == stepDelete}
	if w.del {
		return w
	}
	m.values++
	w.value = fmt.Sprintf("%d.%d ", m.steps, m.values)
	w.value = strings.Repeat(w.value, 1+s.Size/len(w.value))[:s.Size]
	if s.Kind != stepSet {
		w.deadline = s.Until.at(m.began, s.N)
	}
	return w
}

// resolveCondition says what a condition is to require.
func (m *modelMachine) resolveCondition(c conditionChoice) modelCondition {
	is, ok := m.get(c.Key)
	want := modelCondition{kind: c.Kind, key: c.Key, version: is.version, value: is.value}
	if !c.Right || !ok {
		if want.version.Epoch++; m.steps%2 == 0 { // another epoch, or another operation
			want.version = m.version
		}
		want.value = strings.Repeat("\x00", len(is.value))
	}
	return want
}

// committed notes that something was written.
func (m *modelMachine) committed() {
	m.sealed = m.tick()
	m.written = true
}

func (m *modelMachine) wantVersion(what string, got engine.Version, err error) {
	if err != nil || got != m.version {
		m.t.Fatalf("%s: version %v, %v; want %v", what, got, err, m.version)
	}
}

// write sets or deletes a key.
func (m *modelMachine) write(s modelStep) {
	w := m.resolve(s)
	var v engine.Version
	var err error
	key, value := []byte(w.key), []byte(w.value)
	switch s.Kind {
	case stepSet:
		v, err = m.db.Set(ctx, key, value)
	case stepSetUntil:
		v, err = m.db.SetUntil(ctx, key, value, timeOf(w.deadline))
	default:
		v, err = m.db.Delete(ctx, key)
	}
	clear(key) // it is the caller's again
	clear(value)
	m.committed()
	m.modelState.write(w)
	m.wantVersion(string(s.Kind), v, err)
}

// touch gives a key another deadline.
func (m *modelMachine) touch(s modelStep) {
	m.tick()
	e, set := m.get(s.Key)
	deadline := s.Until.at(m.began, s.N)
	ok, err := m.db.Touch(ctx, []byte(s.Key), timeOf(deadline))
	if err != nil || ok != set {
		m.t.Fatalf("touch %.20q: %t, %v; want %t", s.Key, ok, err, set)
	}
	if ok {
		m.committed()
		m.modelState.write(modelWrite{key: s.Key, value: e.value, deadline: deadline})
	}
}

// apply applies a batch.
func (m *modelMachine) apply(s modelStep) {
	m.tick()
	m.batch.Reset()
	var writes []modelWrite
	for _, choice := range s.Steps {
		writes = append(writes, m.resolve(choice))
		writes[len(writes)-1].addTo(&m.batch)
	}
	var conditions []modelCondition
	for _, choice := range s.Conditions {
		conditions = append(conditions, m.resolveCondition(choice))
		conditions[len(conditions)-1].addTo(&m.batch)
	}
	v, err := m.db.Apply(ctx, &m.batch)
	if broken := m.broken(conditions); broken >= 0 {
		m.wantBroken(err, broken, conditions[broken].key)
		return
	}
	if len(writes) > 0 {
		m.committed()
	}
	for _, w := range writes {
		m.modelState.write(w)
	}
	m.wantVersion("apply", v, err)
}

func (m *modelMachine) wantBroken(err error, index int, key string) {
	var broken *engine.ConditionError
	if !errors.As(err, &broken) || !errors.Is(err, engine.ErrConditionFailed) || broken.Index != index || string(broken.Key) != key {
		m.t.Fatalf("apply: %v; want condition %d to fail", err, index)
	}
}

// rival is a batch that competes with others.
type rival struct {
	batch      engine.Batch
	writes     []modelWrite
	conditions []modelCondition
	version    engine.Version
	err        error
}

// together applies several batches at a time. Their versions tell in which order they came; in that order the conditions of each
// that was applied must have held, and of each other one the condition named must have failed somewhere.
func (m *modelMachine) together(s modelStep) {
	m.tick()
	rivals := make([]*rival, 0, len(s.Steps))
	for _, choice := range s.Steps {
		r := new(rival)
		for _, c := range choice.Conditions {
			r.conditions = append(r.conditions, m.resolveCondition(c))
			r.conditions[len(r.conditions)-1].addTo(&r.batch)
		}
		for _, w := range append(choice.Steps, modelStep{Kind: stepSet, Key: "a", Size: 24}) { // none is empty: each has a place in the order
			r.writes = append(r.writes, m.resolve(w))
			r.writes[len(r.writes)-1].addTo(&r.batch)
		}
		rivals = append(rivals, r)
	}
	var running sync.WaitGroup
	for _, r := range rivals {
		running.Go(func() { r.version, r.err = m.db.Apply(ctx, &r.batch) })
	}
	running.Wait()
	slices.SortStableFunc(rivals, func(a, b *rival) int { return cmp.Compare(a.version.Seq, b.version.Seq) })
	m.judge(rivals)
}

// judge goes through rivals in the order of their versions; those that failed come first, with none.
func (m *modelMachine) judge(rivals []*rival) {
	failed := 0
	for failed < len(rivals) && rivals[failed].err != nil {
		failed++
	}
	explained := make([]bool, failed)
	explain := func() {
		for i, r := range rivals[:failed] {
			var broken *engine.ConditionError
			if !errors.As(r.err, &broken) {
				m.t.Fatalf("apply: %v", r.err)
			}
			explained[i] = explained[i] || m.broken(r.conditions) == broken.Index
		}
	}
	explain()
	for _, r := range rivals[failed:] {
		if broken := m.broken(r.conditions); broken >= 0 {
			m.t.Fatalf("applied at %v, where condition %d does not hold", r.version, broken)
		}
		m.committed()
		for _, w := range r.writes {
			m.modelState.write(w)
		}
		m.wantVersion("apply together", r.version, r.err)
		explain()
	}
	for i, r := range rivals[:failed] {
		if !explained[i] {
			m.t.Fatalf("%v, but it held all the time", r.err)
		}
	}
}

// refused asks for what cannot be done.
func (m *modelMachine) refused(s modelStep) {
	var b engine.Batch
	b.Set([]byte("a"), []byte("never"))
	var err, want error
	switch s.N {
	case 0:
		_, err = m.db.Set(ctx, nil, []byte("never"))
		want = engine.ErrKeyEmpty
	case 1:
		_, err = m.db.SetUntil(ctx, []byte("a"), []byte("never"), time.Unix(0, -1))
		want = engine.ErrDeadline
	case 2:
		b.SetUntil([]byte("b"), nil, time.Date(2263, 1, 1, 0, 0, 0, 0, time.UTC))
		_, err = m.db.Apply(ctx, &b)
		want = engine.ErrDeadline
	case 3:
		b.Delete(bytes.Repeat([]byte("k"), format.MaxKeyLen+1))
		_, err = m.db.Apply(ctx, &b)
		want = engine.ErrKeyTooLarge
	case 4:
		b.IfAbsent(nil)
		_, err = m.db.Apply(ctx, &b)
		want = engine.ErrKeyEmpty
	default:
		want = errOwn
		_, err = m.db.Update(ctx, func(tx *engine.Tx) error { tx.Set([]byte("a"), []byte("never")); return errOwn })
	}
	if !errors.Is(err, want) {
		m.t.Fatalf("%v; want %v", err, want)
	}
}

// errOwn is an error of a transaction's function.
var errOwn = errors.New("the transaction gives up")
