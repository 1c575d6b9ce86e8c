package torture

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// state is all that a store holds at one moment.
type state struct {
	entries       map[string]entry
	seq           uint64
	before, after time.Time // when it was read
}

// found counts the units whose outcome was unknown.
type found struct {
	unknown int
	there   int // of them
}

// judge says whether a state is one that the model allows. It changes nothing of either.
//
// Sequences are given without a gap, and an entry carries that of the operation that set it. So what was acknowledged, read or found has its
// place in the history, and the state must be that after all of it, with every sequence taken. A unit without an answer is there if
// one of its values is. A client has but one such unit, its last, and the first operation of a unit goes to a key of
// the client's own; so nothing can hide that operation, unless it hides its key: then the absence of the key shows that the unit is there.
func (m *model) judge(s *state) (found, error) {
	t := &trial{m: m, s: s, first: map[uint64]uint64{}, last: map[string]written{}, hiding: map[uint64]bool{}}
	for _, step := range []func() error{t.reaches, t.place, t.order, t.compare} {
		if err := step(); err != nil {
			return found{}, err
		}
	}
	return t.count()
}

// written is the last operation on a key.
type written struct {
	op
	seq  uint64
	unit uint64
}

// trial is one judgement.
type trial struct {
	m       *model
	s       *state
	first   map[uint64]uint64  // sequence of the first operation, of the units that are there
	last    map[string]written // by key
	covered uint64             // sequences since the base that units take
	hiding  map[uint64]bool    // units that are there, since the key that they hide is not
}

func (t *trial) reaches() error {
	switch m, s := t.m, t.s; {
	case s.seq < m.seq:
		return violated("the state of operation %d was verified, only %d are there", m.seq, s.seq)
	case s.seq < m.acked:
		return violated("operation %d was acknowledged, only %d are there", m.acked, s.seq)
	case s.seq < m.read:
		return violated("operation %d was read, only %d are there", m.read, s.seq)
	}
	return nil
}

// place finds out which units are there, and where in the history.
func (t *trial) place() error {
	for id, u := range t.m.units {
		if u.first != 0 {
			t.first[id] = u.first
		}
	}
	for key, e := range t.s.entries {
		if e.deadline != 0 && e.deadline <= t.s.before.Add(-slack).UnixNano() {
			return violated("%s expired at %s, and was served later", key, time.Unix(0, e.deadline))
		}
		if err := t.placeBy(key, e); err != nil {
			return err
		}
	}
	return nil
}

// placeBy places the unit that has set a key.
func (t *trial) placeBy(key string, e entry) error {
	u := t.m.units[e.by.Unit]
	if u == nil {
		if t.m.base[key] != e {
			return violated("%s holds what nobody has written there: unit %x, operation %d", key, e.by.Unit, e.seq)
		}
		return nil
	}
	if u.refused {
		return violated("%s holds what was refused, of unit %x", key, e.by.Unit)
	}
	if i := e.by.Index; i >= len(u.ops) || u.ops[i] != (op{Key: key, Size: e.size, Deadline: e.deadline}) {
		return violated("%s is not what unit %x has written there: %d bytes until %d", key, e.by.Unit, e.size, e.deadline)
	}
	first := e.seq - uint64(e.by.Index)
	if known, ok := t.first[e.by.Unit]; ok && known != first {
		return violated("%s is operation %d, but unit %x begins with %d", key, e.seq, e.by.Unit, known)
	}
	t.first[e.by.Unit] = first
	return nil
}

// order finds the last operation on each key, of those that have their place.
func (t *trial) order() error {
	for key, e := range t.m.base {
		t.last[key] = written{op{Key: key, Size: e.size, Deadline: e.deadline}, e.seq, e.by.Unit}
	}
	ids := slices.SortedFunc(maps.Keys(t.first), func(a, b uint64) int { return cmp.Compare(t.first[a], t.first[b]) })
	end := t.m.seq
	for _, id := range ids {
		u, first := t.m.units[id], t.first[id]
		last := first + uint64(len(u.ops)) - 1
		switch {
		case first <= end:
			return violated("operation %d is the first of unit %x, and another unit's as well", first, id)
		case last > t.s.seq:
			return violated("half a batch: unit %x has operations up to %d, only %d are there", id, last, t.s.seq)
		}
		end = last
		t.covered += uint64(len(u.ops))
		for i, o := range u.ops {
			t.last[o.Key] = written{o, first + uint64(i), id}
		}
	}
	return nil
}

// compare compares each key with the last operation on it.
func (t *trial) compare() error {
	for key, w := range t.last {
		e, there := t.s.entries[key]
		switch {
		case there && e.seq == w.seq, !there && w.gone(t.s.after):
		case !there && t.hide(key):
		case t.m.units[w.unit] == nil:
			return violated("lost: %s was set by operation %d, and was verified", key, w.seq)
		case t.m.units[w.unit].acked:
			return violated("lost: operation %d on %s was acknowledged, of unit %x", w.seq, key, w.unit)
		default:
			return violated("half a batch: operation %d on %s is missing, others of unit %x are there", w.seq, key, w.unit)
		}
	}
	return nil
}

// hide finds the unit without an answer that explains why a key is not set.
func (t *trial) hide(key string) bool {
	for id, u := range t.m.units {
		if t.hidden(id, u) && u.ops[0].Key == key {
			t.hiding[id] = true
			return true
		}
	}
	return false
}

// hidden reports whether a unit could be there without showing any value.
func (t *trial) hidden(id uint64, u *unit) bool {
	_, placed := t.first[id]
	return !placed && !u.refused && len(u.ops) == 1 && u.ops[0].hides()
}

// count expects that each sequence is somebody's.
func (t *trial) count() (found, error) {
	var f found
	var either uint64 // units of which nothing can show whether they are there
	for id, u := range t.m.units {
		if u.acked || u.refused {
			continue
		}
		f.unknown++
		if _, placed := t.first[id]; placed || t.hiding[id] {
			f.there++
		} else if w, ok := t.last[u.ops[0].Key]; t.hidden(id, u) && (!ok || w.gone(t.s.after)) {
			either++
		}
	}
	least := t.m.seq + t.covered + uint64(len(t.hiding))
	if t.s.seq < least || t.s.seq > least+either {
		return f, violated("the state is that of operation %d, and those that were issued make %d", t.s.seq, least)
	}
	return f, nil
}
