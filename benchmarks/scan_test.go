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
	scanKeys  = 1_000_000
	scanSlice = 100 * time.Millisecond
	// scanChanges are the keys of the base that have changed, for scans over both.
	scanChanges = 100_000
)

// scan is one read of count keys from start on.
type scan func(start []byte, count int) (n int, err error)

// BenchmarkScan is scans of a random range from a snapshot that was scanned before, over the delta alone, the base alone, and a base of which a tenth
// has changed, beside a binary search in a sorted array. An operation is one scan of so many keys.
func BenchmarkScan(b *testing.B) {
	sorted := benchmarks.NewSortedSlice(scanKeys)
	limit := func(start []byte, count int) (n int, err error) {
		sorted.Scan(start, func(_, _ []byte) bool { n++; return n < count })
		return n, nil
	}
	db := open(b, directory(b), manualCheckpoints)
	closeAtEnd(b, db)
	load(b, db, 0, scanKeys)
	for _, where := range []string{"delta", "base", "both"} {
		switch where {
		case "base":
			require.NoError(b, db.Checkpoint(ctx))
		case "both":
			load(b, db, 0, scanChanges)
		}
		s := db.Snapshot()
		for _, backward := range []bool{false, true} {
			for _, count := range []int{1, 100, 10_000} {
				name := fmt.Sprintf("in=%s/keys=%d", where, count)
				if backward {
					name = fmt.Sprintf("in=%s/backward/keys=%d", where, count)
				}
				b.Run(name, func(b *testing.B) {
					p := runPairs(b, 1, scanSlice, scanner(count, snapshotScan(s, backward)), scanner(count, limit))
					reportLatencies(b, p)
				})
			}
		}
	}
}

func snapshotScan(s *engine.Snapshot, backward bool) scan {
	return func(start []byte, count int) (n int, err error) {
		keys := s.Scan(start, nil)
		if backward {
			keys = s.Backward(nil, start)
		}
		for range keys {
			if n++; n == count {
				break
			}
		}
		return n, s.Err()
	}
}

// scanner is a worker that scans from random keys.
func scanner(count int, scan scan) benchmarks.Worker {
	var rounds atomic.Uint64
	return func(_ int, stop *atomic.Bool, latencies *benchmarks.Histogram) (ops uint64, err error) {
		var key [benchmarks.KeyLen]byte
		numbers := benchmarks.NewNumbers(rounds.Add(1), scanKeys)
		started := time.Now()
		for ; !stop.Load(); ops++ {
			benchmarks.PutKey(key[:], numbers.Next())
			if n, err := scan(key[:], count); n == 0 && count > 1 || err != nil {
				return ops, errors.Join(errWrongAnswer, err)
			}
			now := time.Now()
			latencies.Add(now.Sub(started))
			started = now
		}
		return ops, nil
	}
}

// BenchmarkSnapshot is making a snapshot, alone and with a first scan of 100 keys after a write: the part of a scan that must put
// the latest write in order. What stands for the limit is the same without a write.
func BenchmarkSnapshot(b *testing.B) {
	db := open(b, directory(b), func(o *engine.Options) {
		manualCheckpoints(o)
		o.Sync = engine.SyncNone // the write is not what is measured
	})
	closeAtEnd(b, db)
	load(b, db, 0, scanKeys)
	b.Run("make", func(b *testing.B) {
		b.ReportAllocs()
		const burst = 256 // a clock costs as much: one of so many is measured
		var latencies benchmarks.Histogram
		for i := 0; b.Loop(); i++ {
			if i%burst != 0 {
				_ = db.Snapshot()
				continue
			}
			started := time.Now()
			_ = db.Snapshot()
			latencies.Add(time.Since(started))
		}
		reportQuantiles(b, &latencies)
	})
	b.Run("scan-after-write", func(b *testing.B) {
		latest := func(start []byte, count int) (int, error) { return snapshotScan(db.Snapshot(), false)(start, count) }
		value := make([]byte, benchmarks.ValueLen)
		p := runPairs(b, 1, scanSlice, scanner(100, func(start []byte, count int) (int, error) {
			if _, err := db.Set(ctx, start, value); err != nil {
				return 0, err
			}
			return latest(start, count)
		}), scanner(100, latest))
		reportLatencies(b, p)
	})
}
