package agent

import (
	"cmp"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
	"github.com/tongpengdl/small-db/engine"
)

// load loads in key order, as the documentation of B-trees advises: their pages are full then, and ten million keys get done at all. For the others it
// makes no difference once they are compacted. What it costs to set random keys is measured by set.
//
// It gives up when its time is up, if it has one: then Reply.Ops is less than what was asked for.
func (s *server) load(r *Request, reply *Reply) error {
	numbers := inKeyOrder(r.N)
	b, started := newBatch(r.valueLen()), time.Now()
	defer func() { reply.Took = time.Since(started) }()
	for i, number := range numbers {
		b.add(number)
		if b.full() || i == len(numbers)-1 {
			if err := s.store.Load(b.pairs); err != nil {
				return err
			}
			reply.Ops += uint64(len(b.pairs))
			b.reset()
			if r.For > 0 && time.Since(started) > r.For {
				return nil
			}
		}
	}
	return nil
}

// filled is the part of what makes a checkpoint begin, if a request names none.
const filled = 0.9

// inKeyOrder are the numbers below n in the order of their keys.
func inKeyOrder(n uint64) []uint64 {
	numbers, prefixes := make([]uint64, n), make([]uint64, n)
	var key [benchmarks.KeyLen]byte
	for i := range numbers {
		numbers[i] = uint64(i)
		benchmarks.PutKey(key[:], uint64(i))
		prefixes[i] = binary.BigEndian.Uint64(key[:]) // no two keys have the same
	}
	slices.SortFunc(numbers, func(a, b uint64) int { return cmp.Compare(prefixes[a], prefixes[b]) })
	return numbers
}

var errNotOurs = errors.New("only ours can do that")

func (s *server) ours() (*rival.OurStore, error) {
	ours, ok := s.store.(*rival.OurStore)
	if !ok {
		return nil, errNotOurs
	}
	return ours, nil
}

// fill overwrites random keys until the delta has reached a part of its threshold, or time is up: a checkpoint comes after a minute, unless
// there are none.
func (s *server) fill(r *Request, reply *Reply) error {
	ours, err := s.ours()
	if err != nil {
		return err
	}
	threshold, err := checkpointThreshold(s.dir)
	if err != nil {
		return err
	}
	part := r.Part
	if part == 0 {
		part = filled
	}
	numbers, b, started := benchmarks.NewNumbers(r.Seed, r.N), newBatch(r.valueLen()), time.Now()
	for float64(ours.DB.Stats().LogBytes) < part*threshold && time.Since(started) < r.For {
		for !b.full() {
			b.add(numbers.Next())
		}
		if err := ours.Load(b.pairs); err != nil {
			return err
		}
		reply.Ops += uint64(len(b.pairs))
		b.reset()
	}
	reply.Took = time.Since(started)
	reply.LogBytes = ours.DB.Stats().LogBytes
	reply.Filled = float64(reply.LogBytes) / threshold
	reply.Compactions = s.checkpoints()
	return nil
}

// checkpointThreshold is the record bytes after which a checkpoint begins: see engine.Options.CheckpointLogBytes.
func checkpointThreshold(dir string) (float64, error) {
	base, err := checkpointBytes(dir)
	return max(engine.DefaultCheckpointLogBytes, float64(base)), err
}

// checkpointBytes is the size of the largest checkpoint in a directory.
func checkpointBytes(dir string) (most int64, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "checkpoint.*"))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return 0, err
		}
		most = max(most, info.Size())
	}
	return most, nil
}

// checkpoints is how many ours has made since the open; 0 for others.
func (s *server) checkpoints() int {
	if ours, ok := s.store.(*rival.OurStore); ok {
		return int(ours.DB.Stats().Checkpoints)
	}
	return 0
}
