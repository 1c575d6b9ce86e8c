package benchmarks_test

import (
	"context"
	"flag"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/engine"
)

var dirFlag = flag.String("dir", "", "directory to measure in; it must be on a disk (default: that for temporary files)")

var ctx = context.Background()

// directory makes a directory for a benchmark and removes it at its end.
func directory(tb testing.TB) string {
	path := *dirFlag
	if path == "" {
		path = tb.TempDir()
	} else {
		var err error
		path, err = os.MkdirTemp(path, "benchmark")
		require.NoError(tb, err)
		tb.Cleanup(func() { require.NoError(tb, os.RemoveAll(path)) })
	}
	require.NoError(tb, benchmarks.CheckDirectory(path))
	return path
}

// closeAtEnd closes c when the test or benchmark is over.
func closeAtEnd(tb testing.TB, c interface{ Close() error }) {
	tb.Cleanup(func() { require.NoError(tb, c.Close()) })
}

// open opens a new database, with the default options but for what change changes.
func open(tb testing.TB, dir string, change func(*engine.Options)) *engine.DB {
	opts := engine.Options{Dir: dir, Create: true}
	if change != nil {
		change(&opts)
	}
	db, err := engine.Open(opts)
	require.NoError(tb, err)
	return db
}

// manualCheckpoints leaves checkpoints to the benchmark.
func manualCheckpoints(o *engine.Options) { o.DisableBackgroundCheckpoint = true }

// load sets the keys with the numbers from first on, n of them, to their values.
func load(tb testing.TB, db *engine.DB, first, n uint64) {
	const batchLen = 1000
	var key [benchmarks.KeyLen]byte
	var value [benchmarks.ValueLen]byte
	var batch engine.Batch
	for i := first; i < first+n; i++ {
		benchmarks.PutKey(key[:], i)
		benchmarks.PutValue(value[:], i)
		batch.Set(key[:], value[:])
		if batch.Len() == batchLen || i == first+n-1 {
			_, err := db.Apply(ctx, &batch)
			require.NoError(tb, err)
			batch.Reset()
		}
	}
}

// setter is a worker that sets random keys below bound, and measures how long each takes.
func setter(bound uint64, set func(key, value []byte) error) benchmarks.Worker {
	var rounds atomic.Uint64
	return func(worker int, stop *atomic.Bool, latencies *benchmarks.Histogram) (ops uint64, err error) {
		var key [benchmarks.KeyLen]byte
		var value [benchmarks.ValueLen]byte
		benchmarks.PutValue(value[:], uint64(worker))
		numbers := benchmarks.NewNumbers(rounds.Add(1), bound)
		started := time.Now()
		for ; !stop.Load(); ops++ {
			benchmarks.PutKey(key[:], numbers.Next())
			if err := set(key[:], value[:]); err != nil {
				return ops, err
			}
			now := time.Now()
			latencies.Add(now.Sub(started))
			started = now
		}
		return ops, nil
	}
}

// engineSet is Set of a database, for setter.
func engineSet(db *engine.DB) func(key, value []byte) error {
	return func(key, value []byte) error {
		_, err := db.Set(ctx, key, value)
		return err
	}
}

// minPairs is how many pairs a benchmark takes at least.
const minPairs = 5

// runPairs takes pairs for as long as the benchmark is to run.
func runPairs(b *testing.B, n int, length time.Duration, ours, limit benchmarks.Worker) *benchmarks.Pairs {
	p := new(benchmarks.Pairs)
	_, err := benchmarks.RunSlice(n, length/4, ours) // warm up
	require.NoError(b, err)
	_, err = benchmarks.RunSlice(n, length/4, limit)
	require.NoError(b, err)
	for b.Loop() {
		require.NoError(b, p.Run(n, length, ours, limit))
	}
	for len(p.Ours) < minPairs {
		require.NoError(b, p.Run(n, length, ours, limit))
	}
	reportRates(b, p)
	return p
}

// reportRates reports how many operations ours and the limit did, and what processor time they took.
func reportRates(b *testing.B, p *benchmarks.Pairs) {
	ours := benchmarks.Over(p.Ours, (*benchmarks.Slice).Rate)
	b.ReportMetric(1e9/ours, "ns/op")
	b.ReportMetric(ours, "ops/s")
	b.ReportMetric(benchmarks.Over(p.Limit, (*benchmarks.Slice).Rate), "limit-ops/s")
	b.ReportMetric(p.Ratio((*benchmarks.Slice).Rate), "ratio")
	b.ReportMetric(benchmarks.Over(p.Ours, (*benchmarks.Slice).CPUPerOp), "cpu-ns/op")
	b.ReportMetric(p.Ratio((*benchmarks.Slice).CPUPerOp), "cpu-ratio")
}

// reportLatencies reports the quantiles of the latency of ours, and two of the limit's.
func reportLatencies(b *testing.B, p *benchmarks.Pairs) {
	ours, limit := benchmarks.Latencies(p.Ours), benchmarks.Latencies(p.Limit)
	reportQuantiles(b, ours)
	b.ReportMetric(microseconds(limit.Quantile(0.5)), "limit-p50-µs")
	b.ReportMetric(microseconds(limit.Quantile(0.999)), "limit-p99.9-µs")
}

func microseconds(d time.Duration) float64 { return float64(d) / 1e3 }

// reportQuantiles reports the quantiles of a latency.
func reportQuantiles(b *testing.B, h *benchmarks.Histogram) {
	b.ReportMetric(microseconds(h.Quantile(0.5)), "p50-µs")
	b.ReportMetric(microseconds(h.Quantile(0.99)), "p99-µs")
	b.ReportMetric(microseconds(h.Quantile(0.999)), "p99.9-µs")
}
