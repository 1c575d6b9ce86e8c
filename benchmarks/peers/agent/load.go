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

// loadBatch is the keys in a batch.
const loadBatch = 5000

// batch is pairs whose memory is used again.
type batch struct {
	pairs  []rival.Pair
	memory []byte
}

func newBatch() *batch {
	return &batch{memory: make([]byte, 0, loadBatch*(benchmarks.KeyLen+benchmarks.ValueLen))}
}

// add adds the key with a number, and the value with the same number.
func (b *batch) add(i uint64) {
	at := len(b.memory)
	b.memory = b.memory[:at+benchmarks.KeyLen+benchmarks.ValueLen]
	key, value := b.memory[at:at+benchmarks.KeyLen], b.memory[at+benchmarks.KeyLen:]
	benchmarks.PutKey(key, i)
	benchmarks.PutValue(value, i)
	b.pairs = append(b.pairs, rival.Pair{Key: key, Value: value})
}

func (b *batch) reset() { b.pairs, b.memory = b.pairs[:0], b.memory[:0] }

// load loads in key order, as the documentation of B-trees advises: their pages are full then, and ten million keys get done at all. For the others it
// makes no difference once they are compacted. What it costs to set random keys is measured by set.
//
// It gives up when its time is up, if it has one: then Reply.Ops is less than what was asked for.
func (s *server) load(r *Request, reply *Reply) error {
	numbers := inKeyOrder(r.N)
	b, started := newBatch(), time.Now()
	defer func() { reply.Took = time.Since(started) }()
	for i, number := range numbers {
		b.add(number)
		if len(b.pairs) == loadBatch || i == len(numbers)-1 {
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

// filled is the part of what makes a checkpoint begin.
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

var errNotOurs = errors.New("only ours has a delta")

// fill overwrites random keys until the delta is nearly at its threshold, or time is up: a checkpoint comes after a minute in any case.
func (s *server) fill(r *Request, reply *Reply) error {
	ours, ok := s.store.(*rival.OurStore)
	if !ok {
		return errNotOurs
	}
	threshold, err := checkpointThreshold(s.dir)
	if err != nil {
		return err
	}
	numbers, b, started := benchmarks.NewNumbers(r.Seed, r.N), newBatch(), time.Now()
	for float64(ours.DB.Stats().LogBytes) < filled*threshold && time.Since(started) < r.For {
		for range loadBatch {
			b.add(numbers.Next())
		}
		if err := ours.Load(b.pairs); err != nil {
			return err
		}
		b.reset()
		reply.Ops += loadBatch
	}
	reply.Took = time.Since(started)
	reply.Filled = float64(ours.DB.Stats().LogBytes) / threshold
	reply.Compactions = s.checkpoints()
	return nil
}

// checkpointThreshold is the record bytes after which a checkpoint begins: see engine.Options.CheckpointLogBytes.
func checkpointThreshold(dir string) (float64, error) {
	threshold := float64(engine.DefaultCheckpointLogBytes)
	names, err := filepath.Glob(filepath.Join(dir, "checkpoint.*"))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return 0, err
		}
		threshold = max(threshold, float64(info.Size()))
	}
	return threshold, nil
}

// checkpoints is how many ours has made since the open; 0 for others.
func (s *server) checkpoints() int {
	if ours, ok := s.store.(*rival.OurStore); ok {
		return int(ours.DB.Stats().Checkpoints)
	}
	return 0
}
