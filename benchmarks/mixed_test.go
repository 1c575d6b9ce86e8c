package benchmarks_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/engine"
)

// BenchmarkView is random reads in place, beside a locked map that is read in place.
func BenchmarkView(b *testing.B) {
	m := benchmarks.NewLockedMap(getKeys)
	fillMap(m, getKeys)
	db := open(b, directory(b), manualCheckpoints)
	closeAtEnd(b, db)
	load(b, db, 0, getKeys)
	require.NoError(b, db.Checkpoint(ctx))
	view := func(dst, key []byte) ([]byte, bool, error) {
		length := 0
		ok, err := db.View(key, func(value []byte) error { length = len(value); return nil })
		return dst[:length], ok, err
	}
	mapGet := func(dst, key []byte) ([]byte, bool, error) {
		dst, ok := m.AppendGet(dst, key)
		return dst, ok, nil
	}
	for _, n := range []int{1, 2} {
		b.Run(fmt.Sprintf("readers=%d", n), func(b *testing.B) {
			reportLatencies(b, runPairs(b, n, getSlice, getter(true, view), getter(true, mapGet)))
		})
	}
}

// BenchmarkApply is durable batches of so many sets by 1 writer. An operation is one set; the quantiles are of whole batches.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("sets=%d", n), func(b *testing.B) {
			db := open(b, directory(b), nil)
			closeAtEnd(b, db)
			_, err := benchmarks.RunSlice(1, setSlice, applier(db, n)) // warm up
			require.NoError(b, err)
			var slices []*benchmarks.Slice
			for b.Loop() {
				s, err := benchmarks.RunSlice(1, setSlice, applier(db, n))
				require.NoError(b, err)
				slices = append(slices, s)
			}
			rate := benchmarks.Over(slices, (*benchmarks.Slice).Rate) * float64(n)
			b.ReportMetric(1e9/rate, "ns/op")
			b.ReportMetric(rate, "ops/s")
			reportQuantiles(b, benchmarks.Latencies(slices))
		})
	}
}

// applier is a worker that applies batches of n sets of random keys. An operation is a batch.
func applier(db *engine.DB, n int) benchmarks.Worker {
	var rounds atomic.Uint64
	return func(_ int, stop *atomic.Bool, latencies *benchmarks.Histogram) (ops uint64, err error) {
		var key [benchmarks.KeyLen]byte
		var value [benchmarks.ValueLen]byte
		var batch engine.Batch
		numbers := benchmarks.NewNumbers(rounds.Add(1), setKeys)
		for ; !stop.Load(); ops++ {
			batch.Reset()
			for range n {
				benchmarks.PutKey(key[:], numbers.Next())
				batch.Set(key[:], value[:])
			}
			started := time.Now()
			if _, err := db.Apply(ctx, &batch); err != nil {
				return ops, err
			}
			latencies.Add(time.Since(started))
		}
		return ops, nil
	}
}

// BenchmarkUpdate is transactions that raise a counter: of their own for each goroutine, or one for all. Beside it the same writes
// are made without a transaction.
func BenchmarkUpdate(b *testing.B) {
	for _, shared := range []bool{false, true} {
		for _, n := range []int{1, 16, 64} {
			name := fmt.Sprintf("own/goroutines=%d", n)
			if shared {
				name = fmt.Sprintf("shared/goroutines=%d", n)
			}
			b.Run(name, func(b *testing.B) {
				db := open(b, directory(b), nil)
				closeAtEnd(b, db)
				p := runPairs(b, n, setSlice, updater(shared, func(key []byte) error { return increment(db, key) }),
					updater(shared, func(key []byte) error { return engineSet(db)(key, make([]byte, 8)) }))
				reportLatencies(b, p)
			})
		}
	}
}

func updater(shared bool, update func(key []byte) error) benchmarks.Worker {
	return func(worker int, stop *atomic.Bool, latencies *benchmarks.Histogram) (ops uint64, err error) {
		key := []byte("counter")
		if !shared {
			key = fmt.Appendf(nil, "counter-%d", worker)
		}
		for ; !stop.Load(); ops++ {
			started := time.Now()
			if err := update(key); err != nil {
				return ops, err
			}
			latencies.Add(time.Since(started))
		}
		return ops, nil
	}
}

func increment(db *engine.DB, key []byte) error {
	_, err := db.Update(ctx, func(tx *engine.Tx) error {
		value, ok, err := tx.Get(key)
		if err != nil {
			return err
		}
		var n uint64
		if ok {
			n = binary.BigEndian.Uint64(value)
		}
		tx.Set(key, binary.BigEndian.AppendUint64(nil, n+1))
		return nil
	})
	return err
}

// BenchmarkMixed is 64 goroutines that read a random key 95 times in a hundred and set one durably 5 times, beside a locked map with the
// bare group commit.
func BenchmarkMixed(b *testing.B) {
	const goroutines = 64
	db := open(b, directory(b), nil)
	closeAtEnd(b, db)
	load(b, db, 0, getKeys)
	require.NoError(b, db.Checkpoint(ctx))
	m := benchmarks.NewLockedMap(getKeys)
	fillMap(m, getKeys)
	loop, err := benchmarks.NewGroupLoop(directory(b), benchmarks.LogLen)
	require.NoError(b, err)
	closeAtEnd(b, loop)
	ours := mixer(db.AppendGet, engineSet(db))
	limit := mixer(func(dst, key []byte) ([]byte, bool, error) {
		dst, ok := m.AppendGet(dst, key)
		return dst, ok, nil
	}, func(key, value []byte) error {
		err := loop.Set(key, value)
		m.Set(key, value)
		return err
	})
	p := runPairs(b, goroutines, setSlice, ours, limit)
	reportLatencies(b, p)
}

// mixer is a worker that reads and sets.
func mixer(get func(dst, key []byte) ([]byte, bool, error), set func(key, value []byte) error) benchmarks.Worker {
	var rounds atomic.Uint64
	return func(_ int, stop *atomic.Bool, latencies *benchmarks.Histogram) (ops uint64, err error) {
		var key [benchmarks.KeyLen]byte
		var value [benchmarks.ValueLen]byte
		buf := make([]byte, 0, benchmarks.ValueLen)
		numbers := benchmarks.NewNumbers(rounds.Add(1), getKeys)
		for ; !stop.Load(); ops++ {
			n := numbers.Next()
			benchmarks.PutKey(key[:], n)
			started := time.Now()
			if ops%20 == 0 {
				benchmarks.PutValue(value[:], n)
				err = set(key[:], value[:])
			} else if _, ok, failed := get(buf, key[:]); !ok || failed != nil {
				err = errors.Join(errWrongAnswer, failed)
			}
			latencies.Add(time.Since(started))
			if err != nil {
				return ops, err
			}
		}
		return ops, nil
	}
}
