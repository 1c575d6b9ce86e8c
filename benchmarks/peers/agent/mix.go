package agent

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/tongpengdl/small-db/benchmarks"
)

// mixture is a core workload of YCSB: its share of operations, in percent. The rest are reads.
type mixture struct{ updates, inserts, scans int }

// mixtures are the core workloads that are measured (Cooper et al., SoCC 2010).
var mixtures = map[string]mixture{
	"A": {updates: 50},
	"B": {updates: 5},
	"C": {},
	"E": {inserts: 5, scans: 95},
}

const (
	maxMixScan = 100 // keys in a scan of E: 1 to this, all alike likely
	readsTimed = 16  // one read in so many is timed: a clock costs as much as a read
)

// mix is a YCSB workload. Ranks are drawn from a Zipf distribution; that keys of neighbouring ranks lie anywhere in key order is done by
// benchmarks.PutKey.
func (s *server) mix(r *Request, reply *Reply) error {
	m, ok := mixtures[r.Mix]
	if !ok {
		return fmt.Errorf("no workload is called %q", r.Mix)
	}
	if s.zipf == nil || s.zipf.n != r.N {
		s.zipf = NewZipf(r.N, ZipfTheta)
	}
	return s.turn(r.Workers, reply, func(w *worker, stop *atomic.Bool) error {
		x := &mixer{mixture: m, server: s, w: w, get: newGetter(w, benchmarks.ValueLen), scan: newScanner(w), n: r.N,
			random: rand.New(rand.NewPCG(r.Seed, uint64(w.number)))}
		benchmarks.PutValue(x.value[:], r.Seed)
		for ; !stop.Load(); w.ops++ {
			if err := x.one(); err != nil {
				return err
			}
		}
		return nil
	}, lasting(r.For))
}

// mixer is one goroutine of a mix.
type mixer struct {
	mixture
	server *server
	w      *worker
	get    *getter
	scan   *scanner
	random *rand.Rand
	n      uint64
	value  [benchmarks.ValueLen]byte
	reads  int
}

// one does an operation.
func (x *mixer) one() error {
	rank, dice := x.server.zipf.Draw(x.random), x.random.IntN(100)
	switch {
	case dice < x.updates:
		return x.set(rank)
	case dice < x.updates+x.inserts:
		return x.set(x.n + atomic.AddUint64(&x.server.inserted, 1))
	case dice < x.updates+x.inserts+x.scans:
		return x.timed(func() error { return x.scan.one(rank, 1+x.random.IntN(maxMixScan)) })
	}
	if x.reads++; x.reads%readsTimed != 0 {
		return x.get.one(rank, true)
	}
	return x.timed(func() error { return x.get.one(rank, true) })
}

func (x *mixer) set(number uint64) error {
	benchmarks.PutKey(x.get.key[:], number)
	return x.timed(func() error { return x.w.session.Set(x.get.key[:], x.value[:]) })
}

func (x *mixer) timed(do func() error) error {
	started := time.Now()
	err := do()
	record(x.w.latencies, time.Since(started))
	return err
}
