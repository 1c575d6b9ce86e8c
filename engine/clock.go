package engine

import (
	"sync/atomic"
	"time"
)

// clock is engine time: the wall clock, but never less than it was. So what was due once stays due, also
// after the wall clock was set back, and after a restart as far as frames recorded it.
//
// While a group is committed whose conditions were judged at some time, engine time stands still there (hold): else a reader might find
// a key expired that the group, which counts as earlier, is about to give another deadline.
type clock struct {
	wall func() time.Time
	seen atomic.Int64 // the highest engine time that was used or recorded, in ns since the Unix epoch
	held atomic.Int64 // where engine time stands still; 0 if it does not. Stored by the holder of the pipeline
}

// now is engine time, in ns since the Unix epoch.
func (c *clock) now() int64 {
	t := c.raise(c.wall().UnixNano())
	if held := c.held.Load(); held != 0 { // after raise: hold looks at seen after it has stored held
		return held
	}
	return t
}

// hold makes engine time stand still until release, and returns where. The holder of the pipeline only.
func (c *clock) hold() int64 {
	t := c.raise(c.wall().UnixNano())
	for {
		c.held.Store(t)
		seen := c.seen.Load()
		if seen == t { // whoever raises it from now on finds it held
			return t
		}
		t = seen
	}
}

// release lets engine time go on.
func (c *clock) release() { c.held.Store(0) }

// raise makes the highest engine time at least t, and returns it.
func (c *clock) raise(t int64) int64 {
	for {
		seen := c.seen.Load()
		if t <= seen {
			return seen
		}
		if c.seen.CompareAndSwap(seen, t) {
			return t
		}
	}
}

// due reports whether a deadline has passed; 0 never does. The wall clock is read only for a key that has one.
func (c *clock) due(deadline int64) bool {
	if deadline == 0 {
		return false
	}
	if held := c.held.Load(); held != 0 {
		return deadline <= held
	}
	if deadline > c.seen.Load() {
		if deadline > c.wall().UnixNano() {
			return false
		}
		c.raise(deadline) // nobody sees the key again
	}
	held := c.held.Load()
	return held == 0 || deadline <= held
}

// dueAt reports whether a deadline has passed at an engine time.
func dueAt(deadline, t int64) bool { return deadline != 0 && deadline <= t }
