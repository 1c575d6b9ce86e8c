package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// checkpointer makes checkpoints in the background, one at a time: when one is due and when one is asked for.
type checkpointer struct {
	db       *DB
	ctx      context.Context // ends with stop
	cancel   context.CancelFunc
	poked    chan struct{}   // an update has been committed
	requests chan chan error // each is answered once
	done     chan struct{}   // closed when the goroutine has ended

	// These belong to the goroutine.
	pending   *pending    // frozen and not yet in a checkpoint; nil if there is none
	inherited uint64      // newest generation that was there at open; constant
	deltas    []deltaLogs // deltas that were replaced and may still be mapped
	changed   time.Time   // when the first update since the last checkpoint was seen; zero if there was none
	retry     time.Time   // not before; zero if the last attempt succeeded
	pause     time.Time   // not before, for want of memory, while resting
	backoff   time.Duration
	began     time.Time // when the last attempt did
	rested    time.Time // no repair begins before
	pace      pace      // of the checkpoint under way

	repair  atomic.Bool  // damage was met: a checkpoint is due, whether anything has changed or not
	resting atomic.Bool  // a checkpoint has ended and none may begin yet for want of memory; stored by the goroutine
	baseLen atomic.Int64 // size of the base, in bytes; stored by the goroutine

	mu         sync.Mutex
	count      uint64        // checkpoints completed
	took       time.Duration // by the last one
	failure    error         // of the last one
	generation uint64        // of the checkpoint that version names
}

// A failed checkpoint is tried again after retryMin, and each further time after twice as long, up to retryMax, or retryDamaged if it
// failed for damage: that hardly goes away, and each attempt reads everything before it.
const (
	retryMin     = 100 * time.Millisecond
	retryMax     = 30 * time.Second
	retryDamaged = 10 * time.Minute
)

const (
	// pauseFactor is how many times as long as the last checkpoint took, and the spare that it uses up, none begins for want of
	// memory: where they give little back, they take a fifth of the time. So it is with repairs, and with attempts that damage ends.
	pauseFactor              = 4
	spareBytesPerMillisecond = 128 << 10
	// manyLogs is how many logs an open may find before that alone makes a checkpoint due.
	manyLogs = 64
)

// fileBytesFactor: log files may take this many times what their records take before that alone makes a
// checkpoint due. Frames of few small records are mostly padding.
const fileBytesFactor = 8

// newCheckpointer returns a checkpointer whose goroutine, run, is not started.
func newCheckpointer(db *DB) *checkpointer {
	ctx, cancel := context.WithCancel(context.Background())
	c := &checkpointer{
		db: db, ctx: ctx, cancel: cancel,
		poked: make(chan struct{}, 1), requests: make(chan chan error), done: make(chan struct{}),
		inherited: db.tail.Generation, generation: db.view.Load().base.Header().Generation,
	}
	c.baseLen.Store(int64(db.view.Load().base.Footer().FileLen))
	c.pace = pace{commits: db.updates.Load, hurried: func() bool { return c.reached() || db.pressed() }, rest: time.Sleep}
	if db.updates.Load() > 0 || db.recovery.Logs > manyLogs {
		c.poke() // what was replayed counts
	}
	return c
}

// poke tells that something was committed. It does not wait; anybody may call it.
func (c *checkpointer) poke() {
	select {
	case c.poked <- struct{}{}:
	default:
	}
}

// Checkpoint makes a checkpoint of all that was acknowledged before the call, and returns when it is
// what the next open starts from. Nobody waits for it but the caller, and while there are commits it takes its time for their sake. If nothing has changed since the last one, and no key has expired, that is it. If ctx
// ends first, the checkpoint goes on without the caller.
func (db *DB) Checkpoint(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case db.checkpointer.requests <- answer:
	case <-db.checkpointer.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run is the goroutine.
func (c *checkpointer) run() {
	defer close(c.done)
	defer func() { c.pending = nil }() // a closed database maps nothing, whoever still holds it
	var answers []chan error
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case a := <-c.requests:
			answers = append(answers, a)
		case <-c.poked:
		case <-timer.C:
		}
		if len(answers) > 0 || c.due() {
			err := c.checkpoint()
			for _, a := range answers {
				a <- err
			}
			answers = answers[:0]
		}
		c.schedule(timer)
	}
}

// stop gives up the checkpoint under way and ends the goroutine.
func (c *checkpointer) stop() {
	c.cancel()
	<-c.done
}

// due reports whether a checkpoint should begin now.
func (c *checkpointer) due() bool {
	db := c.db
	if db.opts.DisableBackgroundCheckpoint || db.failed() != nil || time.Now().Before(c.retry) {
		return false
	}
	if c.pending != nil || !c.retry.IsZero() { // the last attempt failed, or could not even begin
		return true
	}
	if c.resting.Load() && !time.Now().Before(c.pause) {
		c.resting.Store(false)
	}
	if c.repair.Load() && !time.Now().Before(c.rested) || !c.resting.Load() && db.pressed() || c.scattered() {
		return true
	}
	if db.updates.Load() == 0 {
		return false
	}
	if c.changed.IsZero() {
		c.changed = time.Now()
	}
	return c.reached() || db.opts.CheckpointInterval > 0 && time.Since(c.changed) >= db.opts.CheckpointInterval
}

// reached reports whether so much was logged that a checkpoint is due. The holder of the pipeline asks after each
// group, and wakes the goroutine only then: to wake it every time took 14 µs of a commit.
func (c *checkpointer) reached() bool {
	db := c.db
	if db.opts.DisableBackgroundCheckpoint {
		return false
	}
	logBytes := max(db.opts.CheckpointLogBytes, c.baseLen.Load())
	return db.logged.Load() >= logBytes ||
		db.view.Load().delta.bytes.Load() >= fileBytesFactor*logBytes ||
		!c.resting.Load() && db.crowded() ||
		db.opts.CheckpointUpdates > 0 && db.updates.Load() >= db.opts.CheckpointUpdates
}

// scattered reports whether the open has found so many logs that a checkpoint should replace them: those of sessions that have written
// little or nothing.
func (c *checkpointer) scattered() bool {
	return c.db.recovery.Logs > manyLogs && c.generation <= c.inherited && (c.db.updates.Load() > 0 || c.db.anyDue())
}

// schedule sets the timer to when a checkpoint may become due by time alone.
func (c *checkpointer) schedule(timer *time.Timer) {
	var times []time.Time
	switch {
	case c.db.opts.DisableBackgroundCheckpoint, c.db.failed() != nil: // then none becomes due
	case !c.retry.IsZero():
		times = append(times, c.retry)
	default:
		if c.repair.Load() {
			times = append(times, c.rested)
		}
		if !c.changed.IsZero() && c.db.opts.CheckpointInterval > 0 {
			times = append(times, c.changed.Add(c.db.opts.CheckpointInterval))
		}
		if c.resting.Load() {
			times = append(times, c.pause)
		}
	}
	if len(times) == 0 {
		timer.Stop()
		return
	}
	timer.Reset(time.Until(slices.MinFunc(times, time.Time.Compare)))
}

// checkpoint brings all that was acknowledged so far into a checkpoint: first what an attempt that
// failed has frozen, then what has changed since.
func (c *checkpointer) checkpoint() error {
	if c.pending != nil {
		if err := c.finish(); err != nil {
			return err
		}
	}
	repair := c.repair.Swap(false)
	if c.db.updates.Load() == 0 && !c.db.anyDue() && !repair {
		c.retry, c.backoff = time.Time{}, 0
		return nil
	}
	c.changed, c.began = time.Time{}, time.Now()
	p, err := c.db.freeze()
	if err != nil {
		err = c.failed(err)
	} else {
		c.pending = p
		err = c.finish()
	}
	if err != nil && repair {
		c.repair.Store(true)
	}
	return err
}

// finish makes the pending state a checkpoint.
func (c *checkpointer) finish() error {
	c.began = time.Now()
	if err := c.complete(c.pending); err != nil {
		return c.failed(err)
	}
	c.baseLen.Store(int64(c.db.view.Load().base.Footer().FileLen))
	took := time.Since(c.began)
	if c.db.opts.MaxMemoryBytes > 0 {
		spare := time.Duration(c.db.opts.LogFileBytes/spareBytesPerMillisecond) * time.Millisecond
		c.pause = time.Now().Add(pauseFactor * (took + spare))
		c.resting.Store(true)
	}
	c.succeeded(c.pending.generation, took)
	if c.db.healed(c.pending) { // a disk or a memory that goes on failing may have them a fifth of the time
		c.rested = time.Now().Add(pauseFactor * took)
	}
	c.pending = nil
	return nil
}

func (c *checkpointer) failed(err error) error {
	if c.ctx.Err() != nil || errors.Is(err, ErrClosed) {
		return ErrClosed
	}
	err = diskError(err)
	longest := retryMax
	if errors.Is(err, ErrCorrupt) {
		longest = retryDamaged
	}
	c.backoff = min(max(retryMin, 2*c.backoff), longest)
	wait := c.backoff
	if longest == retryDamaged {
		wait = max(wait, pauseFactor*time.Since(c.began))
	}
	c.retry = time.Now().Add(wait)
	_ = c.db.meet(err)
	c.db.logger.Warn("checkpoint failed, it will be tried again", "error", err, "in", wait)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failure = err
	return err
}

func (c *checkpointer) succeeded(generation uint64, took time.Duration) {
	c.retry, c.backoff = time.Time{}, 0
	c.db.logger.Info("checkpoint", "generation", generation, "took", took)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failure, c.took, c.generation = nil, took, generation
	c.count++
}

// report fills in what Stats says of checkpoints.
func (c *checkpointer) report(s *Stats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Checkpoints, s.LastCheckpoint, s.CheckpointFailure, s.Generation = c.count, c.took, c.failure, c.generation
}
