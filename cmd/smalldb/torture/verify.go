package torture

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"

	"github.com/tongpengdl/small-db/engine"
)

// entryOf is an entry as the model has it.
func entryOf(e engine.Entry) (entry, error) {
	by, err := parse(e.Value)
	if err != nil {
		return entry{}, violated("%s: %v", e.Key, err)
	}
	out := entry{by: by, size: len(e.Value), seq: e.Version.Seq}
	if !e.Deadline.IsZero() {
		out.deadline = e.Deadline.UnixNano()
	}
	return out, nil
}

// readState reads all of a store by a scan.
func readState(s Store) (*state, error) {
	st := &state{entries: map[string]entry{}}
	st.before, _ = clock()
	var last []byte
	var bad error
	err := s.Scan(func(e engine.Entry) {
		if last != nil && bytes.Compare(e.Key, last) <= 0 && bad == nil {
			bad = violated("a scan has %s after %s", e.Key, last)
		}
		last = append(last[:0], e.Key...)
		found, err := entryOf(e)
		if err != nil && bad == nil {
			bad = err
		}
		st.entries[string(e.Key)] = found
	})
	_, st.after = clock()
	st.seq = s.Version().Seq
	if bad != nil {
		return nil, bad
	}
	return st, err
}

// get reads a key by itself; ok is false if it is not set.
func get(s Store, key string) (e entry, ok bool, err error) {
	full, ok, err := s.Entry([]byte(key))
	if err != nil || !ok {
		return entry{}, false, err
	}
	if string(full.Key) != key {
		return entry{}, false, violated("%s was asked for, and %s was served", key, full.Key)
	}
	e, err = entryOf(full)
	return e, ok, err
}

// verify reads all of a store twice, by a scan and by key, and judges it. No byte was damaged, so nothing may be.
func verify(s Store, m *model) (*state, found, error) {
	if repaired := s.Repaired(); len(repaired) > 0 {
		return nil, found{}, violated("a stop is no damage, but it was repaired: %q", repaired)
	}
	st, err := readState(s)
	if err != nil {
		return nil, found{}, undamaged("a scan fails", err)
	}
	f, err := m.judge(st)
	if err != nil {
		return nil, f, err
	}
	for key := range m.keys(st) {
		e, ok, err := get(s, key)
		if err != nil {
			return nil, f, undamaged("a get fails", err)
		}
		want, has := st.entries[key]
		if ok != has && !(has && want.expired()) || ok && e != want {
			return nil, f, violated("a scan finds %s as operation %d, a get as %d", key, want.seq, e.seq)
		}
	}
	return st, f, nil
}

// keys are all that may be set.
func (m *model) keys(s *state) map[string]bool {
	keys := map[string]bool{}
	for key := range m.base {
		keys[key] = true
	}
	for key := range s.entries {
		keys[key] = true
	}
	for _, u := range m.units {
		for _, o := range u.ops {
			keys[o.Key] = true
		}
	}
	return keys
}

// undamaged is an error of a store whose bytes are as it wrote them: a violation, unless the system has refused something.
func undamaged(what string, err error) error {
	if errors.Is(err, errViolation) {
		return err
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok || errors.Is(err, engine.ErrDiskFull) || errors.Is(err, engine.ErrLocked) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return violated("no byte was damaged, but %s: %v", what, err)
}

// verifyDamaged reads all of a store of which bytes were damaged: each answer is right, or an error that says so. It counts these.
func verifyDamaged(s Store, m *model) (refusals int, err error) {
	if seq := s.Version().Seq; seq != m.seq {
		return 0, violated("of a damaged copy the state of operation %d opens, instead of that of %d", seq, m.seq)
	}
	for key := range m.base {
		e, ok, err := get(s, key)
		if refusal(err) {
			refusals++
			continue
		}
		if err := m.compareOne("a get", key, e, ok, err); err != nil {
			return refusals, err
		}
	}
	st, err := readState(s)
	if refusal(err) {
		return refusals + 1, nil
	}
	if err != nil {
		return refusals, undamaged("a scan fails in another way", err)
	}
	for key := range m.keys(st) {
		e, ok := st.entries[key]
		if err := m.compareOne("a scan", key, e, ok, nil); err != nil {
			return refusals, err
		}
	}
	return refusals, nil
}

// expired reports whether the key may not be set any more.
func (e entry) expired() bool {
	_, latest := clock()
	return op{Deadline: e.deadline}.gone(latest)
}

// compareOne compares what was read of a key with what it is.
func (m *model) compareOne(what, key string, e entry, ok bool, err error) error {
	want, has := m.base[key]
	switch {
	case err != nil:
		return undamaged(what+" fails in another way", err)
	case ok && e != want:
		return violated("%s serves a damaged copy's %s as operation %d of %d bytes, instead of %d of %d bytes", what, key, e.seq, e.size, want.seq, want.size)
	case !ok && has && !want.expired():
		return violated("%s says that %s is not set, in a damaged copy", what, key)
	}
	return nil
}

// diskFailure is an error if the disk has failed where nobody made it fail: that proves nothing about the store.
func diskFailure(events []event) error {
	for _, e := range events {
		if e.Kind == unknown || e.Kind == openFailed {
			return fmt.Errorf("the disk, or the system, has failed: %s", e.Text)
		}
	}
	return nil
}
