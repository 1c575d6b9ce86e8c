package benchmarks_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/engine"
)

// openCount is how often a database is opened at least.
const openCount = 20

// BenchmarkOpen is from the call of Open to the first value read. The database was closed after a
// checkpoint: its log is empty, and its files are in the page cache. heap-objects is what a database that is open and
// has been read keeps on the heap.
func BenchmarkOpen(b *testing.B) {
	sizes := []uint64{1_000, 100_000, 1_000_000}
	if os.Getenv("SMALLDB_TEST_LONG") != "" {
		sizes = append(sizes, 10_000_000)
	}
	for _, n := range sizes {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) { benchmarkOpen(b, n) })
	}
}

func benchmarkOpen(b *testing.B, n uint64) {
	dir := directory(b)
	db := open(b, dir, manualCheckpoints)
	load(b, db, 0, n)
	require.NoError(b, db.Checkpoint(ctx))
	require.NoError(b, db.Close())
	db = nil
	var times, objects []float64
	for b.Loop() {
		took, kept := openOnce(b, dir, n/2)
		times, objects = append(times, took.Seconds()*1e3), append(objects, kept)
	}
	for len(times) < openCount {
		took, kept := openOnce(b, dir, n/2)
		times, objects = append(times, took.Seconds()*1e3), append(objects, kept)
	}
	b.ReportMetric(benchmarks.Median(times)*1e6, "ns/op")
	b.ReportMetric(benchmarks.Median(times), "ms")
	b.ReportMetric(benchmarks.Median(objects), "heap-objects")
	var latencies benchmarks.Histogram
	for _, ms := range times {
		latencies.Add(time.Duration(ms * float64(time.Millisecond)))
	}
	reportQuantiles(b, &latencies)
}

// openOnce returns how long it took to open the database and to read the value with this number, and how many heap objects that left.
func openOnce(b *testing.B, dir string, number uint64) (took time.Duration, objects float64) {
	var key [benchmarks.KeyLen]byte
	benchmarks.PutKey(key[:], number)
	before := heapObjects()
	started := time.Now()
	db, err := engine.Open(engine.Options{Dir: dir})
	require.NoError(b, err)
	value, ok, err := db.Get(key[:])
	took = time.Since(started)
	require.NoError(b, err)
	require.True(b, ok)
	require.NoError(b, benchmarks.CheckValue(value, number))
	after := heapObjects()
	require.NoError(b, db.Close())
	return took, after - before
}

// heapObjects is the number of live objects on the heap.
func heapObjects() float64 {
	runtime.GC()
	runtime.GC() // what the first one finalized
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapObjects)
}
