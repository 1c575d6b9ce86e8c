package engine

import (
	"sync/atomic"
	"time"
)

// clock is engine time: the wall clock, but never less than it was. So what was due once stays due, also
// after the wall clock was set back, and after a restart, since frames record it.
type clock struct {
	wall func() time.Time
	seen atomic.Int64 // the highest engine time that was used or recorded, in ns since the Unix epoch
}

// now is engine time, in ns since the Unix epoch.
func (c *clock) now() int64 { return c.raise(c.wall().UnixNano()) }

// raise makes engine time at least t, and returns it.
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
	switch {
	case deadline == 0:
		return false
	case deadline <= c.seen.Load():
		return true
	case deadline > c.wall().UnixNano():
		return false
	}
	c.raise(deadline) // nobody sees the key again
	return true
}

// dueAt reports whether a deadline has passed at an engine time.
func dueAt(deadline, t int64) bool { return deadline != 0 && deadline <= t }
