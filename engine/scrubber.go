package engine

import (
	"context"
	"sync"
	"time"
)

// scrubber reads the files that the state, or the repair of its checkpoint, needs from the disk, once per interval: rot is to be found
// while there is something to repair it from, and not by the reader who needs the bytes.
type scrubber struct {
	db     *DB
	ctx    context.Context // ends with stop
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended

	found damages // by the last pass, and by the one under way

	mu     sync.Mutex
	report Scrub // but for Damage
}

// firstScrub is how long after the open the first pass begins, unless the interval is shorter: a process that only looks
// something up reads nothing else.
const firstScrub = time.Minute

// newScrubber returns a scrubber whose goroutine, run, is not started.
func newScrubber(db *DB) *scrubber {
	ctx, cancel := context.WithCancel(context.Background())
	return &scrubber{db: db, ctx: ctx, cancel: cancel, done: make(chan struct{})}
}

// run is the goroutine.
func (s *scrubber) run() {
	defer close(s.done)
	interval := s.db.opts.ScrubInterval
	if interval < 0 {
		return
	}
	for wait := min(interval, firstScrub); s.sleep(wait); {
		started := time.Now()
		s.pass(started)
		took := time.Since(started)
		wait = max(interval-took, took, shortestScrubPause)
	}
}

// shortestScrubPause is how long nothing is read between two passes, whatever the interval. They take half of the time at most.
const shortestScrubPause = time.Millisecond

// sleep waits, and reports whether the goroutine is to go on.
func (s *scrubber) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return s.ctx.Err() == nil
	case <-s.ctx.Done():
		return false
	}
}

// stop gives up the pass under way and ends the goroutine.
func (s *scrubber) stop() {
	s.cancel()
	<-s.done
}

// pass reads all files once.
func (s *scrubber) pass(started time.Time) {
	p := &scrub{s: s}
	p.all()
	if s.ctx.Err() != nil {
		return
	}
	s.found.forget(func(file string) bool { return p.found.of(file) == nil || !s.db.needs(file) })
	logger, took := s.db.logger, time.Since(started)
	if p.failure != nil {
		logger.Warn("scrub could not read everything", "error", p.failure)
	}
	logger.Info("scrub", "bytes", p.bytes, "took", took)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report = Scrub{Passes: s.report.Passes + 1, Ended: time.Now(), Took: took, Bytes: p.bytes, Failure: p.failure}
}

// last is what the last pass found.
func (s *scrubber) last() Scrub {
	s.mu.Lock()
	defer s.mu.Unlock()
	report := s.report
	report.Damage = s.found.first()
	return report
}
