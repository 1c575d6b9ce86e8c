package engine_test

import (
	"maps"
	"slices"
	"time"

	"github.com/tongpengdl/small-db/engine"
)

// modelState is what a database must hold at one moment: a plain map with versions and deadlines, and the engine
// time at which it is looked at.
type modelState struct {
	entries map[string]modelEntry // those that are due stay until they are overwritten or deleted
	version engine.Version        // of the last operation
	time    int64                 // engine time, in ns since the Unix epoch
}

// modelEntry is a key that is set.
type modelEntry struct {
	value    string
	version  engine.Version
	deadline int64 // in ns since the Unix epoch; 0 for none
}

// modelWrite is an operation on its way into the model.
type modelWrite struct {
	key, value string
	deadline   int64
	del        bool
}

func (s *modelState) clone() modelState {
	c := *s
	c.entries = maps.Clone(s.entries)
	return c
}

// get returns a key that is set and not due.
func (s *modelState) get(key string) (modelEntry, bool) {
	e, ok := s.entries[key]
	if !ok || s.due(e) {
		return modelEntry{}, false
	}
	return e, true
}

func (s *modelState) due(e modelEntry) bool { return e.deadline != 0 && e.deadline <= s.time }

// write applies one operation.
func (s *modelState) write(w modelWrite) {
	s.version.Seq++
	if w.del {
		delete(s.entries, w.key)
		return
	}
	s.entries[w.key] = modelEntry{w.value, s.version, w.deadline}
}

// count is the number of keys that are not due.
func (s *modelState) count() (n uint64) {
	for _, e := range s.entries {
		if !s.due(e) {
			n++
		}
	}
	return n
}

// keys returns those that are not due and lie from start to before end, in order.
func (s *modelState) keys(start, end []byte) []string {
	return s.those(func(key string) bool {
		return key >= string(start) && (end == nil || key < string(end))
	})
}

// those returns the keys that are not due and wanted, in order.
func (s *modelState) those(wanted func(key string) bool) []string {
	var keys []string
	for key, e := range s.entries {
		if !s.due(e) && wanted(key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// nextDeadline is the earliest one that is still to come; 0 if there is none.
func (s *modelState) nextDeadline() (next int64) {
	for _, e := range s.entries {
		if e.deadline > s.time && (next == 0 || e.deadline < next) {
			next = e.deadline
		}
	}
	return next
}

// holds reports whether a condition does.
func (s *modelState) holds(c modelCondition) bool {
	e, ok := s.get(c.key)
	switch c.kind {
	case whenAbsent:
		return !ok
	case whenPresent:
		return ok
	case whenVersion:
		return ok && e.version == c.version
	default:
		return ok && e.value == c.value
	}
}

// broken returns the first condition that does not hold; -1 if all do.
func (s *modelState) broken(conditions []modelCondition) int {
	return slices.IndexFunc(conditions, func(c modelCondition) bool { return !s.holds(c) })
}

// modelCondition is a condition of a batch.
type modelCondition struct {
	kind    conditionKind
	key     string
	version engine.Version
	value   string
}

// addTo adds it to a batch.
func (c *modelCondition) addTo(b *engine.Batch) {
	switch c.kind {
	case whenAbsent:
		b.IfAbsent([]byte(c.key))
	case whenPresent:
		b.IfPresent([]byte(c.key))
	case whenVersion:
		b.IfVersion([]byte(c.key), c.version)
	default:
		b.IfValue([]byte(c.key), []byte(c.value))
	}
}

// writer is what a batch and a transaction have in common.
type writer interface {
	Set(key, value []byte)
	SetUntil(key, value []byte, deadline time.Time)
	Delete(key []byte)
}

// addTo adds the operation to a batch or a transaction.
func (w *modelWrite) addTo(to writer) {
	switch {
	case w.del:
		to.Delete([]byte(w.key))
	case w.deadline == 0:
		to.Set([]byte(w.key), []byte(w.value))
	default:
		to.SetUntil([]byte(w.key), []byte(w.value), timeOf(w.deadline))
	}
}

// timeOf is a deadline of the model as the engine takes and gives it.
func timeOf(deadline int64) time.Time {
	if deadline == 0 {
		return time.Time{}
	}
	return time.Unix(0, deadline).UTC()
}
