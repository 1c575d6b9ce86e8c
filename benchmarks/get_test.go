package benchmarks_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/engine"
)

const (
	getKeys  = 1_000_000
	getSlice = 50 * time.Millisecond
	// getBurst is how many reads a reader does between two looks at whether to stop.
	getBurst = 256
)

// BenchmarkGet is random reads of a database whose keys are all in the base, or all in the delta, beside a
// locked map with the same keys.
func BenchmarkGet(b *testing.B) {
	m := benchmarks.NewLockedMap(getKeys)
	fillMap(m, getKeys)
	mapGet := func(dst, key []byte) ([]byte, bool, error) {
		dst, ok := m.AppendGet(dst, key)
		return dst, ok, nil
	}
	db := open(b, directory(b), manualCheckpoints)
	closeAtEnd(b, db)
	load(b, db, 0, getKeys)
	for _, where := range []string{"delta", "base"} {
		if where == "base" {
			require.NoError(b, db.Checkpoint(ctx))
		}
		for _, hit := range []bool{true, false} {
			for _, n := range []int{1, 2} {
				b.Run(fmt.Sprintf("in=%s/hit=%v/readers=%d", where, hit, n), func(b *testing.B) {
					p := runPairs(b, n, getSlice, getter(hit, db.AppendGet), getter(hit, mapGet))
					reportLatencies(b, p)
					reportAllocations(b, db)
				})
			}
		}
	}
}

func fillMap(m *benchmarks.LockedMap, n uint64) {
	var key [benchmarks.KeyLen]byte
	var value [benchmarks.ValueLen]byte
	for i := range n {
		benchmarks.PutKey(key[:], i)
		benchmarks.PutValue(value[:], i)
		m.Set(key[:], value[:])
	}
}

var errWrongAnswer = errors.New("wrong answer")

// getter is a worker that reads random keys that are there, or only such that are not.
func getter(hit bool, get func(dst, key []byte) ([]byte, bool, error)) benchmarks.Worker {
	var rounds atomic.Uint64
	return func(_ int, stop *atomic.Bool, latencies *benchmarks.Histogram) (ops uint64, err error) {
		var key [benchmarks.KeyLen]byte
		buf := make([]byte, 0, benchmarks.ValueLen)
		numbers := benchmarks.NewNumbers(rounds.Add(1), getKeys)
		first, want := uint64(0), benchmarks.ValueLen
		if !hit {
			first, want = getKeys, 0
		}
		for ; !stop.Load(); ops += getBurst {
			for i := range getBurst {
				benchmarks.PutKey(key[:], first+numbers.Next())
				var started time.Time
				if i == 0 { // a clock costs as much as a read: one of each burst is measured
					started = time.Now()
				}
				value, ok, err := get(buf, key[:])
				if i == 0 {
					latencies.Add(time.Since(started))
				}
				if ok != hit || len(value) != want || err != nil {
					return ops, errors.Join(errWrongAnswer, err)
				}
			}
		}
		return ops, nil
	}
}

// reportAllocations reports what one read allocates.
func reportAllocations(b *testing.B, db *engine.DB) {
	var key [benchmarks.KeyLen]byte
	benchmarks.PutKey(key[:], 1)
	buf := make([]byte, 0, benchmarks.ValueLen)
	b.ReportMetric(testing.AllocsPerRun(1000, func() { _, _, _ = db.AppendGet(buf, key[:]) }), "allocs/get")
}
