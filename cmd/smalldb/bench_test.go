package main_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
)

// benchEntries is how many entries the benchmarks write at a time: 16-byte keys, 128-byte values.
const benchEntries = 200_000

// BenchmarkImport is the whole verb, with opening and closing the directory.
func BenchmarkImport(b *testing.B) {
	var text strings.Builder
	for i := range benchEntries {
		fmt.Fprintf(&text, `{"key":"key%013d","value":"%0128d","encoding":"utf-8"}`+"\n", i, i)
	}
	file := filepath.Join(b.TempDir(), "lines")
	require.NoError(b, os.WriteFile(file, []byte(text.String()), 0o600))
	for b.Loop() {
		b.StopTimer()
		dir := newDir(b)
		b.StartTimer()
		out, err := command("import", "-create", "-dir", dir, "-quiet", file).CombinedOutput()
		require.NoError(b, err, string(out))
		b.StopTimer()
		require.NoError(b, os.RemoveAll(dir))
		b.StartTimer()
	}
	b.ReportMetric(float64(benchEntries)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}

// BenchmarkBatches is what the engine can do: batches of a thousand, from one writer and from four.
func BenchmarkBatches(b *testing.B) {
	for _, writers := range []int{1, 4} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				dir := newDir(b)
				b.StartTimer()
				db, err := engine.Open(engine.Options{Dir: dir, Create: true})
				require.NoError(b, err)
				writeBatches(b, db, writers)
				require.NoError(b, db.Close())
				b.StopTimer()
				require.NoError(b, os.RemoveAll(dir))
				b.StartTimer()
			}
			b.ReportMetric(float64(benchEntries)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}

func writeBatches(b *testing.B, db *engine.DB, writers int) {
	const size = 1000
	var next atomic.Int64
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			var batch engine.Batch
			key, value := make([]byte, 0, 16), make([]byte, 128)
			for i := next.Add(size) - size; i < benchEntries; i = next.Add(size) - size {
				batch.Reset()
				for j := i; j < i+size; j++ {
					batch.Set(fmt.Appendf(key, "key%013d", j), value)
				}
				if _, err := db.Apply(context.Background(), &batch); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
}
