package engine

import "sync"

// deadlines tells how many keys of a delta are due, without a list of keys: it holds the deadlines that
// were set in it and those that were taken back, by an overwrite or a delete of a key that was not due yet, wherever it
// was set. The difference of how many of each have passed is what the delta adds to the count of due keys. The holder of
// the pipeline adds, anybody counts; the lock is taken only for keys that expire.
type deadlines struct {
	mu       sync.Mutex
	set      deadlineHeap
	unset    deadlineHeap
	due      int64 // of set, and gone from it
	unsetDue int64 // of unset, and gone from it
	latest   int64 // of those gone from set
}

// add notes that a key with this deadline was set.
func (d *deadlines) add(deadline int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set.push(deadline)
}

// remove notes that a key with this deadline, which was not due, is set no more.
func (d *deadlines) remove(deadline int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unset.push(deadline)
}

// count is what the delta adds to the number of keys that are due at an engine time. One goroutine at a time counts, and the time never
// falls from one call to the next.
func (d *deadlines) count(t int64) int64 {
	for {
		due, done := d.countSome(t)
		if done {
			return due
		}
	}
}

// countPortion is how many deadlines are counted before the lock is given up, so that no commit waits for many.
const countPortion = 64

func (d *deadlines) countSome(t int64) (due int64, done bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	set, latest := d.set.popUpTo(t, countPortion)
	unset, _ := d.unset.popUpTo(t, countPortion)
	d.due += set
	if set > 0 {
		d.latest = latest
	}
	d.unsetDue += unset
	return d.due - d.unsetDue, set < countPortion && unset < countPortion
}

// dueSince reports whether a deadline after t was set that has been counted as due.
func (d *deadlines) dueSince(t int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.latest > t
}

// any reports whether there may be keys with a deadline that were set in the delta.
func (d *deadlines) any() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.set) > 0 || d.due > 0
}

// deadlineHeap is a binary heap with the earliest deadline first. Deadlines mostly rise, and then a push costs one comparison.
type deadlineHeap []int64

func (h *deadlineHeap) push(deadline int64) {
	s := append(*h, deadline)
	i := len(s) - 1
	for i > 0 && s[(i-1)/2] > deadline {
		s[i] = s[(i-1)/2]
		i = (i - 1) / 2
	}
	s[i] = deadline
	*h = s
}

// popUpTo removes deadlines up to t, but no more than most, and returns how many there were, and the last of them.
func (h *deadlineHeap) popUpTo(t, most int64) (n, latest int64) {
	for n < most && len(*h) > 0 && (*h)[0] <= t {
		latest = (*h)[0]
		h.pop()
		n++
	}
	return n, latest
}

func (h *deadlineHeap) pop() {
	s := *h
	last := s[len(s)-1]
	s = s[:len(s)-1]
	*h = s
	i := 0
	for {
		child := 2*i + 1
		if child >= len(s) {
			break
		}
		if child+1 < len(s) && s[child+1] < s[child] {
			child++
		}
		if s[child] >= last {
			break
		}
		s[i] = s[child]
		i = child
	}
	if len(s) > 0 {
		s[i] = last
	}
}
