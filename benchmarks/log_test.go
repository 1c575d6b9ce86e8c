package benchmarks_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/mmapio"
)

// logTurn is how long one of two ways to write has its turn.
const logTurn = 200 * time.Millisecond

// BenchmarkLogWrite writes frames of several sizes to a prepared log in two ways: one O_DSYNC write, as the engine does (ours in the
// figures), or pieces that are flushed one by one and an fdatasync (the limit). Where the ratio falls below 1 the engine should change over.
func BenchmarkLogWrite(b *testing.B) {
	for size := int64(4 << 10); size <= 64<<20; size *= 4 {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			dir, err := mmapio.OpenDir(directory(b), false)
			require.NoError(b, err)
			closeAtEnd(b, dir)
			durable := logWriter(b, dir, "durable", mmapio.WriteDurable, func(f mmapio.File, frame []byte, off int64) error {
				_, err := f.WriteAt(frame, off)
				return err
			})
			synced := logWriter(b, dir, "synced", mmapio.Write, func(f mmapio.File, frame []byte, off int64) error {
				if err := mmapio.WritePieces(f, frame, off); err != nil {
					return err
				}
				return f.Sync()
			})
			runPairs(b, 1, logTurn, durable(size), synced(size))
		})
	}
}

// logWriter prepares a log, and returns workers that write frames of a size into it, one after the other.
func logWriter(b *testing.B, dir mmapio.Dir, name string, mode mmapio.Mode, write func(f mmapio.File, frame []byte, off int64) error) func(size int64) benchmarks.Worker {
	require.NoError(b, mmapio.Prepare(dir, name, benchmarks.LogLen, nil))
	f, err := dir.Open(name, mode)
	require.NoError(b, err)
	closeAtEnd(b, f)
	return func(size int64) benchmarks.Worker {
		frame := make([]byte, size)
		off := int64(0)
		return func(_ int, stop *atomic.Bool, latencies *benchmarks.Histogram) (ops uint64, err error) {
			for ; !stop.Load(); ops++ {
				started := time.Now()
				frame[0]++
				if err := write(f, frame, off); err != nil {
					return ops, err
				}
				if off += size; off == benchmarks.LogLen {
					off = 0
				}
				latencies.Add(time.Since(started))
			}
			return ops, nil
		}
	}
}

// BenchmarkFrameAlign sets keys in a database whose frames are aligned to 512 bytes (ours in the figures), and in one with the default of 4096 (the limit): a smaller
// frame is less to write, if the disk can do with less than a page.
func BenchmarkFrameAlign(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			setters := make([]benchmarks.Worker, 2)
			for i, align := range []int{512, 4096} {
				db := open(b, directory(b), func(o *engine.Options) { o.FrameAlign, o.DisableBackgroundCheckpoint = align, true })
				closeAtEnd(b, db)
				setters[i] = setter(100_000, engineSet(db))
			}
			runPairs(b, writers, logTurn, setters[0], setters[1])
		})
	}
}
