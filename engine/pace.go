package engine

import "time"

// pace keeps the work of a checkpoint out of the way of commits: while there are any, it works for a third of the time, in short turns,
// so that a commit seldom finds the disk busy and both processors taken. (Seen over a base of 1 M keys at 20,000 sets per second, two processors: the 99.9th
// percentile of a set was 35 ms to 50 ms without and 20 ms with it, while checkpoints took three times as long.) Nobody waits for a checkpoint but who asked for
// it; and when there is nothing to keep out of the way of, or the logs grow faster than it, it works without a rest. One goroutine uses it.
type pace struct {
	commits func() uint64 // changes when something is committed
	hurried func() bool   // there is no time to rest
	rest    func(time.Duration)

	last    uint64    // commits at the last look
	resumed time.Time // when the turn began; zero before the first
}

const (
	paceTurn  = 2 * time.Millisecond
	paceRests = 2 // how long a rest is, in turns
	// paceLongest bounds what counts as a turn: a disk that hangs is no reason to rest.
	paceLongest = 20 * time.Millisecond
)

// step is called often, and rests when it is time to.
func (p *pace) step() {
	now := time.Now()
	if p.resumed.IsZero() {
		p.resumed = now
	}
	worked := now.Sub(p.resumed)
	if worked < paceTurn {
		return
	}
	commits := p.commits()
	if commits != p.last && !p.hurried() {
		p.rest(paceRests * min(worked, paceLongest))
	}
	p.last = commits
	p.resumed = time.Now()
}
