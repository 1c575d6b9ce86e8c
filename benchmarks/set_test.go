package benchmarks_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/benchmarks"
)

// setKeys is how many keys the benchmarks of Set choose from.
const setKeys = 1_000_000

// setSlice is the length of a turn of a writer.
const setSlice = 100 * time.Millisecond

// BenchmarkSet is durable sets in a new database. One writer runs beside the bare write loop, more beside the bare
// group commit.
func BenchmarkSet(b *testing.B) {
	b.Run("writers=1", func(b *testing.B) {
		loop, err := benchmarks.NewWriteLoop(directory(b), benchmarks.LogLen)
		require.NoError(b, err)
		closeAtEnd(b, loop)
		benchmarkSet(b, 1, loop.Set)
	})
	for _, n := range []int{16, 64, 256} {
		b.Run(fmt.Sprintf("writers=%d", n), func(b *testing.B) {
			loop, err := benchmarks.NewGroupLoop(directory(b), benchmarks.LogLen)
			require.NoError(b, err)
			closeAtEnd(b, loop)
			benchmarkSet(b, n, loop.Set)
			b.ReportMetric(loop.OpsPerGroup(), "limit-ops/group")
		})
	}
}

func benchmarkSet(b *testing.B, writers int, limit func(key, value []byte) error) {
	db := open(b, directory(b), nil)
	closeAtEnd(b, db)
	p := runPairs(b, writers, setSlice, setter(setKeys, engineSet(db)), setter(setKeys, limit))
	reportLatencies(b, p)
	stats := db.Stats()
	b.ReportMetric(float64(stats.Operations)/float64(stats.Groups), "ops/group")
}
