package http

import "sync/atomic"

// smallBodyBytes is the size up to which a body does not count against the budget: its request is
// bounded by the connections, and touches nothing that others touch.
const smallBodyBytes = 64 << 10

// bodyBudget counts the bytes of the large bodies that are held. Nobody waits for it: what does not fit is refused,
// so bodies that arrive in parts cannot block each other. All methods may be called concurrently.
type bodyBudget struct {
	limit int64 // set before first use
	held  atomic.Int64
}

// take adds n bytes to those held, unless that is more than the limit. A refusal never
// counts, not even for a moment: it would refuse others that fit.
func (b *bodyBudget) take(n int64) bool {
	for {
		held := b.held.Load()
		if n > b.limit-held {
			return false
		}
		if b.held.CompareAndSwap(held, held+n) {
			return true
		}
	}
}

func (b *bodyBudget) giveBack(n int64) { b.held.Add(-n) }

// hold makes the bytes that sc has of the budget at least n, if n is that of a large body.
func (b *bodyBudget) hold(sc *scratch, n int64) error {
	if n <= smallBodyBytes || n <= sc.held {
		return nil
	}
	if !b.take(n - sc.held) {
		return errBodies
	}
	sc.held = n
	return nil
}

// release gives back what sc has of the budget.
func (b *bodyBudget) release(sc *scratch) {
	if sc.held != 0 {
		b.giveBack(sc.held)
		sc.held = 0
	}
}
