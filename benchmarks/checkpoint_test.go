package benchmarks_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/engine"
)

const (
	checkpointKeys    = 1_000_000
	checkpointWriters = 64
	// checkpointSlice is the length of a turn: long enough for more than one checkpoint.
	checkpointSlice = 3 * time.Second
	checkpointPairs = 3
	// checkpointChanges are the keys that change between two checkpoints over a base.
	checkpointChanges = 100_000
)

// BenchmarkSetBesideCheckpoint is durable sets while one checkpoint of 1 M keys follows another. What stands for the limit is the same
// database without checkpoints; p99.9-ratio is the median over the pairs of how much longer the slowest sets take.
func BenchmarkSetBesideCheckpoint(b *testing.B) {
	db := open(b, directory(b), manualCheckpoints)
	closeAtEnd(b, db)
	load(b, db, 0, checkpointKeys)
	require.NoError(b, db.Checkpoint(ctx))
	p := new(benchmarks.Pairs)
	set := setter(checkpointKeys, engineSet(db))
	pair := func() {
		stop, done := make(chan struct{}), make(chan error, 1)
		go func() { done <- checkpointUntil(db, stop) }()
		ours, err := benchmarks.RunSlice(checkpointWriters, checkpointSlice, set)
		require.NoError(b, err)
		close(stop)
		require.NoError(b, <-done)
		require.NoError(b, db.Checkpoint(ctx)) // both start with a small delta
		limit, err := benchmarks.RunSlice(checkpointWriters, checkpointSlice, set)
		require.NoError(b, err)
		p.Ours, p.Limit = append(p.Ours, ours), append(p.Limit, limit)
	}
	for b.Loop() {
		pair()
	}
	for len(p.Ours) < checkpointPairs {
		pair()
	}
	reportRates(b, p)
	reportLatencies(b, p)
	b.ReportMetric(p.Ratio(func(s *benchmarks.Slice) float64 { return float64(s.Latencies.Quantile(0.999)) }), "p99.9-ratio")
	b.ReportMetric(float64(db.Stats().Checkpoints), "checkpoints")
}

// checkpointUntil makes one checkpoint after the other until stop is closed.
func checkpointUntil(db *engine.DB, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
			if err := db.Checkpoint(ctx); err != nil {
				return err
			}
		}
	}
}

// BenchmarkCheckpoint is how long a checkpoint takes while nobody writes: of 1 M keys over an empty base, and of
// 100 k that have changed in a base of 1 M.
func BenchmarkCheckpoint(b *testing.B) {
	b.Run("base=0/delta=1000000", func(b *testing.B) {
		var times []float64
		for b.Loop() {
			b.StopTimer()
			db := open(b, directory(b), manualCheckpoints)
			load(b, db, 0, checkpointKeys)
			b.StartTimer()
			times = append(times, checkpointOnce(b, db))
			b.StopTimer()
			require.NoError(b, db.Close())
			b.StartTimer()
		}
		reportCheckpoint(b, times)
	})
	b.Run(fmt.Sprintf("base=1000000/delta=%d", checkpointChanges), func(b *testing.B) {
		db := open(b, directory(b), manualCheckpoints)
		closeAtEnd(b, db)
		load(b, db, 0, checkpointKeys)
		require.NoError(b, db.Checkpoint(ctx))
		var times []float64
		for b.Loop() {
			b.StopTimer()
			load(b, db, uint64(len(times)%10)*checkpointChanges, checkpointChanges)
			b.StartTimer()
			times = append(times, checkpointOnce(b, db))
		}
		reportCheckpoint(b, times)
	})
}

var errNoCheckpoint = errors.New("there was nothing to checkpoint")

// checkpointOnce returns how many ms a checkpoint takes.
func checkpointOnce(b *testing.B, db *engine.DB) float64 {
	before := db.Stats().Checkpoints
	started := time.Now()
	require.NoError(b, db.Checkpoint(ctx))
	took := time.Since(started)
	if db.Stats().Checkpoints == before {
		b.Fatal(errNoCheckpoint)
	}
	return took.Seconds() * 1e3
}

func reportCheckpoint(b *testing.B, times []float64) {
	b.ReportMetric(benchmarks.Median(times)*1e6, "ns/op")
	b.ReportMetric(benchmarks.Median(times), "ms")
}
