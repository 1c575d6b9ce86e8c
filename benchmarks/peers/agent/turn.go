package agent

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

// worker is one goroutine in a turn.
type worker struct {
	number    int
	session   rival.Session
	latencies *hdrhistogram.Histogram
	ops       uint64
	err       error
}

// turn lets workers work, and stops them when until returns. Their sessions are made before the clock runs.
func (s *server) turn(n int, reply *Reply, work func(w *worker, stop *atomic.Bool) error, until func()) error {
	workers, err := s.workers(n)
	if err != nil {
		return err
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	started, cpu := time.Now(), cpuTime()
	for _, w := range workers {
		wg.Go(func() { w.err = work(w, &stop) })
	}
	until()
	stop.Store(true)
	wg.Wait()
	reply.Took, reply.CPU = time.Since(started), cpuTime()-cpu
	all := NewHistogram()
	for _, w := range workers {
		err = errors.Join(err, w.err, w.session.Close())
		reply.Ops += w.ops
		all.Merge(w.latencies)
	}
	if err != nil {
		return err
	}
	reply.Latencies, err = all.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	return err
}

func (s *server) workers(n int) ([]*worker, error) {
	workers := make([]*worker, n)
	for i := range workers {
		session, err := s.store.Session()
		if err != nil {
			return nil, err
		}
		workers[i] = &worker{number: i, session: session, latencies: NewHistogram()}
	}
	return workers, nil
}

// lasting is an until that takes a while.
func lasting(d time.Duration) func() { return func() { time.Sleep(d) } }
