package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
)

var syncModes = map[string]engine.SyncMode{"dsync": engine.SyncDsync, "data": engine.SyncData, "none": engine.SyncNone}

// Keys and values of all sizes, over all ways to write them, before and after a checkpoint and an open.
func TestSizes(t *testing.T) {
	for name, mode := range syncModes {
		t.Run("sync="+name, func(t *testing.T) {
			opts := quiet(t)
			opts.Sync = mode
			opts.FrameAlign = map[engine.SyncMode]int{engine.SyncData: 512}[mode]
			db := enginetest.Open(t, opts)
			m := shadow{}
			for _, n := range []int{1, 2, 7, 8, 9, 255, 256, 4096, 40_000, format.MaxKeyLen - 1, format.MaxKeyLen} {
				key := string(bytesOf("key", n))
				m[key] = fmt.Sprint(n)
				set(t, db, key, m[key])
			}
			const log = 64 << 10
			for _, n := range []int{0, 1, 7, 8, 4000, 4096, log/2 - 100, log - 16<<10, log - 8192 - 200, log - 1, log, log + 1,
				1<<20 - 4096, 1<<20 - 200, 1 << 20, 1<<20 + 1, 3 << 20} {
				key := fmt.Sprintf("value of %d", n)
				m[key] = string(bytesOf(key, n))
				set(t, db, key, m[key])
				requireValue(t, db, key, m[key])
				set(t, db, "small", key) // in the log after a large one
				m["small"] = key
			}
			m.check(t, db, "", "k", "value of", strings.Repeat("x", format.MaxKeyLen), strings.Repeat("x", format.MaxKeyLen+1))
			db = again(t, db, opts)
			assert.Empty(t, db.Stats().Recovery.CutFile)
			m.check(t, db)
			require.NoError(t, db.Checkpoint(ctx))
			m.check(t, db, "", strings.Repeat("x", format.MaxKeyLen+1))
			db = again(t, db, opts)
			m.check(t, db)
		})
	}
}

// Nothing is written of what is refused, and what is refused is said with the limit.
func TestLimits(t *testing.T) {
	opts := quiet(t)
	opts.MaxValueBytes = 1000
	db := enginetest.Open(t, opts)
	before := set(t, db, "k", strings.Repeat("v", 1000))
	long := make([]byte, format.MaxKeyLen+1)
	for name, c := range map[string]struct {
		key, value []byte
		err        error
		limit      string
	}{
		"no key":          {nil, []byte("v"), engine.ErrKeyEmpty, ""},
		"empty key":       {[]byte{}, nil, engine.ErrKeyEmpty, ""},
		"key too large":   {long, nil, engine.ErrKeyTooLarge, "65536 bytes, at most 65535"},
		"value too large": {[]byte("k"), make([]byte, 1001), engine.ErrValueTooLarge, "1001 bytes, at most 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := db.Set(ctx, c.key, c.value)
			require.ErrorIs(t, err, c.err)
			require.ErrorContains(t, err, c.limit)
			require.Zero(t, v)
			var b engine.Batch
			b.Set([]byte("other"), nil)
			b.Set(c.key, c.value)
			v, err = db.Apply(ctx, &b)
			require.ErrorIs(t, err, c.err)
			require.ErrorContains(t, err, "operation 1 of the batch")
			require.Zero(t, v)
			if c.value == nil || name == "no key" {
				_, err = db.Delete(ctx, c.key)
				require.ErrorIs(t, err, c.err)
			}
		})
	}
	assert.Equal(t, before, db.Version())
	shadow{"k": strings.Repeat("v", 1000)}.check(t, db, "other", "")
}

// A batch may be as large as a frame, and no larger.
func TestBatchLimit(t *testing.T) {
	opts := quiet(t)
	opts.Sync, opts.MaxValueBytes = engine.SyncNone, format.MaxValueLen
	db := enginetest.Open(t, opts)
	var b engine.Batch
	largest := make([]byte, format.MaxValueLen)
	largest[0], largest[len(largest)-1] = 1, 2
	b.Set([]byte("a"), largest)
	rest := format.MaxPayloadLen - format.RecordLen(1, len(largest), false) - format.RecordLen(1, 0, false)
	b.Set([]byte("b"), make([]byte, rest))
	_, err := db.Apply(ctx, &b)
	require.NoError(t, err)
	requireValue(t, db, "a", string(largest))
	requireValue(t, db, "b", string(make([]byte, rest)))
	b.Set([]byte("c"), nil)
	_, err = db.Apply(ctx, &b)
	require.ErrorIs(t, err, engine.ErrValueTooLarge)
	require.ErrorContains(t, err, fmt.Sprint(format.MaxPayloadLen))
	requireAbsent(t, db, "c")
}

// What the caller does with its slices after a write has returned changes nothing.
func TestCallersSlicesAreTheirs(t *testing.T) {
	opts := quiet(t)
	opts.Sync = engine.SyncNone
	db := enginetest.Open(t, opts)
	m := shadow{}
	var mu sync.Mutex
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			key, value := make([]byte, 8), make([]byte, 100)
			for i := range 200 {
				copy(key, fmt.Sprintf("%03d-%04d", w, i))
				copy(value, bytesOf(string(key), 100))
				mu.Lock()
				m[string(key)] = string(value)
				mu.Unlock()
				c, cancel := context.WithCancel(ctx)
				if i%4 == 0 {
					go cancel()
				}
				_, err := db.Set(c, key, value)
				cancel()
				clear(key)
				clear(value)
				if err != nil { // done or not: there must be nothing in between
					assert.ErrorIs(t, err, context.Canceled)
				}
			}
		})
	}
	writers.Wait()
	var found int
	for k, want := range m {
		got, ok, err := db.Get([]byte(k))
		require.NoError(t, err)
		if ok {
			found++
			require.Equal(t, want, string(got))
		}
	}
	assert.EqualValues(t, found, db.Stats().Keys)
	assert.GreaterOrEqual(t, found, 8*150)
}

// The slices that reads return are copies.
func TestReadersSlicesAreTheirs(t *testing.T) {
	db := enginetest.Open(t, quiet(t))
	set(t, db, "k", "value")
	for range 2 {
		got, ok, err := db.Get([]byte("k"))
		require.NoError(t, err)
		require.True(t, ok)
		clear(got)
		_ = append(got, "more"...)
		requireValue(t, db, "k", "value")
		require.NoError(t, db.Checkpoint(ctx))
	}
}

func TestViewReturnsTheErrorOfRead(t *testing.T) {
	db := enginetest.Open(t, quiet(t))
	set(t, db, "k", "value")
	ok, err := db.View([]byte("k"), func([]byte) error { return os.ErrDeadlineExceeded })
	assert.True(t, ok)
	assert.Equal(t, os.ErrDeadlineExceeded, err)
	assert.PanicsWithValue(t, "mine", func() { _, _ = db.View([]byte("k"), func([]byte) error { panic("mine") }) })
	assert.Panics(t, func() {
		var nothing *int
		_, _ = db.View([]byte("k"), func([]byte) error { *nothing = 1; return nil })
	}, "a fault that is none of ours stays a panic")
	ok, err = db.View([]byte("k"), func([]byte) error { set(t, db, "k", "within"); return nil })
	assert.True(t, ok)
	assert.NoError(t, err, "a view may use the database")
	requireValue(t, db, "k", "within")
}

func TestBatch(t *testing.T) {
	opts := quiet(t)
	db := enginetest.Open(t, opts)
	var b engine.Batch
	v0, err := db.Apply(ctx, &b)
	require.NoError(t, err, "an empty batch")
	assert.Equal(t, db.Version(), v0)

	key, value := []byte("a"), []byte("first")
	b.Set(key, value)
	copy(key, "X")
	copy(value, "XXXXX") // it was copied
	b.Set([]byte("b"), []byte("kept"))
	b.Delete([]byte("c"))
	b.Set([]byte("a"), []byte("second"))
	b.Set([]byte("d"), nil)
	b.Delete([]byte("d"))
	b.Delete([]byte("e"))
	b.Set([]byte("e"), []byte{})
	assert.Equal(t, 8, b.Len())
	set(t, db, "c", "deleted by the batch")
	v1, err := db.Apply(ctx, &b)
	require.NoError(t, err)
	assert.Equal(t, engine.Version{Epoch: 1, Seq: 9}, v1, "that of the last operation")
	want := shadow{"a": "second", "b": "kept", "e": ""}
	want.check(t, db, "c", "d", "X")

	v2, err := db.Apply(ctx, &b)
	require.NoError(t, err, "again")
	assert.EqualValues(t, 17, v2.Seq)
	want.check(t, db, "c", "d", "X")

	b.Reset()
	assert.Zero(t, b.Len())
	v3, err := db.Apply(ctx, &b)
	require.NoError(t, err)
	assert.Equal(t, v2, v3)
	b.Set([]byte("f"), []byte("after Reset"))
	v4, err := db.Apply(ctx, &b)
	require.NoError(t, err)
	assert.EqualValues(t, 18, v4.Seq)
	want["f"] = "after Reset"
	want.check(t, db)
	db = again(t, db, opts)
	assert.Equal(t, v4, db.Version())
	want.check(t, db)
}

// A batch whose context ends while it is being written may be reset and filled anew at once: what is committed is whole.
func TestBatchIsTheCallersAfterItsContextEnds(t *testing.T) {
	opts := quiet(t)
	opts.Sync = engine.SyncNone
	db := enginetest.Open(t, opts)
	var writers sync.WaitGroup
	for w := range 6 {
		writers.Go(func() {
			var b engine.Batch
			for i := range 150 {
				b.Reset()
				for k := range 5 {
					b.Set(fmt.Appendf(nil, "%d-%d", w, k), stamp(w, i, 40+k))
				}
				c, cancel := context.WithCancel(ctx)
				go cancel()
				_, _ = db.Apply(c, &b)
			}
		})
	}
	writers.Wait()
	for w := range 6 {
		last := -1
		for k := range 5 {
			value, ok, err := db.Get(fmt.Appendf(nil, "%d-%d", w, k))
			require.NoError(t, err)
			if !ok {
				require.Zero(t, k)
				break
			}
			writer, i, whole := readStamp(value)
			require.True(t, whole)
			require.Equal(t, w, writer)
			if k > 0 {
				require.Equal(t, last, i, "of one batch all or nothing")
			}
			last = i
		}
	}
}

func TestContextThatHasEnded(t *testing.T) {
	db := enginetest.Open(t, quiet(t))
	c, cancel := context.WithCancel(ctx)
	cancel()
	before := db.Version()
	_, err := db.Set(c, []byte("k"), []byte("v"))
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, engine.ErrIndeterminate)
	_, err = db.Delete(c, []byte("k"))
	require.ErrorIs(t, err, context.Canceled)
	var b engine.Batch
	b.Set([]byte("k"), nil)
	_, err = db.Apply(c, &b)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, before, db.Version())
	requireAbsent(t, db, "k")
}

// Versions rise by one with each operation, in the order in which operations are seen, over all that can happen.
func TestVersions(t *testing.T) {
	opts := quiet(t)
	db := enginetest.Open(t, opts)
	require.Equal(t, engine.Version{Epoch: 1}, db.Version())
	require.Equal(t, "1.0", db.Version().String())
	seq := uint64(0)
	for round := range 4 {
		for i := range 20 {
			v := set(t, db, fmt.Sprint(i), "v")
			seq++
			require.Equal(t, engine.Version{Epoch: 1, Seq: seq}, v)
			require.Equal(t, v, db.Version())
		}
		v, err := db.Delete(ctx, []byte("never set"))
		require.NoError(t, err)
		seq++
		require.Equal(t, seq, v.Seq, "a delete counts whether or not the key is set")
		if round%2 == 0 {
			require.NoError(t, db.Checkpoint(ctx))
		} else {
			db = again(t, db, opts)
		}
		require.Equal(t, engine.Version{Epoch: 1, Seq: seq}, db.Version())
	}
}

// Version is never before what a reader has seen.
func TestVersionCoversWhatIsSeen(t *testing.T) {
	opts := quiet(t)
	opts.Sync, opts.LogFileBytes = engine.SyncNone, 8<<20
	db := enginetest.Open(t, opts)
	var b engine.Batch // one large group after the other, so that there is something to see of an unfinished one
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var seq uint64
				_, err := db.View([]byte("k-0"), func(v []byte) error { _, err := fmt.Sscan(string(v), &seq); return err })
				version := db.Version()
				if !assert.NoError(t, err) || !assert.GreaterOrEqual(t, version.Seq, seq, "seen, but not in the version") {
					return
				}
			}
		})
	}
	for range 60 {
		b.Reset()
		last := db.Version().Seq
		for i := range 1000 {
			b.Set(fmt.Appendf(nil, "k-%d", i), fmt.Append(nil, last+uint64(i)+1))
		}
		_, err := db.Apply(ctx, &b)
		require.NoError(t, err)
	}
	close(stop)
	readers.Wait()
}

// Random operations, checkpoints, opens and kinds of options, against a model.
func TestModel(t *testing.T) {
	seeds := 6
	if raceDetector {
		seeds = 3
	}
	if long {
		seeds = 200
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(seed), 42))
			opts := quiet(t)
			opts.Sync = engine.SyncMode(rng.IntN(3))
			db := enginetest.Open(t, opts)
			m := shadow{}
			keys := make([]string, 300)
			for i := range keys {
				keys[i] = fmt.Sprintf("%s-%d", strings.Repeat("common prefix ", rng.IntN(3)), i)
			}
			var b engine.Batch
			for range 1200 {
				k := keys[rng.IntN(len(keys))]
				switch n := rng.IntN(200); {
				case n < 80:
					v := string(bytesOf(k, rng.IntN(300)))
					set(t, db, k, v)
					m[k] = v
				case n < 150:
					_, err := db.Delete(ctx, []byte(k))
					require.NoError(t, err)
					delete(m, k)
				case n < 180:
					b.Reset()
					for range 1 + rng.IntN(20) {
						k := keys[rng.IntN(len(keys))]
						if rng.IntN(2) == 0 {
							b.Set([]byte(k), []byte(k+k))
							m[k] = k + k
						} else {
							b.Delete([]byte(k))
							delete(m, k)
						}
					}
					_, err := db.Apply(ctx, &b)
					require.NoError(t, err)
				case n < 183:
					v := string(bytesOf(k, 60_000+rng.IntN(80_000)))
					set(t, db, k, v)
					m[k] = v
				case n < 186:
					require.NoError(t, db.Checkpoint(ctx))
					m.check(t, db, keys...)
				case n < 189:
					opts.LogFileBytes = 64 << 10 << rng.IntN(3)
					opts.FrameAlign = 512 << rng.IntN(4)
					before := db.Version()
					db = again(t, db, opts)
					require.True(t, db.Stats().Recovery.Clean)
					require.Equal(t, before, db.Version())
					m.check(t, db, keys...)
				default:
					_, has := m[k]
					_, ok, err := db.Get([]byte(k))
					require.NoError(t, err)
					require.Equal(t, has, ok)
				}
				require.EqualValues(t, len(m), db.Stats().Keys)
			}
			m.check(t, db, keys...)
		})
	}
}

// The first log is small, and the spare is there when it is needed and survives Close.
func TestSpareSurvivesClose(t *testing.T) {
	opts := quiet(t)
	opts.LogFileBytes = 2 << 20
	db := enginetest.Open(t, opts)
	spare := filepath.Join(opts.Dir, format.SpareName)
	require.NoFileExists(t, spare)
	info, err := os.Stat(filepath.Join(opts.Dir, format.LogName(1)))
	require.NoError(t, err)
	assert.EqualValues(t, 1<<20, info.Size(), "the first log is small")
	set(t, db, "large", string(make([]byte, 1<<20)))
	eventually(t, "a spare", func() bool { _, err := os.Stat(spare); return err == nil })
	before, err := os.Stat(spare)
	require.NoError(t, err)
	assert.EqualValues(t, opts.LogFileBytes, before.Size())
	db = again(t, db, opts)
	set(t, db, "k", "v") // makes the next log live
	live, err := os.Stat(filepath.Join(opts.Dir, format.LogName(3)))
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, live), "the spare became the log")
}

// After a clean close an open writes nothing but the lock.
func TestCleanOpenWritesNothing(t *testing.T) {
	opts := quiet(t)
	db := enginetest.Open(t, opts)
	set(t, db, "k", "v")
	require.NoError(t, db.Checkpoint(ctx))
	set(t, db, "k", "w")
	require.NoError(t, db.Close())
	before := files(t, opts.Dir)
	db = enginetest.Open(t, opts)
	requireValue(t, db, "k", "w")
	require.NoError(t, db.Close())
	after := files(t, opts.Dir)
	delete(before, format.LockName)
	delete(after, format.LockName)
	require.Len(t, after, len(before))
	for name, data := range before {
		assert.True(t, bytes.Equal(data, after[name]), name)
	}
}
