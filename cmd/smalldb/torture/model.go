package torture

import (
	"errors"
	"fmt"
)

// errViolation is what every broken promise is.
var errViolation = errors.New("the promise does not hold")

// violation is a broken promise, in words.
type violation struct{ text string }

func violated(format string, args ...any) error { return &violation{fmt.Sprintf(format, args...)} }

func (v *violation) Error() string        { return v.text }
func (v *violation) Is(target error) bool { return target == errViolation }

// entry is a key that is set.
type entry struct {
	by       ref
	size     int // of the value, in bytes
	seq      uint64
	deadline int64
}

// unit is operations that were handed over together: of all or none of them there is an effect.
type unit struct {
	ops     []op
	first   uint64 // sequence of the first one; 0 if it is not known
	acked   bool
	refused bool
	late    bool // it was issued after the log had failed
	never   bool // a condition cannot hold
}

// model is what a store must hold: the state that was verified last, and what has happened since. It is used by one goroutine at a time.
type model struct {
	base   map[string]entry // never changed, only replaced
	seq    uint64           // of base
	units  map[uint64]*unit
	acked  uint64 // greatest sequence that was acknowledged
	read   uint64 // greatest sequence that was read
	broken bool   // the log has failed: nothing that is issued from now on may be acknowledged
}

func newModel() *model { return &model{base: map[string]entry{}, units: map[uint64]*unit{}} }

// settled is the model once a state was verified: what was unknown is decided.
func settled(s *state) *model {
	return &model{base: s.entries, seq: s.seq, acked: s.seq, read: s.seq, units: map[uint64]*unit{}}
}

// note takes up an event. The error is a violation that shows without looking at the store.
func (m *model) note(e event) error {
	u := m.units[e.Unit]
	switch e.Kind {
	case opened:
		if e.Seq != m.seq {
			return violated("the state of operation %d was verified, and the next open begins with that of %d", m.seq, e.Seq)
		}
	case issued:
		m.units[e.Unit] = &unit{ops: e.Ops, late: m.broken, never: e.Never}
	case acknowledged:
		return m.acknowledge(e, u)
	case refused:
		u.refused = true
		if u.first != 0 {
			return violated("unit %x was refused, but %s was read", e.Unit, u.ops[0].Key)
		}
	case unknown, logFailed:
		m.broken = true
	case read:
		return m.observe(e, u)
	case wrong:
		return violated("%s", e.Text)
	case openFailed:
		if e.Damaged {
			return violated("no byte was damaged, but it does not open: %s", e.Text)
		}
	}
	return nil
}

func (m *model) acknowledge(e event, u *unit) error {
	first := e.Seq - uint64(len(u.ops)) + 1
	switch {
	case u.late:
		return violated("unit %x was issued after the log had failed, and acknowledged", e.Unit)
	case u.never:
		return violated("unit %x was acknowledged, and its condition cannot hold", e.Unit)
	case e.Seq < uint64(len(u.ops)) || first <= m.seq:
		return violated("unit %x was acknowledged as operation %d, which is an older one", e.Unit, e.Seq)
	case u.first != 0 && u.first != first:
		return violated("unit %x was acknowledged as operation %d, but read as %d", e.Unit, first, u.first)
	}
	u.acked, u.first = true, first
	m.acked = max(m.acked, e.Seq)
	return nil
}

// observe takes up a read: what was read must stay.
func (m *model) observe(e event, u *unit) error {
	m.read = max(m.read, e.Seq)
	if u == nil {
		if b, ok := m.base[e.Key]; !ok || b.by != (ref{e.Unit, e.Index}) || b.seq != e.Seq {
			return violated("%s was read as what unit %x wrote with operation %d, which it does not hold", e.Key, e.Unit, e.Seq)
		}
		return nil
	}
	first := e.Seq - uint64(e.Index)
	switch {
	case e.Index >= len(u.ops) || u.ops[e.Index].Key != e.Key || u.ops[e.Index].Delete:
		return violated("%s was read with a value that unit %x wrote to another key", e.Key, e.Unit)
	case u.refused:
		return violated("%s was read with the value of unit %x, which was refused", e.Key, e.Unit)
	case u.first != 0 && u.first != first:
		return violated("%s was read as operation %d, but unit %x begins with %d", e.Key, e.Seq, e.Unit, u.first)
	}
	u.first = first
	return nil
}
