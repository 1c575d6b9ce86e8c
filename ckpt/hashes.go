package ckpt

import (
	"math"
	"slices"

	"github.com/tongpengdl/small-db/format"
)

const (
	// loadSlots of slotsLoaded slots are taken in a hash index: 0.8. A bucket of seven
	// then passes few keys on to its neighbour, and the index costs 11.4 bytes a key.
	loadSlots, slotsLoaded = 4, 5

	// runs is how many runs the hashes are kept in while the records come.
	runs     = 256
	runShift = 64 - 8

	// maxReserve bounds what is reserved on the word of the caller, in keys.
	maxReserve = 1 << 26
)

// bucketsFor is the number of buckets of an index over n keys; at least 1.
func bucketsFor(n uint64) uint64 {
	const full = format.BucketSlots * loadSlots
	return max(1, (n*slotsLoaded+full-1)/full)
}

// hashed is a key as the hash index needs it.
type hashed struct{ hash, offset uint64 }

// hashes collects the hashes and offsets of all records, 16 bytes each, and lays them
// out as buckets. Hashes with the same highest bits share a run. As BucketOf
// keeps the order of hashes, buckets come out in the order of the sorted
// hashes: no table is needed, and the number of keys need not be known before the end.
type hashes struct {
	runs  [runs][]hashed
	count uint64
}

// newHashes reserves space for expect keys.
func newHashes(expect uint64) *hashes {
	mean := min(expect, maxReserve) / runs
	size := mean + 4*uint64(math.Sqrt(float64(mean))) // runs differ by chance, almost never by more
	x := new(hashes)
	for i := range x.runs {
		x.runs[i] = make([]hashed, 0, size)
	}
	return x
}

func (x *hashes) add(hash, offset uint64) {
	run := &x.runs[hash>>runShift]
	*run = append(*run, hashed{hash, offset})
	x.count++
}

// sort calls ask before each run, and ends with its error.
func (x *hashes) sort(ask func() error) error {
	for _, run := range x.runs {
		if err := ask(); err != nil {
			return err
		}
		slices.SortFunc(run, func(a, b hashed) int {
			switch {
			case a.hash < b.hash || a.hash == b.hash && a.offset < b.offset:
				return -1
			case a == b:
				return 0
			}
			return 1
		})
	}
	return nil
}

// wrapped computes for n buckets how many of the sorted keys find no place up to the last
// bucket and so fill the first ones. fits is false if a key would lie
// format.MaxProbe or more buckets past its own: then these hashes cannot be used.
func (x *hashes) wrapped(n uint64) (wrapped uint64, fits bool) {
	for {
		// Slots are numbered across buckets. Those that wrap take the first ones, which may make others wrap.
		free := wrapped
		for _, run := range x.runs {
			for _, k := range run {
				home := format.BucketOf(k.hash, n)
				free = max(free, home*format.BucketSlots)
				if free/format.BucketSlots-home >= format.MaxProbe {
					return 0, false
				}
				free++
			}
		}
		over := max(free, n*format.BucketSlots) - n*format.BucketSlots
		if over == wrapped {
			return wrapped, true
		}
		wrapped = over
	}
}

// buckets calls emit with each of the n buckets, in order. wrapped is what wrapped(n) returned.
func (x *hashes) buckets(n, wrapped uint64, emit func(*format.Bucket) error) error {
	first := x.last(wrapped)
	run, i := 0, 0
	for at := range n {
		var bucket format.Bucket
		used := 0
		for ; used < format.BucketSlots && len(first) > 0; used++ {
			bucket[used] = format.NewSlot(first[0].hash, first[0].offset)
			first = first[1:]
		}
		for used < format.BucketSlots && run < runs {
			if i == len(x.runs[run]) {
				run, i = run+1, 0
				continue
			}
			k := x.runs[run][i]
			if format.BucketOf(k.hash, n) > at {
				break
			}
			bucket[used] = format.NewSlot(k.hash, k.offset)
			used, i = used+1, i+1
		}
		if err := emit(&bucket); err != nil {
			return err
		}
	}
	return nil
}

// last copies the last n keys.
func (x *hashes) last(n uint64) []hashed {
	keys := make([]hashed, n)
	for run := runs - 1; n > 0; run-- {
		from := x.runs[run]
		from = from[uint64(len(from))-min(n, uint64(len(from))):]
		n -= uint64(len(from))
		copy(keys[n:], from)
	}
	return keys
}
