package agent

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

// Bounds of a paced turn that does not get done, in its length.
const (
	paceMaxLength = 10 // until the compactions asked for must be completed, but paceMinTime in any case
	paceMaxBehind = 1  // that the sets that were due may take once it is over
)

const paceMinTime = 20 * time.Second

// paceTime is how long the compactions that a turn asks for may take.
func paceTime(r *Request) time.Duration { return max(paceMaxLength*r.For, paceMinTime) }

// pace sets random keys at a rate, open loop: each set is due at its time, whatever became of those before it, and its latency counts from
// then. So a stall counts for all sets that it delays, not only for those it happens to meet.
func (s *server) pace(r *Request, reply *Reply) error {
	compactions := new(compactor)
	if r.Compactions {
		if err := compactions.start(s.store); err != nil {
			return err
		}
	}
	var behind atomic.Uint64
	started := time.Now()
	var over atomic.Int64 // the ns after started beyond which nothing is due
	err := s.turn(r.Workers, reply, func(w *worker, stop *atomic.Bool) error {
		return paceWorker(r, w, started, stop, &over, &behind)
	}, func() {
		compactions.await(r)
		over.Store(int64(time.Since(started)))
	})
	reply.Behind = behind.Load()
	done, failed := compactions.stop()
	reply.Compactions = done
	if r.Compactions && done < r.MinCompactions {
		failed = errors.Join(failed, errTooFew)
	}
	return errors.Join(err, failed)
}

func paceWorker(r *Request, w *worker, started time.Time, stop *atomic.Bool, over *atomic.Int64, behind *atomic.Uint64) error {
	var key [benchmarks.KeyLen]byte
	var value [benchmarks.ValueLen]byte
	benchmarks.PutValue(value[:], r.Seed)
	walk := numbers(r, w)
	interval := time.Duration(float64(r.Workers) / r.Rate * float64(time.Second))
	due := started.Add(interval * time.Duration(w.number) / time.Duration(r.Workers))
	for ; ; due = due.Add(interval) {
		time.Sleep(time.Until(due))
		if stop.Load() {
			length := time.Duration(over.Load())
			if due.Sub(started) >= length {
				return nil
			}
			if late := time.Since(started) - length; late > paceMaxBehind*length {
				record(w.latencies, time.Since(due)) // at least so much
				behind.Add(1)
				continue
			}
		}
		benchmarks.PutKey(key[:], walk.Next())
		if err := w.session.Set(key[:], value[:]); err != nil {
			return err
		}
		record(w.latencies, time.Since(due))
		w.ops++
	}
}

var (
	errNothingToCompact = errors.New("it has nothing to compact")
	errTooFew           = errors.New("too few compactions were completed")
)

// compactor makes one compaction after the other.
type compactor struct {
	quit  chan struct{} // nil if it was not started
	done  atomic.Int64
	ended chan error
}

func (c *compactor) start(store rival.Store) error {
	subject, ok := store.(rival.Compactor)
	if !ok {
		return errNothingToCompact
	}
	c.quit, c.ended = make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-c.quit:
				c.ended <- nil
				return
			default:
			}
			if err := subject.Compact(); err != nil {
				c.ended <- err
				return
			}
			c.done.Add(1)
			time.Sleep(compactPause)
		}
	}()
	return nil
}

// compactPause is the time from a compaction to the next: one that had nothing to do shall not spin, and a turn that is over begins no other.
const compactPause = 50 * time.Millisecond

// await returns when the turn is long enough.
func (c *compactor) await(r *Request) {
	started := time.Now()
	time.Sleep(r.For)
	for c.quit != nil && c.done.Load() < int64(r.MinCompactions) && time.Since(started) < paceTime(r) {
		time.Sleep(time.Millisecond)
	}
}

// stop returns how many were completed when it was called.
func (c *compactor) stop() (int, error) {
	if c.quit == nil {
		return 0, nil
	}
	done := c.done.Load()
	close(c.quit)
	return int(done), <-c.ended
}
