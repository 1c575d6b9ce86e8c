package agent

import (
	"errors"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

// memory reads every key of the request once, then weighs the process, and times garbage collections.
func (s *server) memory(r *Request, reply *Reply) error {
	if err := s.readAll(r.N); err != nil {
		return err
	}
	resident, objects, bytes := weigh(s.pids())
	reply.HeapBytes = bytes - s.emptyHeap
	reply.Disk, reply.Unlinked = diskBytes(s.dir)
	reply.Resident, reply.HeapObjects = resident-s.emptyResident, objects-s.emptyObjects
	const collections = 5
	started := time.Now()
	for range collections {
		runtime.GC()
	}
	reply.Collection = time.Since(started) / collections
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	for i := range uint32(collections) {
		reply.Pause = max(reply.Pause, time.Duration(m.PauseNs[(m.NumGC-1-i)%uint32(len(m.PauseNs))]))
	}
	return nil
}

// servedStep is how many keys of a server's lie from one that is read to the next: what it has in memory does not depend on it, and a read of each
// over its socket takes half a minute.
const servedStep = 100

// readers are the goroutines that read all keys.
const readers = 2

func (s *server) readAll(n uint64) error {
	step := uint64(1)
	if _, ok := s.store.(rival.Server); ok {
		step = servedStep
	}
	var group sync.WaitGroup
	var errs [readers]error
	for i := range uint64(readers) {
		group.Go(func() { errs[i] = s.readEvery(i*step, n, readers*step) })
	}
	group.Wait()
	return errors.Join(errs[:]...)
}

// readEvery reads the keys from first on, below n, with step from one to the next.
func (s *server) readEvery(first, n, step uint64) error {
	session, err := s.store.Session()
	if err != nil {
		return err
	}
	get := newGetter(&worker{session: session}, benchmarks.ValueLen)
	for i := first; i < n; i += step {
		if err := get.one(i, true); err != nil {
			return errors.Join(err, session.Close())
		}
	}
	return session.Close()
}

// weigh returns the resident bytes of processes, and the live objects on the heap of this one and their bytes, after a collection that gives free memory back.
func weigh(pids []int) (resident, objects, heap int64) {
	debug.FreeOSMemory()
	debug.FreeOSMemory() // what the first one finalized
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return residentBytes(pids), int64(m.HeapObjects), int64(m.HeapAlloc)
}
