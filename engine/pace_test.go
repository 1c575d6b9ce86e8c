package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPace: a checkpoint rests beside commits, for as long as it says, and else never.
func TestPace(t *testing.T) {
	for _, c := range []struct {
		name             string
		commits, hurried bool
		worked           time.Duration // before the last step
		want             time.Duration
	}{
		{"beside commits", true, false, 3 * time.Millisecond, 6 * time.Millisecond},
		{"a turn that is not over", true, false, 0, 0},
		{"nothing committed", false, false, 3 * time.Millisecond, 0},
		{"no time", true, true, 3 * time.Millisecond, 0},
		{"a disk that hung", true, false, time.Hour, 40 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			var commits uint64
			var rests []time.Duration
			p := pace{
				commits: func() uint64 { return commits }, hurried: func() bool { return c.hurried },
				rest: func(d time.Duration) { rests = append(rests, d) },
			}
			p.step() // the first turn begins
			require.Empty(t, rests)
			if c.commits {
				commits++
			}
			p.resumed = time.Now().Add(-c.worked)
			if c.worked == 0 {
				p.resumed = time.Now().Add(time.Hour) // however slow the test is
			}
			p.step()
			if c.want == 0 {
				require.Empty(t, rests)
				return
			}
			require.Len(t, rests, 1)
			require.GreaterOrEqual(t, rests[0], c.want)
			p.resumed = time.Now().Add(-c.worked)
			p.step()
			require.Len(t, rests, 1, "nothing more was committed")
		})
	}
}
