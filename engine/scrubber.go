package engine

import (
	"context"
	"sync"
	"time"

	"github.com/tongpengdl/small-db/format"
)

// scrubber reads the files that the state, or the repair of its checkpoint, needs from the disk, once per interval: rot is to be found
// while there is something to repair it from, and not by the reader who needs the bytes.
type scrubber struct {
	db     *DB
	ctx    context.Context // ends with stop
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended

	mu     sync.Mutex
	report Scrub
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
		wait = interval - time.Since(started)
	}
}

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
	p := &scrub{s: s, started: started}
	err := p.all()
	if s.ctx.Err() != nil {
		return
	}
	logger := s.db.logger
	if err != nil {
		logger.Warn("scrub failed, it will be tried again", "error", err)
	}
	s.mu.Lock()
	s.report = Scrub{Passes: s.report.Passes + 1, Ended: time.Now(), Took: time.Since(started), Bytes: p.bytes, Damage: p.damage, Failure: err}
	s.mu.Unlock()
	if p.damage != nil {
		_ = s.db.meet(p.damage) // unless it is in what is kept for repair only
		s.db.repair()
	}
	logger.Info("scrub", "bytes", p.bytes, "took", time.Since(started), "damage", p.damage)
}

// last is what the last pass found.
func (s *scrubber) last() Scrub {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.report
}

// stillHurt reports whether the damage that was found last lies in a file that is needed after a checkpoint, and otherwise forgets it.
func (s *scrubber) stillHurt(p *pending) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.report.Damage != nil && !neededAfter(s.report.Damage, p) {
		s.report.Damage = nil
	}
	return s.report.Damage != nil
}

// neededAfter reports whether the file that damage names is needed after a checkpoint: it was made from another one and the logs since.
func neededAfter(damage error, p *pending) bool {
	name := fileOf(damage)
	if n, ok := format.ParseLogName(name); ok {
		return n >= p.source
	}
	return name == format.CheckpointName(p.source) // version was written anew
}
