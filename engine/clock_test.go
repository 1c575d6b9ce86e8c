package engine

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Engine time never falls for anybody, and what was due stays due, while it is held and let go.
func TestClockNeverFalls(t *testing.T) {
	var tick atomic.Int64
	c := &clock{wall: func() time.Time { return time.Unix(0, tick.Add(1)) }}
	var stop atomic.Bool
	var fell, undue atomic.Int64
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			last, due := int64(0), int64(0)
			for !stop.Load() {
				now := c.now()
				if now < last {
					fell.Add(1)
				}
				last = now
				if deadline := tick.Load(); c.due(deadline) {
					due = deadline
				}
				if due != 0 && !c.due(due) {
					undue.Add(1)
				}
			}
		})
	}
	for range 200_000 {
		held := c.hold()
		require.Equal(t, held, c.now())
		require.True(t, c.due(held))
		require.False(t, c.due(held+1))
		c.release()
	}
	stop.Store(true)
	wg.Wait()
	require.Zero(t, fell.Load())
	require.Zero(t, undue.Load())
}
