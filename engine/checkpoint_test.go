package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// counter is one key of one writer: what was issued and what was acknowledged of it.
type counter struct {
	key                  []byte
	issued, acknowledged atomic.Int64
}

// Checkpoints all the time under writers and readers: nobody stops, and each read is a value that was written, no older than what had been
// acknowledged when the read began and no newer than what was issued when it ended.
func TestCheckpointsUnderLoad(t *testing.T) {
	const writers, keys = 64, 8
	lasts := 3 * time.Second
	if long {
		lasts = time.Minute
	}
	opts := quiet(t)
	opts.DisableBackgroundCheckpoint, opts.CheckpointInterval = false, 10*time.Millisecond
	opts.LogFileBytes = 256 << 10
	db := enginetest.Open(t, opts)
	var counters [writers][keys]counter
	for w := range writers {
		for k := range keys {
			counters[w][k].key = fmt.Appendf(nil, "writer-%d-key-%d", w, k)
		}
	}
	var stop atomic.Bool
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			temporary := fmt.Appendf(nil, "temporary-%d", w)
			for n := int64(1); !stop.Load(); n++ {
				c := &counters[w][n%keys]
				c.issued.Store(n)
				if _, err := db.Set(ctx, c.key, stamp(w, int(n), rng.IntN(400))); !assert.NoError(t, err) {
					return
				}
				c.acknowledged.Store(n)
				switch n % 16 {
				case 0:
					_, err := db.Set(ctx, temporary, stamp(w, int(n), 10))
					assert.NoError(t, err)
				case 8:
					_, err := db.Delete(ctx, temporary)
					assert.NoError(t, err)
					if _, ok, err := db.Get(temporary); ok || err != nil {
						assert.Fail(t, "its own delete", "%t, %v", ok, err)
					}
				}
			}
		})
	}
	var reads atomic.Int64
	for r := range 2 {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(r)))
			var buf []byte
			var last [writers][keys]int64
			for !stop.Load() {
				w, k := rng.IntN(writers), rng.IntN(keys)
				c := &counters[w][k]
				least := max(c.acknowledged.Load(), last[w][k])
				var ok bool
				var err error
				if rng.IntN(2) == 0 {
					buf, ok, err = db.AppendGet(buf[:0], c.key)
				} else {
					ok, err = db.View(c.key, func(v []byte) error { buf = append(buf[:0], v...); return nil })
				}
				most := c.issued.Load()
				reads.Add(1)
				if err != nil || !ok {
					if err != nil || least > 0 {
						assert.Fail(t, "not read", "%s: %t, %v", c.key, ok, err)
						return
					}
					continue
				}
				writer, n, whole := readStamp(buf)
				if !whole || writer != w || int64(n) < least || int64(n) > most {
					assert.Fail(t, "wrong value", "%s: %t, of %d, %d not within %d and %d", c.key, whole, writer, n, least, most)
					return
				}
				last[w][k] = int64(n)
			}
		})
	}
	// It lasts until there were some checkpoints, however slow the machine is.
	for started := time.Now(); !t.Failed() && time.Since(started) < deadline; time.Sleep(10 * time.Millisecond) {
		if time.Since(started) > lasts && db.Stats().Checkpoints >= 10 {
			break
		}
	}
	stop.Store(true)
	all.Wait()
	s := db.Stats()
	t.Logf("%d operations in %d groups, %d checkpoints, %d reads", s.Operations, s.Groups, s.Checkpoints, reads.Load())
	require.NoError(t, s.CheckpointFailure)
	require.GreaterOrEqual(t, s.Checkpoints, uint64(10))
	for range 2 {
		for w := range writers {
			for k := range keys {
				c := &counters[w][k]
				require.NotZero(t, c.acknowledged.Load(), "a writer that was stopped")
				value, ok, err := db.Get(c.key)
				require.NoError(t, err)
				require.True(t, ok)
				writer, n, whole := readStamp(value)
				require.True(t, whole)
				require.Equal(t, w, writer)
				require.EqualValues(t, c.acknowledged.Load(), n)
			}
		}
		db = again(t, db, opts)
	}
}

// While a checkpoint is held up, wherever it stands, writes, reads, rotations and deletes go on.
func TestCheckpointStopsNobody(t *testing.T) {
	for name, match := range map[string]func(op mmapiotest.Op) bool{
		"building":   func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.WriteAt && isCheckpoint(op.Name) },
		"verifying":  func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.ReadAt && isCheckpoint(op.Name) },
		"publishing": func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.Rename && op.NewName == format.VersionName },
	} {
		t.Run(name, func(t *testing.T) {
			in := mmapiotest.NewInjector(mmapio.OpenDir)
			opts := quiet(t)
			opts.OpenDir = in.OpenDir
			db := enginetest.Open(t, opts)
			m := shadow{}
			for i := range 50 {
				k := fmt.Sprint(i)
				m[k] = "frozen"
				set(t, db, k, "frozen")
			}
			g := hold(in, match)
			done := make(chan error, 1)
			go func() { done <- db.Checkpoint(ctx) }()
			<-g.come
			for i := range 50 {
				k := fmt.Sprint(i * 2)
				m[k] = string(bytesOf(k, 5000)) // over several logs
				set(t, db, k, m[k])
				if i%5 == 0 {
					k := fmt.Sprint(i + 1)
					_, err := db.Delete(ctx, []byte(k))
					require.NoError(t, err)
					delete(m, k)
				}
			}
			m.check(t, db, "1", "6", "11")
			require.Empty(t, done)
			close(g.open)
			require.NoError(t, <-done)
			m.check(t, db, "1", "6", "11")
			require.NoError(t, db.Checkpoint(ctx))
			m.check(t, db, "1", "6", "11")
		})
	}
}

// What makes a checkpoint due, one at a time.
func TestCheckpointTriggers(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(o *engine.Options)
		value  int
		quiet  int // so many sets make none due
		sets   int // so many do
	}{
		{"updates", func(o *engine.Options) { o.CheckpointUpdates = 10 }, 10, 9, 10},
		{"log bytes", func(o *engine.Options) { o.CheckpointLogBytes = 100_000 }, 10_000, 9, 10},
		{"file bytes", func(o *engine.Options) { o.CheckpointLogBytes = 20 << 10 }, 1, 39, 40}, // a block each
		{"interval", func(o *engine.Options) { o.CheckpointInterval = 30 * time.Millisecond }, 10, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := quiet(t)
			opts.DisableBackgroundCheckpoint, opts.CheckpointInterval = false, -1
			c.change(&opts)
			db := enginetest.Open(t, opts)
			for i := range c.quiet {
				set(t, db, fmt.Sprint("k", i), string(make([]byte, c.value)))
			}
			for range 100 {
				runtime.Gosched()
			}
			require.Zero(t, db.Stats().Checkpoints)
			for i := c.quiet; i < c.sets; i++ {
				set(t, db, fmt.Sprint("k", i), string(make([]byte, c.value)))
			}
			eventually(t, "a checkpoint", func() bool { return db.Stats().Checkpoints == 1 })
			eventually(t, "its duration", func() bool { return db.Stats().LastCheckpoint > 0 })
			require.Zero(t, db.Stats().LogBytes)
			require.NoError(t, db.Checkpoint(ctx), "nothing has changed")
			require.EqualValues(t, 1, db.Stats().Checkpoints)

			// What was replayed counts.
			opts.DisableBackgroundCheckpoint = true
			db = again(t, db, opts)
			for i := range 2 * c.sets { // more than the base is large
				set(t, db, fmt.Sprint("k", i%c.sets), string(make([]byte, c.value)))
			}
			require.Zero(t, db.Stats().Checkpoints, "disabled")
			opts.DisableBackgroundCheckpoint = false
			db = again(t, db, opts)
			if c.name != "file bytes" { // the bytes of frames are not counted again
				eventually(t, "a checkpoint after opening", func() bool { return db.Stats().Checkpoints == 1 })
			}
		})
	}
}

func TestDisabledCheckpoints(t *testing.T) {
	opts := quiet(t)
	opts.CheckpointInterval, opts.CheckpointUpdates, opts.CheckpointLogBytes = 1, 1, 1
	db := enginetest.Open(t, opts)
	for i := range 200 {
		set(t, db, fmt.Sprint(i), "v")
	}
	require.Zero(t, db.Stats().Checkpoints)
	requireIdle(t, "no background checkpoints")
	require.Zero(t, db.Stats().Checkpoints)
	require.NoError(t, db.Checkpoint(ctx))
	require.EqualValues(t, 1, db.Stats().Checkpoints)
}

// Many may ask at once; each gets what was acknowledged before it asked.
func TestCheckpointsAskedForAtOnce(t *testing.T) {
	opts := quiet(t)
	db := enginetest.Open(t, opts)
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 5 {
				v, err := db.Set(ctx, fmt.Appendf(nil, "%d", w), stamp(w, i, 10))
				assert.NoError(t, err)
				assert.NoError(t, db.Checkpoint(ctx))
				generation := db.Stats().Generation
				data, err := os.ReadFile(filepath.Join(opts.Dir, format.CheckpointName(generation)))
				if errors.Is(err, os.ErrNotExist) { // two more have been made meanwhile
					continue
				}
				assert.NoError(t, err)
				h, err := format.DecodeCheckpointHeader(data)
				assert.NoError(t, err)
				assert.GreaterOrEqual(t, h.Position.Seq, v.Seq)
			}
		})
	}
	all.Wait()
}

// Of old generations only the one before is kept, and the logs from it on.
func TestCheckpointRetires(t *testing.T) {
	opts := quiet(t)
	db := enginetest.Open(t, opts)
	for range 10 {
		for i := range 5 {
			set(t, db, fmt.Sprint(i), string(bytesOf("v", 30_000)))
		}
		require.NoError(t, db.Checkpoint(ctx))
	}
	generation := db.Stats().Generation
	require.NoError(t, db.Close())
	var checkpoints []uint64
	version, err := format.DecodeVersionFile(files(t, opts.Dir)[format.VersionName])
	require.NoError(t, err)
	require.Equal(t, generation, version.Generation)
	for name := range files(t, opts.Dir) {
		if n, ok := format.ParseCheckpointName(name); ok {
			checkpoints = append(checkpoints, n)
		}
		if n, ok := format.ParseLogName(name); ok {
			assert.GreaterOrEqual(t, n, version.Previous)
		}
	}
	assert.ElementsMatch(t, []uint64{version.Previous, generation}, checkpoints)
}

// A retired log comes back as a later one: the same file, held open here so that no new file can have its number.
func TestLogsAreRecycled(t *testing.T) {
	opts := quiet(t)
	opts.Sync = engine.SyncNone
	db := enginetest.Open(t, opts)
	type held struct {
		name string
		file *os.File
		info os.FileInfo
	}
	var known []held
	defer func() {
		for _, h := range known {
			h.file.Close()
		}
	}()
	recycled := 0
	look := func() {
		names, err := filepath.Glob(filepath.Join(opts.Dir, "logfile.*"))
		require.NoError(t, err)
	next:
		for _, name := range names {
			f, err := os.Open(name)
			if err != nil {
				continue
			}
			info, err := f.Stat()
			require.NoError(t, err)
			for i, h := range known {
				if os.SameFile(h.info, info) {
					if h.name != name {
						known[i].name = name
						recycled++
					}
					f.Close()
					continue next
				}
			}
			known = append(known, held{name, f, info})
		}
	}
	eventually(t, "a log that is used again", func() bool {
		for i := range 20 {
			set(t, db, fmt.Sprint(i), string(bytesOf(fmt.Sprint(i), 5000)))
			look()
		}
		require.NoError(t, db.Checkpoint(ctx))
		runtime.GC()
		return recycled > 3
	})
	for i := range 20 {
		requireValue(t, db, fmt.Sprint(i), string(bytesOf(fmt.Sprint(i), 5000)))
	}
}

// No mapping and no descriptor stays behind, however many checkpoints there were.
func TestCheckpointsLeakNothing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("/proc tells")
	}
	opts := quiet(t)
	opts.Sync = engine.SyncNone
	count := func() (maps, descriptors int) {
		data, err := os.ReadFile("/proc/self/maps")
		require.NoError(t, err)
		fds, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return strings.Count(string(data), opts.Dir), len(fds)
	}
	_, before := count()
	db, err := engine.Open(opts)
	require.NoError(t, err)
	for range 30 {
		for i := range 20 {
			set(t, db, fmt.Sprint(i), string(make([]byte, 10_000)))
		}
		require.NoError(t, db.Checkpoint(ctx))
	}
	collect(t, "mappings of old generations", func() bool { maps, _ := count(); return maps <= 2 })
	require.NoError(t, db.Close())
	collect(t, "all mappings", func() bool { maps, fds := count(); return maps == 0 && fds <= before })
}
