package engine

import (
	"bytes"
	"fmt"
	"runtime"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// condition is what must be true of a key for a batch to be applied.
type condition struct {
	kind    conditionKind
	key     []byte
	value   []byte
	version Version
}

// weight is what the condition adds to a request while it waits, in bytes.
func (c *condition) weight() int { return len(c.key) + len(c.value) + conditionWeight }

const (
	// conditionWeight stands for a condition beside its key and value, in bytes.
	conditionWeight = 64
	// maxConditions bounds how long the check of one batch holds up all others.
	maxConditions = 10_000
)

type conditionKind uint8

const (
	ifAbsent conditionKind = iota
	ifPresent
	ifVersion
	ifValue
)

// ConditionError says which condition of a batch did not hold. It is ErrConditionFailed.
type ConditionError struct {
	Index int    // of the condition in its batch, in the order in which they were added
	Key   []byte // of the condition
	Want  string // what was required, in words
	Found string // what there was instead, in words
}

// Error names the key.
func (e *ConditionError) Error() string {
	return fmt.Sprintf("%v: condition %d: key %q: want %s, found %s", ErrConditionFailed, e.Index, e.Key[:min(40, len(e.Key))], e.Want, e.Found)
}

// Is reports whether target is ErrConditionFailed.
func (e *ConditionError) Is(target error) bool { return target == ErrConditionFailed }

// conditional reports whether a request of the group has conditions.
func (g *group) conditional() bool {
	for _, r := range g.requests {
		if len(r.conditions) > 0 {
			return true
		}
	}
	return false
}

// admit decides which requests of a group are applied, as of engine time now, and counts their bytes: r.err says why one is not. It returns
// whether any of them has operations. If no condition rests on a key that will expire, it lets engine time go on. The holder of the pipeline only.
func (db *DB) admit(g *group, now int64) (operations bool) {
	var ahead *ahead
	seq := db.applied.Load()
	for i, r := range g.requests {
		if len(r.conditions) > 0 {
			if ahead == nil {
				ahead = db.newAhead(g.requests[:i], now)
			}
			r.err = ahead.check(r.conditions)
		}
		if r.err == nil && r.grows() {
			r.err = db.room(g.bytes + r.bytes)
		}
		if r.err != nil {
			continue
		}
		g.bytes += r.bytes
		operations = operations || len(r.ops) > 0
		seq += uint64(len(r.ops))
		r.version = db.versionOfState(seq)
		ahead.add(r)
	}
	if ahead != nil && !ahead.timed {
		db.clock.release()
	}
	return operations
}

// ahead is the state after the requests of a group that were admitted so far: what a condition of the next one is held
// against. Everything before the group is applied already.
type ahead struct {
	db  *DB
	now int64
	seq uint64
	// timed says that a condition was held against a key that will expire.
	timed bool
	keys  map[string]item // that the group changes; seq is 0 for a delete
}

func (db *DB) newAhead(admitted []*request, now int64) *ahead {
	a := &ahead{db: db, now: now, seq: db.applied.Load(), keys: make(map[string]item)}
	for _, r := range admitted {
		if r.err == nil {
			a.add(r)
		}
	}
	return a
}

// add applies a request. It does nothing as long as no condition asks.
func (a *ahead) add(r *request) {
	if a == nil {
		return
	}
	for i := range r.ops {
		o := &r.ops[i]
		a.seq++
		it := item{o.value, a.seq, o.expiry}
		if o.kind == format.KindDelete {
			it.seq = 0
		}
		a.keys[string(o.key)] = it
	}
}

// check returns a *ConditionError for the first condition that does not hold, and the error of reading what it is about.
func (a *ahead) check(conditions []condition) error {
	for i := range conditions {
		c := &conditions[i]
		want, found, err := a.compare(c)
		if err != nil {
			return fmt.Errorf("condition %d: %w", i, a.db.meet(readError(err)))
		}
		if want != "" {
			return &ConditionError{Index: i, Key: bytes.Clone(c.key), Want: want, Found: found}
		}
	}
	return nil
}

// compare says in words what a condition wants and what there is instead; nothing if it holds.
func (a *ahead) compare(c *condition) (want, found string, err error) {
	v := a.db.view.Load()
	defer runtime.KeepAlive(v)
	defer mmapio.Recover(mmapio.Arm(), &err)
	it, ok := a.keys[string(c.key)]
	if ok {
		ok = it.seq != 0
	} else if it, ok, err = v.get(c.key); err != nil {
		return "", "", err
	}
	set := ok && !dueAt(it.deadline, a.now)
	version := a.db.versionOf(it.seq)
	if set && it.deadline != 0 {
		a.timed = true
	}
	if c.holds(set, it.value, version) {
		return "", "", nil
	}
	found = "no value"
	if set {
		found = "version " + version.String()
	}
	return c.want(), found, nil
}

// holds reports whether the condition holds for a key that is set or not, to this value by the operation with this version.
func (c *condition) holds(set bool, value []byte, version Version) bool {
	switch c.kind {
	case ifAbsent:
		return !set
	case ifPresent:
		return set
	case ifVersion:
		return set && version == c.version
	default: // ifValue
		return set && bytes.Equal(value, c.value)
	}
}

// want says in words what the condition asks for.
func (c *condition) want() string {
	switch c.kind {
	case ifAbsent:
		return "no value"
	case ifPresent:
		return "a value"
	case ifVersion:
		return "version " + c.version.String()
	default: // ifValue
		return fmt.Sprintf("the value %q", c.value[:min(40, len(c.value))])
	}
}
