package engine_test

import (
	"errors"
	"fmt"
	"maps"
	"math"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// crashOp is an operation of a recorded run.
type crashOp struct {
	key, value string
	del        bool
	deadline   int64          // ns since the Unix epoch; 0 for none
	last       bool           // of its batch: a crash may leave no other one as the last
	version    engine.Version // that it got
	at         int64          // engine time of its frame, in ns since the Unix epoch
}

// crashHistory is the operations of a run by sequence: that of crashHistory[i] is i+1.
type crashHistory []crashOp

// crashModel is a state: the sets that no later operation on their key has replaced, expired or not.
type crashModel map[string]crashOp

// set returns what a key is at an engine time.
func (m crashModel) set(key string, now int64) (crashOp, bool) {
	op, ok := m[key]
	return op, ok && !op.due(now)
}

// count is how many keys are set at an engine time.
func (m crashModel) count(now int64) (n uint64) {
	for _, op := range m {
		if !op.due(now) {
			n++
		}
	}
	return n
}

func (op *crashOp) due(now int64) bool { return op.deadline != 0 && op.deadline <= now }

func (m crashModel) apply(op crashOp) {
	if op.del {
		delete(m, op.key)
	} else {
		m[op.key] = op
	}
}

// at is the state after the operation with this sequence.
func (h crashHistory) at(seq uint64) (crashModel, error) {
	if seq > uint64(len(h)) {
		return nil, fmt.Errorf("sequence %d was never issued", seq)
	}
	if seq > 0 && !h[seq-1].last {
		return nil, errors.New("half a batch is there")
	}
	model := crashModel{}
	for _, op := range h[:seq] {
		model.apply(op)
	}
	return maps.Clone(model), nil // smaller than what has held all keys
}

// time is the engine time that the frame with the last of these operations has recorded.
func (h crashHistory) time(seq uint64) int64 {
	if seq == 0 {
		return 0
	}
	return h[seq-1].at
}

// Marks in a trace.
type (
	issuedMark       struct{ seq uint64 }        // operations up to seq are being handed over
	acknowledgedMark struct{ seq uint64 }        // operations up to seq were acknowledged, or served after a recovery
	readMark         struct{ seq uint64 }        // somebody has read the operation, or was refused because of it
	checkpointMark   struct{ generation uint64 } // a checkpoint was acknowledged
	closedMark       struct{}                    // Close returned without an error
	openingMark      struct{}                    // Open was called
	recordedMark     struct{ at int64 }          // a call has returned that records this engine time
	clockMark        struct{ wall, used int64 }  // the wall clock was set; engine time is at most used from here on
)

// bounds are what the oracle demands of an image.
type bounds struct {
	acknowledged uint64 // last sequence that was
	read         uint64 // last sequence that somebody has seen
	issued       uint64 // last sequence that may be there
	generation   uint64 // of the last checkpoint that was acknowledged
	closed       bool   // the database was closed and not opened since
	recorded     int64  // engine time is not less, in ns since the Unix epoch
	used         int64  // engine time is not more, but by the wall clock
	wall         int64  // the wall clock when the power failed
}

// traceBounds are the bounds at each op of a trace.
func traceBounds(trace mmapiotest.Trace) []bounds {
	out := make([]bounds, len(trace)+1)
	var b bounds
	for i, op := range trace {
		out[i] = b
		switch m := op.Value.(type) {
		case issuedMark:
			b.issued = m.seq
		case acknowledgedMark:
			b.acknowledged = max(b.acknowledged, m.seq)
		case readMark:
			b.read = max(b.read, m.seq)
		case checkpointMark:
			b.generation = m.generation
		case closedMark:
			b.closed = true
		case openingMark:
			b.closed = false
		case recordedMark:
			b.recorded = max(b.recorded, m.at)
		case clockMark:
			b.wall, b.used = m.wall, max(b.used, m.used)
		}
	}
	out[len(trace)] = b
	return out
}

// outcome is what an image turned out to be.
type outcome struct {
	seq        uint64
	generation uint64
	clean      bool
	wall       int64 // the wall clock that it was opened by, in ns since the Unix epoch
	gone       int64 // the latest deadline of a key that was gone by then; 0 if there was none
	alive      int64 // the earliest deadline of a key that was still there
	err        error // a violation whatever the bounds
}

// violates says how an outcome violates the bounds; "" if it does not.
func (o outcome) violates(b bounds) string {
	switch {
	case o.err != nil:
		return o.err.Error()
	case o.seq < b.acknowledged:
		return fmt.Sprintf("operation %d was acknowledged, only %d are there", b.acknowledged, o.seq)
	case o.seq < b.read:
		return fmt.Sprintf("operation %d was read, only %d are there", b.read, o.seq)
	case o.seq > b.issued:
		return fmt.Sprintf("operation %d is there, only %d were issued", o.seq, b.issued)
	case o.generation < b.generation:
		return fmt.Sprintf("checkpoint %d was acknowledged, it starts from %d", b.generation, o.generation)
	case b.closed && !o.clean:
		return "it was closed cleanly and does not look so"
	case o.alive <= b.recorded:
		return fmt.Sprintf("a key that was due at %d is there, engine time had been recorded as %d", o.alive, b.recorded)
	case o.gone > max(b.used, o.wall):
		return fmt.Sprintf("a key that is due at %d is gone, engine time was never more than %d", o.gone, max(b.used, o.wall))
	}
	return ""
}

// compare compares all keys that may ever have been written, one by one and in a scan, and the number of those that are
// set, with the model at an engine time.
func (m crashModel) compare(db *engine.DB, now int64) error {
	if n, want := db.Stats().Keys, m.count(now); n != want {
		return fmt.Errorf("%d keys instead of %d", n, want)
	}
	for i := range crashKeys {
		key := crashKey(i)
		e, ok, err := db.Entry([]byte(key))
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		want, has := m.set(key, now)
		if ok != has || ok && !want.is(e) {
			return fmt.Errorf("%s is %s, %v instead of %s, %v", key, describeEntry(e), ok, want, has)
		}
	}
	return m.compareSnapshot(db.Snapshot(), now)
}

// compareSnapshot compares a scan.
func (m crashModel) compareSnapshot(s *engine.Snapshot, now int64) error {
	seen := uint64(0)
	for e := range s.Entries(nil, nil) {
		if want, has := m.set(string(e.Key), now); !has || !want.is(e) {
			return fmt.Errorf("a scan at %v finds %s as %s instead of %s, %v", s.Version(), e.Key, describeEntry(e), want, has)
		}
		seen++
	}
	if err := s.Err(); err != nil || seen != m.count(now) {
		return fmt.Errorf("a scan at %v finds %d keys instead of %d, %w", s.Version(), seen, m.count(now), err)
	}
	return nil
}

// is reports whether an entry is what the operation has set.
func (op crashOp) is(e engine.Entry) bool {
	return string(e.Value) == op.value && e.Version == op.version && deadlineNano(e) == op.deadline
}

func deadlineNano(e engine.Entry) int64 {
	if e.Deadline.IsZero() {
		return 0
	}
	return e.Deadline.UnixNano()
}

func (op crashOp) String() string {
	return fmt.Sprintf("%.20q of %d bytes (%v, until %d)", op.value, len(op.value), op.version, op.deadline)
}

func describeEntry(e engine.Entry) string {
	return crashOp{value: string(e.Value), version: e.Version, deadline: deadlineNano(e)}.String()
}

// expired finds out which keys with a deadline an open has found due: gone and alive are as in outcome. Keys are due in the order of
// their deadlines, or there is no engine time at which the state is what it is.
func (m crashModel) expired(db *engine.DB) (gone, alive int64, err error) {
	gone, alive = 0, math.MaxInt64
	for key, op := range m {
		if op.deadline == 0 {
			continue
		}
		_, ok, err := db.Entry([]byte(key))
		switch {
		case err != nil:
			return 0, 0, fmt.Errorf("%s: %w", key, err)
		case ok:
			alive = min(alive, op.deadline)
		default:
			gone = max(gone, op.deadline)
		}
	}
	if gone >= alive {
		return 0, 0, fmt.Errorf("a key that was due at %d is there, one that is due at %d is gone", alive, gone)
	}
	return gone, alive, nil
}
