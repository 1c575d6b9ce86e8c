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
	// state is the highest engine time that was used or recorded, in ns since the Unix epoch, times two, plus one while it is held. In
	// one word, time never falls for anybody.
	state atomic.Uint64
}

// now is engine time, in ns since the Unix epoch.
func (c *clock) now() int64 { return c.raise(c.wall().UnixNano()) }

// hold makes engine time stand still until release, and returns where. The holder of the pipeline only.
func (c *clock) hold() int64 {
	wall := c.wall().UnixNano()
	for {
		state := c.state.Load()
		t := max(wall, int64(state>>1))
		if c.state.CompareAndSwap(state, uint64(t)<<1|1) {
			return t
		}
	}
}

// release lets engine time go on.
func (c *clock) release() { c.state.And(^uint64(1)) }

// seen is the highest engine time that was used or recorded.
func (c *clock) seen() int64 { return int64(c.state.Load() >> 1) }

// raise makes engine time at least t, unless it is held, and returns it.
func (c *clock) raise(t int64) int64 {
	for {
		state := c.state.Load()
		if seen := int64(state >> 1); state&1 != 0 || t <= seen {
			return seen
		}
		if c.state.CompareAndSwap(state, uint64(t)<<1) {
			return t
		}
	}
}

// due reports whether a deadline has passed; 0 never does. The wall clock is read only for a key that has one.
func (c *clock) due(deadline int64) bool {
	switch state := c.state.Load(); {
	case deadline == 0:
		return false
	case deadline <= int64(state>>1):
		return true
	case state&1 != 0 || deadline > c.wall().UnixNano():
		return false
	}
	return c.raise(deadline) >= deadline // nobody sees the key again, unless time is held since
}

// dueAt reports whether a deadline has passed at an engine time.
func dueAt(deadline, t int64) bool { return deadline != 0 && deadline <= t }
