package agent

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/tongpengdl/small-db/benchmarks"
)

var errWrongAnswer = errors.New("wrong answer")

// numbers is another walk for each turn and worker.
func numbers(r *Request, w *worker) benchmarks.Numbers {
	return benchmarks.NewNumbers(r.Seed<<16+uint64(w.number), r.N)
}

// set is closed-loop: each worker sets a random key, waits, and sets the next.
func (s *server) set(r *Request, reply *Reply) error {
	return s.turn(r.Workers, reply, func(w *worker, stop *atomic.Bool) error {
		var key [benchmarks.KeyLen]byte
		value := make([]byte, r.valueLen())
		walk := numbers(r, w)
		putValue(value, r.Seed)
		started := time.Now()
		for ; !stop.Load(); w.ops++ {
			benchmarks.PutKey(key[:], walk.Next())
			if err := w.session.Set(key[:], value); err != nil {
				return err
			}
			now := time.Now()
			record(w.latencies, now.Sub(started))
			started = now
		}
		return nil
	}, lasting(r.For))
}

// getBurst is how many gets come between two looks at whether to stop. One of them is timed: a clock costs as much as a get.
const getBurst = 256

// get reads random keys. The reader copies each value, as users do who keep it beyond the read.
func (s *server) get(r *Request, reply *Reply) error {
	first, hit := uint64(0), !r.Miss && !r.Gone
	if r.Miss {
		first = 1 << 40 // numbers that are never set
	}
	err := s.turn(r.Workers, reply, func(w *worker, stop *atomic.Bool) error {
		walk, get := numbers(r, w), newGetter(w, r.valueLen())
		for ; !stop.Load(); w.ops += getBurst {
			started := time.Now()
			err := get.one(first+walk.Next(), hit)
			record(w.latencies, time.Since(started))
			for i := 1; i < getBurst && err == nil; i++ {
				err = get.one(first+walk.Next(), hit)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}, lasting(r.For))
	reply.Compactions = s.checkpoints()
	return err
}

// getter gets keys by their numbers.
type getter struct {
	w    *worker
	key  [benchmarks.KeyLen]byte
	copy []byte
	read func(value []byte) error // made once: no get allocates for it
}

func newGetter(w *worker, valueLen int) *getter {
	g := &getter{w: w, copy: make([]byte, valueLen)}
	g.read = func(value []byte) error {
		if len(value) != len(g.copy) {
			return errWrongAnswer
		}
		copy(g.copy, value)
		return nil
	}
	return g
}

// one gets a key that is set, or not, as hit says.
func (g *getter) one(number uint64, hit bool) error {
	benchmarks.PutKey(g.key[:], number)
	ok, err := g.w.session.View(g.key[:], g.read)
	if err == nil && ok != hit {
		err = errWrongAnswer
	}
	return err
}

// scan reads keys in order, from a random one on; each key counts as an operation.
func (s *server) scan(r *Request, reply *Reply) error {
	return s.turn(r.Workers, reply, func(w *worker, stop *atomic.Bool) error {
		walk, scan := numbers(r, w), newScanner(w)
		for !stop.Load() {
			started := time.Now()
			if err := scan.one(walk.Next(), r.Length); err != nil {
				return err
			}
			record(w.latencies, time.Since(started))
			w.ops += scan.keys
		}
		return nil
	}, lasting(r.For))
}

// scanner scans from keys on, by their numbers.
type scanner struct {
	w     *worker
	key   [benchmarks.KeyLen]byte
	copy  [benchmarks.ValueLen]byte
	keys  uint64 // seen by the last scan
	visit func(key, value []byte)
}

func newScanner(w *worker) *scanner {
	s := &scanner{w: w}
	s.visit = func(_, value []byte) {
		s.keys++
		copy(s.copy[:], value)
	}
	return s
}

// one scans from a key that is set.
func (s *scanner) one(number uint64, length int) error {
	benchmarks.PutKey(s.key[:], number)
	s.keys = 0
	err := s.w.session.Scan(s.key[:], length, s.visit)
	if err == nil && s.keys == 0 {
		err = errWrongAnswer
	}
	return err
}
