package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
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

// To take a snapshot allocates the same, little, whatever the size of the state.
func TestSnapshotAllocatesLittle(t *testing.T) {
	opts := quiet(t)
	opts.Sync, opts.LogFileBytes = engine.SyncNone, 4<<20
	db := enginetest.Open(t, opts)
	var sizes []uint64
	for _, n := range []int{0, 10, 20_000} {
		var b engine.Batch
		for i := range n {
			b.Set(fmt.Appendf(nil, "key-%d", i), []byte("value"))
		}
		_, err := db.Apply(ctx, &b)
		require.NoError(t, err)
		var keep *engine.Snapshot
		allocs := testing.AllocsPerRun(100, func() { keep = db.Snapshot() })
		if !raceDetector {
			assert.LessOrEqual(t, allocs, 1.0, "%d keys", n)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 1000 {
			keep = db.Snapshot()
		}
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(keep)
		sizes = append(sizes, (after.TotalAlloc-before.TotalAlloc)/1000)
	}
	assert.Less(t, sizes[2], uint64(500), "bytes a snapshot, by size of the state: %d", sizes)
}

// A step of a scan allocates nothing once the buffers have grown.
func TestScanAllocatesLittle(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	l := plain(t)
	s := l.db.Snapshot()
	keys := len(l.model)
	for name, scan := range map[string]func(){
		"Scan": func() {
			for range s.Scan(nil, nil) {
			}
		},
		"Backward": func() {
			for range s.Backward(nil, nil) {
			}
		},
	} {
		assert.Less(t, testing.AllocsPerRun(20, scan), float64(keys)/2, "%s of %d keys", name, keys)
	}
}

// writers apply batches of which a reader must see all or nothing: writer w sets its keys w-0 to w-3 to one
// stamp, moves an amount between its accounts, whose sum stays, and deletes or sets w-4 by turns.
const (
	batchWriters = 8
	batchKeys    = 4
	batchOps     = batchKeys + 3
	batchSum     = 1000
)

func applyBatch(db *engine.DB, w, n int) (engine.Version, error) {
	var b engine.Batch
	for i := range batchKeys {
		b.Set(fmt.Appendf(nil, "%d-%d", w, i), fmt.Append(nil, n))
	}
	b.Set(fmt.Appendf(nil, "%d-account-a", w), fmt.Append(nil, n%batchSum))
	b.Set(fmt.Appendf(nil, "%d-account-b", w), fmt.Append(nil, batchSum-n%batchSum))
	if n%2 == 0 {
		b.Set(fmt.Appendf(nil, "%d-even", w), fmt.Append(nil, n))
	} else {
		b.Delete(fmt.Appendf(nil, "%d-even", w))
	}
	return db.Apply(ctx, &b)
}

// checkBatches checks that a state is one after whole batches, and returns the last batch of each writer.
func checkBatches(state map[string]string) (last [batchWriters]int, err error) {
	sum, keys := 0, 0
	for w := range batchWriters {
		first, ok := state[fmt.Sprintf("%d-0", w)]
		if !ok {
			last[w] = -1
			continue
		}
		sum += batchSum
		keys += batchKeys + 2
		n := 0
		if _, err := fmt.Sscan(first, &n); err != nil {
			return last, err
		}
		for i := range batchKeys {
			if got := state[fmt.Sprintf("%d-%d", w, i)]; got != first {
				return last, fmt.Errorf("writer %d: key %d is of batch %q, key 0 of %q", w, i, got, first)
			}
		}
		if n%2 == 0 {
			keys++
		}
		if _, even := state[fmt.Sprintf("%d-even", w)]; even != (n%2 == 0) {
			return last, fmt.Errorf("writer %d: batch %d is there and its delete is not", w, n)
		}
		last[w] = n
	}
	if keys != len(state) {
		return last, fmt.Errorf("%d keys instead of %d", len(state), keys)
	}
	for k, v := range state {
		if strings.Contains(k, "account") {
			n := 0
			_, _ = fmt.Sscan(v, &n)
			sum -= n
		}
	}
	if sum != 0 {
		return last, fmt.Errorf("the accounts are off by %d", sum)
	}
	return last, nil
}

// readState reads a state in one of the ways there are.
func readState(s *engine.Snapshot, way int) (map[string]string, error) {
	m := map[string]string{}
	switch way % 3 {
	case 0:
		for k, v := range s.Scan(nil, nil) {
			m[string(k)] = string(v)
		}
	case 1:
		for k, v := range s.Backward(nil, nil) {
			m[string(k)] = string(v)
		}
	case 2:
		for w := range batchWriters {
			for _, name := range []string{"0", "1", "2", "3", "even", "account-a", "account-b"} {
				k := fmt.Sprintf("%d-%s", w, name)
				v, ok, err := s.Get([]byte(k))
				if err != nil {
					return nil, err
				}
				if ok {
					m[k] = string(v)
				}
			}
		}
	}
	return m, s.Err()
}

// A snapshot sees each batch whole or not at all, and all that was acknowledged before it, whatever checkpoints do meanwhile;
// and it sees the same for as long as it is held.
func TestSnapshotSeesWholeBatches(t *testing.T) {
	opts := quiet(t)
	opts.Sync = engine.SyncNone
	db := enginetest.Open(t, opts)
	rounds := 150
	if raceDetector {
		rounds = 40
	}
	var acknowledged [batchWriters]atomic.Int64
	for w := range acknowledged {
		acknowledged[w].Store(-1)
	}
	var failed atomic.Pointer[error]
	fail := func(err error) bool {
		if err != nil {
			failed.CompareAndSwap(nil, &err)
		}
		return failed.Load() != nil
	}
	look := func(way int) error {
		var before [batchWriters]int64
		for w := range before {
			before[w] = acknowledged[w].Load()
		}
		s := db.Snapshot()
		state, err := readState(s, way)
		if err != nil {
			return err
		}
		last, err := checkBatches(state)
		if err != nil {
			return fmt.Errorf("way %d at %v: %w", way, s.Version(), err)
		}
		for w := range before {
			if int64(last[w]) < before[w] {
				return fmt.Errorf("batch %d of writer %d was acknowledged, the snapshot shows %d", before[w], w, last[w])
			}
		}
		for other := range 3 {
			if again, err := readState(s, other); err != nil || !maps.Equal(state, again) {
				return fmt.Errorf("way %d and then %d differ: %w", way, other, errors.Join(err, errors.New("not the same")))
			}
		}
		return nil
	}
	var writers, readers sync.WaitGroup
	var over atomic.Bool
	for w := range batchWriters {
		writers.Add(1)
		go func() {
			defer writers.Done()
			for n := range rounds {
				v, err := applyBatch(db, w, n)
				if fail(err) {
					return
				}
				acknowledged[w].Store(int64(n))
				s := db.Snapshot()
				if at := s.Version(); at.Seq < v.Seq || at.Epoch != v.Epoch {
					fail(fmt.Errorf("acknowledged %v, the snapshot is of %v", v, at))
				}
				e, ok, err := s.Entry(fmt.Appendf(nil, "%d-0", w))
				if err != nil || !ok || string(e.Value) != fmt.Sprint(n) {
					fail(fmt.Errorf("wrote %d, read %q, %v, %w", n, e.Value, ok, err))
				}
			}
		}()
	}
	for way := range 3 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for !over.Load() && !fail(look(way)) {
				runtime.Gosched()
			}
		}()
	}
	readers.Add(1)
	go func() {
		defer readers.Done()
		for !over.Load() && !fail(db.Checkpoint(ctx)) {
			runtime.Gosched()
		}
	}()
	readers.Add(1)
	go func() { // many a snapshot, to hit the moment at which a batch is being entered
		defer readers.Done()
		for n := 0; !over.Load(); n++ {
			if at := db.Snapshot().Version(); at.Seq%batchOps != 0 {
				fail(fmt.Errorf("a snapshot at %v is inside a batch", at))
				return
			}
			if n%1000 == 0 {
				runtime.Gosched()
			}
		}
	}()
	writers.Wait()
	over.Store(true)
	readers.Wait()
	if err := failed.Load(); err != nil {
		require.NoError(t, *err)
	}
	require.NoError(t, look(0))
	require.Positive(t, db.Stats().Checkpoints)
}

// A snapshot that is held reads its own state, though its files are gone and logs of its time are written over.
func TestSnapshotOutlivesCheckpoints(t *testing.T) {
	for _, shape := range []string{"d", "b", "bd"} {
		t.Run(shape, func(t *testing.T) {
			var recycled atomic.Int64
			in := mmapiotest.NewInjector(mmapio.OpenDir, mmapiotest.Fault{Match: func(op mmapiotest.Op) bool {
				if op.Kind == mmapiotest.Rename && op.NewName == format.SpareName && strings.HasPrefix(op.Name, "logfile.") && !strings.HasSuffix(op.Name, format.TempSuffix) {
					recycled.Add(1)
				}
				return false
			}})
			opts := quiet(t)
			opts.Sync, opts.OpenDir = engine.SyncNone, in.OpenDir
			db := enginetest.Open(t, opts)
			m := entries{}
			write := func(generation int) {
				for i := range 40 {
					k, v := fmt.Sprintf("%02d", i), string(bytesOf(fmt.Sprint(generation), 100*i))
					m[k] = engine.Entry{Key: []byte(k), Value: []byte(v), Version: set(t, db, k, v)}
				}
				k := fmt.Sprintf("%02d", generation)
				_, err := db.Delete(ctx, []byte(k))
				require.NoError(t, err)
				delete(m, k)
			}
			for i, step := range shape {
				write(i)
				if step == 'b' {
					require.NoError(t, db.Checkpoint(ctx))
				}
			}
			s, all := db.Snapshot(), m.set(0)
			files, err := os.ReadDir(opts.Dir)
			require.NoError(t, err)
			used := db.Snapshot() // of the same state, scanned before and after
			requireRange(t, used, all, nil, nil)
			for i := range 7 {
				write(10 + i)
				if i == 2 { // this is the third
					requireGets(t, s, all, []string{"00", "39", "40"})
				}
				require.NoError(t, db.Checkpoint(ctx))
			}
			for _, f := range files {
				if f.Name() != format.LockName && f.Name() != format.VersionName && f.Name() != format.SpareName {
					require.NoFileExists(t, filepath.Join(opts.Dir, f.Name()))
				}
			}
			for range 2 {
				runtime.GC()
				requireRange(t, s, all, nil, nil)
				requireRange(t, used, all, nil, nil)
				requireGets(t, s, all, []string{"00", "17", "39", "40"})
			}
			require.NoError(t, db.Close())
			requireRange(t, s, all, nil, nil)
			requireGets(t, s, all, []string{"00", "17", "39", "40"})
			require.Positive(t, recycled.Load(), "no log was recycled, so the test has shown less than it should")
		})
	}
}

// What a snapshot keeps mapped goes with it.
func TestSnapshotLetsGo(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc/self/maps")
	}
	db := enginetest.Open(t, quiet(t))
	dir := ""
	mapped := func() int {
		maps, err := os.ReadFile("/proc/self/maps")
		require.NoError(t, err)
		n := 0
		for line := range strings.Lines(string(maps)) {
			if strings.Contains(line, dir) && strings.Contains(line, "(deleted)") {
				n++
			}
		}
		return n
	}
	dir = t.Name() // is in the path
	set(t, db, "k", "v")
	require.NoError(t, db.Checkpoint(ctx))
	s := db.Snapshot()
	for range s.Scan(nil, nil) {
	}
	for range 3 {
		set(t, db, "k", "v")
		require.NoError(t, db.Checkpoint(ctx))
	}
	runtime.GC()
	require.Positive(t, mapped(), "the snapshot holds files that are gone")
	runtime.KeepAlive(s)
	collect(t, "the mappings go with the snapshot", func() bool { return mapped() == 0 })
}

// A snapshot goes on after Close, and another open of the directory does not disturb it.
func TestSnapshotOutlivesClose(t *testing.T) {
	l := plain(t)
	m := maps.Clone(l.model)
	s := l.db.Snapshot()
	seq := s.Scan(nil, nil)
	opts := quiet(t)
	db := enginetest.Open(t, opts)
	v := set(t, db, "k", "old")
	s2 := db.Snapshot()
	for range 4 {
		db = again(t, db, opts)
		set(t, db, "k", "new")
		require.NoError(t, db.Checkpoint(ctx))
		set(t, db, "j", string(make([]byte, 40_000)))
		require.NoError(t, db.Checkpoint(ctx))
	}
	e, ok, err := s2.Entry([]byte("k"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, engine.Entry{Key: []byte("k"), Value: []byte("old"), Version: v}, e)
	require.Equal(t, v, s2.Version())
	requireRange(t, s2, []engine.Entry{e}, nil, nil)
	requirePairs(t, m.set(0), seq, "another database")
}

// A snapshot of a closed database is empty and says why.
func TestSnapshotOfClosedDatabase(t *testing.T) {
	db := enginetest.Open(t, quiet(t))
	set(t, db, "k", "v")
	require.NoError(t, db.Close())
	s := db.Snapshot()
	require.ErrorIs(t, s.Err(), engine.ErrClosed)
	for k := range s.Scan(nil, nil) {
		require.Fail(t, "there is a key", "%q", k)
	}
	for range s.Backward(nil, nil) {
		require.Fail(t, "there is a key")
	}
	for range s.Prefix([]byte("k")) {
		require.Fail(t, "there is a key")
	}
	for range s.Entries(nil, nil) {
		require.Fail(t, "there is a key")
	}
	v, ok, err := s.Get([]byte("k"))
	require.ErrorIs(t, err, engine.ErrClosed)
	require.False(t, ok)
	require.Nil(t, v)
	_, _, err = s.Entry([]byte("k"))
	require.ErrorIs(t, err, engine.ErrClosed)
	_ = s.Version()
	require.ErrorIs(t, s.Err(), engine.ErrClosed)
	require.NoError(t, db.Stats().Damage)
}

// A snapshot stands still in time: what expires later stays in it, also after a checkpoint has dropped it, and what was due
// stays hidden though the wall clock goes back.
func TestSnapshotStandsStillInTime(t *testing.T) {
	for _, shape := range []string{"b", "d", "f"} {
		t.Run(shape, func(t *testing.T) {
			l := newLayered(t, shape, func(l *layered) {
				now := time.Unix(0, l.now.Load()).UTC()
				l.set("a", "past", now.Add(-time.Second))
				l.set("b", "now", now)
				l.set("c", "soon", now.Add(1))
				l.set("d", "later", now.Add(time.Hour))
				l.set("e", "never", time.Time{})
			})
			s1, t1 := l.db.Snapshot(), l.now.Load()
			l.now.Add(1)
			s2, t2 := l.db.Snapshot(), l.now.Load()
			l.now.Add(int64(2 * time.Hour))
			s3, t3 := l.db.Snapshot(), l.now.Load()
			l.now.Store(t1 - int64(time.Hour)) // engine time does not follow
			s4 := l.db.Snapshot()
			set(t, l.db, "z", "z")
			if shape != "f" {
				require.NoError(t, l.db.Checkpoint(ctx))
			}
			for _, c := range []struct {
				s  *engine.Snapshot
				at int64
				n  int
			}{{s1, t1, 3}, {s2, t2, 2}, {s3, t3, 1}, {s4, t3, 1}} {
				all := l.model.set(c.at)
				require.Len(t, all, c.n)
				requireRange(t, c.s, all, nil, nil)
				requireRange(t, c.s, all, []byte("b"), []byte("e"))
				requireGets(t, c.s, all, []string{"a", "b", "c", "d", "e"})
			}
		})
	}
}

// Versions of entries are those that the writes were answered with, in a later epoch too.
func TestSnapshotVersions(t *testing.T) {
	opts := quiet(t)
	db, err := engine.Open(opts)
	require.NoError(t, err)
	m := entries{}
	put := func(k string) {
		m[k] = engine.Entry{Key: []byte(k), Value: []byte("v"), Version: set(t, db, k, "v")}
	}
	for epoch := range 4 {
		put(fmt.Sprintf("of epoch %d", epoch))
		put("always")
		if epoch%2 == 0 {
			require.NoError(t, db.Checkpoint(ctx))
		}
		put(fmt.Sprintf("of epoch %d, later", epoch))
		image := files(t, opts.Dir)
		require.NoError(t, db.Close())
		restoreFiles(t, opts.Dir, image) // it was not closed
		db = enginetest.Open(t, opts)
		require.EqualValues(t, epoch+2, db.Version().Epoch)
		requireRange(t, db.Snapshot(), m.set(0), nil, nil)
		requireGets(t, db.Snapshot(), m.set(0), []string{"always"})
		require.Equal(t, db.Version(), db.Snapshot().Version())
	}
}

// What a method returns is the caller's; what it is given stays the caller's.
func TestSnapshotSharesNoBytes(t *testing.T) {
	l := plain(t)
	s, all := l.db.Snapshot(), l.model.set(0)
	set(t, l.db, string(all[3].Key), "newer") // so that the snapshot asks its order for this one
	for _, i := range []int{0, 3, 50} {
		for range 2 {
			e, ok, err := s.Entry(all[i].Key)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, all[i], e)
			copy(e.Key, "xxxxxxxxxx")
			copy(e.Value, "xxxxxxxxxx")
			_ = append(e.Key, "yyyyyyyyyyyyyyyyyyyy"...)
			require.True(t, bytes.HasPrefix(e.Value, []byte("xxxx")), "an append to the key reached the value")
		}
	}
	start, end := bytes.Clone(all[2].Key), bytes.Clone(all[9].Key)
	seq := s.Scan(start, end)
	i := 2
	for k, v := range seq {
		require.Equal(t, string(all[i].Key), string(k))
		copy(k, "\xff\xff\xff\xff\xff\xff")
		copy(v, "\xff\xff\xff\xff\xff\xff")
		_ = append(k, "yyyyyyyyyyyyyyyyyyyyyyyy"...)
		i++
	}
	require.Equal(t, 9, i, "what a loop does to the buffers does not lead the scan astray")
	require.Equal(t, string(all[2].Key), string(start))
	require.Equal(t, string(all[9].Key), string(end))
}

// requireHonest reads all of a state of which a byte of file is damaged, from at to at+n: what is yielded is right and in
// order, nothing is skipped, and what ends early says where. It returns how many reads failed.
func requireHonest(t *testing.T, db *engine.DB, all []engine.Entry, file string, at int64, n int64, what string) (failed int) {
	t.Helper()
	blame := func(err error) {
		t.Helper()
		var c *format.CorruptionError
		if !errors.Is(err, engine.ErrCorrupt) || !errors.As(err, &c) || c.File != file || c.Offset < 0 || c.Offset >= at+n || c.Offset < at-64<<10 {
			require.Fail(t, "the wrong place", "%s: %v", what, err)
		}
		failed++
	}
	forwards, backwards := db.Snapshot(), db.Snapshot()
	for _, c := range []struct {
		name string
		s    *engine.Snapshot
		seq  iter.Seq2[[]byte, []byte]
		want []engine.Entry
	}{{"forwards", forwards, forwards.Scan(nil, nil), all}, {"backwards", backwards, backwards.Backward(nil, nil), reversed(all)}} {
		i := 0
		for k, v := range c.seq {
			if i == len(c.want) || !bytes.Equal(k, c.want[i].Key) || !bytes.Equal(v, c.want[i].Value) {
				require.Fail(t, "wrong pair", "%s, %s: number %d is %q", what, c.name, i, k)
			}
			i++
		}
		if err := c.s.Err(); err != nil {
			blame(err)
		} else {
			require.Equal(t, len(all), i, "%s, %s: it ended early and says nothing", what, c.name)
		}
	}
	gets := db.Snapshot()
	for _, want := range all {
		e, ok, err := gets.Entry(want.Key)
		switch {
		case err != nil:
			blame(err)
			require.False(t, ok)
			require.ErrorIs(t, gets.Err(), engine.ErrCorrupt)
		case !ok || !bytes.Equal(e.Value, want.Value) || e.Version != want.Version || !e.Deadline.Equal(want.Deadline):
			require.Fail(t, "wrong entry", "%s: %q: %v, %v instead of %v", what, want.Key, ok, e, want)
		}
	}
	require.False(t, armed())
	return failed
}

// rotten makes a small state in the layers of a shape: keys that each layer sets, changes and deletes.
func rotten(t *testing.T, shape string) *layered {
	n := 0
	return newLayered(t, shape, func(l *layered) {
		for i := range 12 {
			var until time.Time
			if i%4 == 1 {
				until = time.Unix(1<<33, 0).UTC()
			}
			l.set(fmt.Sprintf("%02d-%d", i, n), string(bytesOf(fmt.Sprint(i, n), 7*i)), until)
			l.set(fmt.Sprintf("%02d-changed", i), string(bytesOf(fmt.Sprint(i, n), 20+i)), until)
			if n > 0 && i%3 == 0 {
				l.delete(fmt.Sprintf("%02d-%d", i, n-1))
			}
		}
		n++
	})
}

// Any bit of any file that rots under an open database: no key is wrong, none is missing without a word, and the word names the place.
func TestSnapshotMeetsRot(t *testing.T) {
	for _, shape := range []string{"b", "d", "f", "bd", "bfd"} {
		t.Run("layers="+shape, func(t *testing.T) {
			l := rotten(t, shape)
			all := l.model.set(l.now.Load())
			requireRange(t, l.db.Snapshot(), all, nil, nil) // from here on the order of the logs is known
			for name, data := range files(t, l.opts.Dir) {
				if !strings.HasPrefix(name, "logfile.") && !strings.HasPrefix(name, "checkpoint.") || strings.HasSuffix(name, format.TempSuffix) {
					continue
				}
				path, failed := filepath.Join(l.opts.Dir, name), 0
				stride := int64(41)
				if raceDetector {
					stride *= 5
				}
				for at := int64(0); at < used(data); at += stride {
					if blank := data[at:min(at+stride, int64(len(data)))]; len(bytes.Trim(blank, "\x00")) == 0 && at%7 != 0 {
						continue
					}
					flip(t, path, at)
					failed += requireHonest(t, l.db, all, name, at, 1, fmt.Sprintf("%s, bit %d of %d", name, at%8, at))
					flip(t, path, at)
				}
				t.Logf("%s: %d reads failed", name, failed)
			}
			requireRange(t, l.db.Snapshot(), all, nil, nil)
		})
	}
}

// The same for records that no scan has seen before the rot came: they are met when they are sorted.
func TestFirstScanMeetsRot(t *testing.T) {
	l := newLayered(t, "bd", func(l *layered) { l.set("a", "1", time.Time{}) })
	for i := range 60 {
		k, v := fmt.Sprintf("key-%02d", i%20), string(bytesOf(fmt.Sprint(i), 50))
		l.set(k, v, time.Time{})
		if i%5 == 4 {
			l.set(k, v+"and once more", time.Time{}) // the first is superseded
		}
		name, at := placeOf(t, l.opts.Dir, []byte(v))
		path := filepath.Join(l.opts.Dir, name)
		at += int64(i%50) - 20 // from the head of the record to its value
		flip(t, path, at)
		all := l.model.set(l.now.Load())
		require.Positive(t, requireHonest(t, l.db, all, name, at, 1, fmt.Sprintf("%s at %d", name, at)))
		flip(t, path, at)
		requireRange(t, l.db.Snapshot(), all, nil, nil)
	}
}

// placeOf finds the log and the offset where some bytes are.
func placeOf(t *testing.T, dir string, what []byte) (name string, at int64) {
	t.Helper()
	for name, data := range files(t, dir) {
		if i := bytes.Index(data, what); i >= 0 && strings.HasPrefix(name, "logfile.") {
			return name, int64(i)
		}
	}
	require.Fail(t, "not found")
	return "", 0
}

// A mapped file that is cut short faults: scans and backups end with the place, and the process lives.
func TestSnapshotOfCutFiles(t *testing.T) {
	for _, shape := range []string{"b", "d", "f"} {
		t.Run("layers="+shape, func(t *testing.T) {
			l := newLayered(t, shape, func(l *layered) {
				for i := range 30 {
					l.set(fmt.Sprintf("%02d", i), string(bytesOf(fmt.Sprint(i), 1000)), time.Time{})
				}
			})
			all := l.model.set(0)
			name := format.LogName(1)
			if shape == "b" {
				name = format.CheckpointName(l.db.Stats().Generation)
			}
			path := filepath.Join(l.opts.Dir, name)
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			for _, sorted := range []bool{false, true} {
				for _, size := range []int64{0, 8192, 20_480} {
					require.NoError(t, os.Truncate(path, size))
					what := fmt.Sprintf("%d bytes are left", size)
					require.Positive(t, requireHonest(t, l.db, all, name, size, int64(len(data)), what))
					s := l.db.Snapshot()
					for range s.Scan(nil, nil) {
					}
					require.ErrorIs(t, s.Err(), mmapio.ErrFault, what)
					_, err := l.db.Backup(ctx, &bytes.Buffer{})
					require.ErrorIs(t, err, engine.ErrCorrupt, what)
					require.ErrorIs(t, err, mmapio.ErrFault, what)
					require.False(t, armed())

					f, err := os.OpenFile(path, os.O_RDWR, 0)
					require.NoError(t, err)
					_, err = f.WriteAt(data, 0)
					require.NoError(t, err)
					require.NoError(t, f.Close())
				}
				if !sorted {
					requireRange(t, l.db.Snapshot(), all, nil, nil)
				}
			}
			require.ErrorIs(t, l.db.Stats().Damage, engine.ErrCorrupt)
			backup(t, l.db)
		})
	}
}

// A backup meets the rot that lies in what it holds.
func TestBackupMeetsRot(t *testing.T) {
	for _, shape := range []string{"b", "d", "f"} {
		l := newLayered(t, shape, func(l *layered) { l.set("k", string(bytesOf("k", 500)), time.Time{}) })
		path := filepath.Join(l.opts.Dir, format.LogName(1))
		if shape == "b" {
			path = filepath.Join(l.opts.Dir, format.CheckpointName(2))
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		at := int64(bytes.Index(data, bytesOf("k", 500)))
		require.Positive(t, at)
		flip(t, path, at)
		_, err = l.db.Backup(ctx, &bytes.Buffer{})
		require.ErrorIs(t, err, engine.ErrCorrupt, shape)
		require.ErrorContains(t, err, filepath.Base(path))
		require.ErrorIs(t, l.db.Stats().Damage, engine.ErrCorrupt)
		flip(t, path, at)
		backup(t, l.db)
	}
}
