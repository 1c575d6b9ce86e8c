package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/tongpengdl/small-db/benchmarks"
)

// walk scans all keys in order, once at least, and then until time is up.
func (s *server) walk(r *Request, reply *Reply) error {
	ours, err := s.ours()
	if err != nil {
		return err
	}
	var value [benchmarks.ValueLen]byte
	for started := time.Now(); len(reply.Times) == 0 || time.Since(started) < r.For; {
		before := time.Now()
		snapshot, keys := ours.DB.Snapshot(), uint64(0)
		for _, v := range snapshot.Scan(nil, nil) {
			copy(value[:], v)
			keys++
		}
		if err := snapshot.Err(); err != nil {
			return err
		}
		if keys != r.N {
			return fmt.Errorf("%w: %d keys, not %d", errWrongAnswer, keys, r.N)
		}
		took := time.Since(before)
		reply.Ops, reply.Took = reply.Ops+keys, reply.Took+took
		reply.Times = append(reply.Times, took)
	}
	return nil
}

// grow sets all keys once. If they are set for the first time, the table of the delta grows by them. A single writer does the work of the commit
// itself, so its processor time, which other programs do not add to, has all that the growth costs it, but for what it waits for.
func (s *server) grow(r *Request, reply *Reply) error {
	session, err := s.store.Session()
	if err != nil {
		return err
	}
	var key [benchmarks.KeyLen]byte
	value, latencies := make([]byte, r.valueLen()), NewHistogram()
	putValue(value, r.Seed)
	runtime.LockOSThread() // its processor time is that of this goroutine
	defer runtime.UnlockOSThread()
	var slowest, slowestCPU time.Duration
	logs := &logWatch{dir: s.dir}
	logs.changed()
	started, beforeCPU := time.Now(), threadTime()
	before := started
	for i := range r.N {
		benchmarks.PutKey(key[:], i)
		if err := session.Set(key[:], value); err != nil {
			return err
		}
		took, tookCPU := time.Since(before), threadTime()-beforeCPU
		record(latencies, took)
		switch {
		case max(took, tookCPU) > slowSet && logs.changed():
			reply.Rotations = append(reply.Rotations, took)
		default:
			slowest, slowestCPU = max(slowest, took), max(slowestCPU, tookCPU)
		}
		before, beforeCPU = time.Now(), threadTime()
		if (i+1)%r.Step == 0 {
			reply.Times, reply.CPUTimes = append(reply.Times, slowest), append(reply.CPUTimes, slowestCPU)
			slowest, slowestCPU = 0, 0
		}
	}
	reply.Took, reply.Ops = time.Since(started), r.N
	if reply.Latencies, err = latencies.Encode(hdrhistogram.V2CompressedEncodingCookieBase); err != nil {
		return err
	}
	return session.Close()
}

// slowSet is the time from which on a set is looked at: it may have changed the log, which takes longer than that.
const slowSet = time.Millisecond

// logWatch tells whether there is a newer log than before.
type logWatch struct {
	dir    string
	newest string
}

func (w *logWatch) changed() bool {
	names, _ := filepath.Glob(filepath.Join(w.dir, "logfile.*")) // the pattern is good
	before := w.newest
	for _, name := range names {
		if len(name) > len(w.newest) || len(name) == len(w.newest) && name > w.newest { // generations are decimal numbers
			w.newest = name
		}
	}
	return w.newest != before
}

// delete deletes all keys; their order is not that of the keys.
func (s *server) delete(r *Request, reply *Reply) error {
	ours, err := s.ours()
	if err != nil {
		return err
	}
	var next, done atomic.Uint64
	reply.Times = make([]time.Duration, r.N/r.Step)
	started := time.Now()
	return s.turn(r.Workers, reply, func(w *worker, _ *atomic.Bool) error {
		var key [benchmarks.KeyLen]byte
		before := time.Now()
		for i := next.Add(1); i <= r.N; i = next.Add(1) {
			benchmarks.PutKey(key[:], i-1)
			if _, err := ours.DB.Delete(context.Background(), key[:]); err != nil {
				return err
			}
			now := time.Now()
			record(w.latencies, now.Sub(before))
			before = now
			w.ops++
			if n := done.Add(1); n%r.Step == 0 {
				reply.Times[n/r.Step-1] = now.Sub(started)
			}
		}
		return nil
	}, func() {})
}

// hold takes a snapshot and holds it.
func (s *server) hold(*Request, *Reply) error {
	ours, err := s.ours()
	if err != nil {
		return err
	}
	s.held = ours.DB.Snapshot()
	return s.held.Err()
}

// recall reads random keys in the snapshot for a while.
func (s *server) recall(r *Request, reply *Reply) error {
	walk, started := benchmarks.NewNumbers(r.Seed, r.N), time.Now()
	var key [benchmarks.KeyLen]byte
	for reply.Ops == 0 || time.Since(started) < r.For {
		number := walk.Next()
		benchmarks.PutKey(key[:], number)
		value, ok, err := s.held.Get(key[:])
		if err == nil && !ok {
			err = errWrongAnswer
		}
		if err == nil {
			err = benchmarks.CheckValue(value, number)
		}
		if err != nil {
			return err
		}
		reply.Ops++
	}
	reply.Took = time.Since(started)
	return nil
}

// release drops the snapshot. What only it referred to goes with the next collections.
func (s *server) release(*Request, *Reply) error {
	s.held = nil
	return nil
}
