package engine_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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

// mistaken is a directory on a disk that changes a bit of a checkpoint: as it is written, or only on the disk, so that the page cache
// shows what was meant and a read around it what there is.
type mistaken struct {
	mmapio.Dir
	onDisk bool
	at     int64 // offset of the bit's byte
	met    atomic.Bool
	well   atomic.Bool // the disk changes nothing any more
}

func (d *mistaken) Create(name string) (mmapio.File, error) {
	f, err := d.Dir.Create(name)
	if err != nil || d.onDisk || !isCheckpointTemp(name) {
		return f, err
	}
	return &mistakenWrites{f, d}, nil
}

func (d *mistaken) Open(name string, mode mmapio.Mode) (mmapio.File, error) {
	around := mode == mmapio.ReadAround && d.onDisk && isCheckpointTemp(name)
	f, err := d.Dir.Open(name, mode)
	if around && errors.Is(err, syscall.EINVAL) { // a file system without direct reads
		f, err = d.Dir.Open(name, mmapio.Read)
	}
	if err != nil || !around {
		return f, err
	}
	return &mistakenReads{f, d}, nil
}

func isCheckpointTemp(name string) bool {
	return strings.HasPrefix(name, "checkpoint.") && strings.HasSuffix(name, format.TempSuffix)
}

// change changes the bit if it is in p, which lies at off.
func (d *mistaken) change(p []byte, off int64) {
	if i := d.at - off; i >= 0 && i < int64(len(p)) && !d.well.Load() {
		p[i] ^= 0x10
		d.met.Store(true)
	}
}

type mistakenWrites struct {
	mmapio.File
	dir *mistaken
}

func (f *mistakenWrites) WriteAt(p []byte, off int64) (int, error) {
	p = bytes.Clone(p)
	f.dir.change(p, off)
	return f.File.WriteAt(p, off)
}

type mistakenReads struct {
	mmapio.File
	dir *mistaken
}

func (f *mistakenReads) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	f.dir.change(p[:n], off)
	return n, err
}

// TestMistakenCheckpoint: a checkpoint that is not on the disk as it was meant never counts, and what it should have replaced stays.
func TestMistakenCheckpoint(t *testing.T) {
	const step = 499 // pages, records, buckets, a block of the ordered index and padding are met
	for _, onDisk := range []bool{false, true} {
		mistakes := 0
		for at := int64(8); mistakeOnce(t, &mistaken{onDisk: onDisk, at: at}); at += step {
			mistakes++
		}
		assert.GreaterOrEqual(t, mistakes, 20)
		t.Logf("on the disk only: %v: %d mistakes, all found", onDisk, mistakes)
	}
}

// mistakeOnce reports whether a checkpoint has met the mistake.
func mistakeOnce(t *testing.T, disk *mistaken) bool {
	t.Helper()
	opts := quiet(t)
	opts.Dir, opts.Sync = inMemory(t), engine.SyncNone
	opts.OpenDir = func(path string, create bool) (mmapio.Dir, error) {
		d, err := mmapio.OpenDir(path, create)
		disk.Dir = d
		return disk, err
	}
	disk.well.Store(true) // the first checkpoint is that of the creation
	db, err := engine.Open(opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	m := shadow{}
	for i := range 50 {
		m[fmt.Sprint(i)] = string(bytesOf(fmt.Sprint(i), 100))
		set(t, db, fmt.Sprint(i), m[fmt.Sprint(i)])
	}
	before := db.Stats().Generation

	disk.well.Store(false)
	err = db.Checkpoint(ctx)
	if !disk.met.Load() { // it is shorter
		require.NoError(t, err)
		return false
	}
	require.ErrorContains(t, err, "does not read back", "offset %d", disk.at)
	require.NoError(t, db.Stats().Damage, "nothing is read from it")
	require.Equal(t, before, db.Stats().Generation)
	m.check(t, db)
	set(t, db, "after", "")
	m["after"] = ""

	disk.well.Store(true)
	require.NoError(t, db.Checkpoint(ctx))
	require.Greater(t, db.Stats().Generation, before)
	m.check(t, db)
	return true
}

// TestConditionsSeeWritesBeforeThem: whether a key is absent is asked of the state that the writes before it leave, though they may be in the same
// group. So the first to set a key has set it before all who find it absent no more, and after all who still did.
func TestConditionsSeeWritesBeforeThem(t *testing.T) {
	const keys = 32
	opts, _ := timed(t)
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts.OpenDir = in.OpenDir
	db := enginetest.Open(t, opts)
	g := hold(in, func(op mmapiotest.Op) bool {
		return op.Kind == mmapiotest.WriteAt && strings.HasPrefix(op.Name, "logfile.")
	})
	var callers sync.WaitGroup
	callers.Go(func() { _, err := db.Set(ctx, []byte("holds the pipeline"), nil); assert.NoError(t, err) })
	<-g.come
	var written, refused [keys]engine.Version
	var found [keys]bool
	for i := range keys {
		callers.Go(func() {
			v, err := db.Set(ctx, fmt.Appendf(nil, "k%d", i), nil)
			assert.NoError(t, err)
			written[i] = v
		})
	}
	time.Sleep(10 * time.Millisecond) // so that they mostly come before the others; they are right in any order
	for i := range keys {
		callers.Go(func() {
			v, err := db.Apply(ctx, batch(ifAbsent(fmt.Sprintf("k%d", i)), sets(fmt.Sprintf("other%d", i), "")))
			found[i] = errors.Is(err, engine.ErrConditionFailed)
			assert.True(t, found[i] || err == nil, err)
			refused[i] = v
		})
	}
	time.Sleep(10 * time.Millisecond)
	close(g.open)
	callers.Wait()
	for i := range keys {
		assert.True(t, found[i] || refused[i].Seq < written[i].Seq, "k%d is set by %v, and was absent before %v", i, written[i], refused[i])
	}
}

// TestCloseThatFails: Close says so when its trailer, or the closing of a file, has failed; what was acknowledged is there all the same.
func TestCloseThatFails(t *testing.T) {
	for _, kind := range []mmapiotest.Kind{mmapiotest.WriteAt, mmapiotest.Sync, mmapiotest.CloseFile} {
		for _, mode := range []engine.SyncMode{engine.SyncDsync, engine.SyncData, engine.SyncNone} {
			if kind == mmapiotest.Sync && mode == engine.SyncDsync {
				continue // nothing is synced
			}
			in := mmapiotest.NewInjector(mmapio.OpenDir)
			opts := quiet(t)
			opts.Sync, opts.OpenDir = mode, in.OpenDir
			db, err := engine.Open(opts)
			require.NoError(t, err)
			set(t, db, "k", "v")
			in.Add(mmapiotest.Fault{Err: syscall.EIO, Match: func(op mmapiotest.Op) bool {
				return op.Kind == kind && strings.HasPrefix(op.Name, "logfile.")
			}})
			require.ErrorIs(t, db.Close(), syscall.EIO, "%v, mode %v", kind, mode)
			require.Positive(t, in.Hits())
			opts.OpenDir = nil
			db, err = engine.Open(opts)
			require.NoError(t, err)
			shadow{"k": "v"}.check(t, db)
			require.NoError(t, db.Close())
		}
	}
}

// TestClosingOfAFileFails: a system that could not write says so as late as when a file is closed. A checkpoint of which a file could not be
// closed fails, and is made again; after a log that could not be closed nothing is acknowledged any more.
func TestClosingOfAFileFails(t *testing.T) {
	closes := func(prefix, suffix string) func(mmapiotest.Op) bool {
		return func(op mmapiotest.Op) bool {
			return op.Kind == mmapiotest.CloseFile && op.Mode != mmapio.Read && op.Mode != mmapio.ReadAround &&
				strings.HasPrefix(op.Name, prefix) && strings.HasSuffix(op.Name, suffix)
		}
	}
	for name, match := range map[string]func(mmapiotest.Op) bool{
		"checkpoint": closes("checkpoint.", format.TempSuffix),
		"newVersion": closes(format.NewVersionName, ""),
	} {
		t.Run(name, func(t *testing.T) {
			in := mmapiotest.NewInjector(mmapio.OpenDir)
			opts := quiet(t)
			opts.OpenDir = in.OpenDir
			db := enginetest.Open(t, opts)
			set(t, db, "k", "v")
			before := db.Stats().Generation
			in.Add(mmapiotest.Fault{Err: syscall.EIO, Match: match})
			require.ErrorIs(t, db.Checkpoint(ctx), syscall.EIO)
			require.Equal(t, before, db.Stats().Generation)
			set(t, db, "k", "w")
			require.NoError(t, db.Checkpoint(ctx))
			shadow{"k": "w"}.check(t, db)
		})
	}
	t.Run("log", func(t *testing.T) {
		in := mmapiotest.NewInjector(mmapio.OpenDir)
		opts := quiet(t)
		opts.OpenDir = in.OpenDir
		db := enginetest.Open(t, opts)
		in.Add(mmapiotest.Fault{Err: syscall.EIO, Match: func(op mmapiotest.Op) bool {
			return op.Kind == mmapiotest.CloseFile && strings.HasSuffix(op.Site.Func, "(*liveLog).close")
		}})
		m := shadow{}
		var err error
		for i := 0; err == nil; i++ {
			require.Less(t, i, 100, "a log of 64 KiB is followed by the next one")
			key, value := fmt.Sprint(i), string(bytesOf("v", 4000))
			if _, err = db.Set(ctx, []byte(key), []byte(value)); err == nil {
				m[key] = value
			}
		}
		require.ErrorIs(t, err, engine.ErrIndeterminate)
		require.ErrorIs(t, err, syscall.EIO)
		_, err = db.Set(ctx, []byte("k"), nil)
		require.ErrorIs(t, err, engine.ErrPoisoned)
		m.check(t, db)
	})
}

// TestWritesOverCutLogs writes keys of which the last records lie in logs that somebody has made shorter: a write looks at the record that it replaces.
// The process lives, what is written is durable, and what cannot be read is refused.
func TestWritesOverCutLogs(t *testing.T) {
	const keys = 60
	opts := quiet(t)
	opts.Dir = inMemory(t)
	db, err := engine.Open(opts)
	require.NoError(t, err)
	for i := range keys { // over several logs
		set(t, db, fmt.Sprint(i), string(bytesOf("v", 4000)))
	}
	logs, err := filepath.Glob(filepath.Join(opts.Dir, "logfile.*"))
	require.NoError(t, err)
	slices.SortFunc(logs, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }) // by the number
	require.Greater(t, len(logs), 3)
	contents := files(t, opts.Dir)
	for _, name := range logs[:len(logs)-1] {
		require.NoError(t, os.Truncate(name, format.LogHeaderSize))
	}
	refused := 0
	for i := range keys {
		key := fmt.Sprint(i)
		if _, err := db.Apply(ctx, batch(ifPresent(key), sets("other", ""))); err != nil {
			require.ErrorIs(t, err, engine.ErrCorrupt)
			refused++
		}
		set(t, db, key, "new")
		value, ok, err := db.Get([]byte(key))
		if err != nil {
			require.ErrorIs(t, err, engine.ErrCorrupt)
			continue
		}
		require.True(t, ok)
		require.Equal(t, "new", string(value))
	}
	require.Greater(t, refused, keys/2)
	require.ErrorIs(t, db.Stats().Damage, engine.ErrCorrupt)
	require.NoError(t, db.Close())

	for _, name := range logs[:len(logs)-1] {
		require.NoError(t, os.WriteFile(name, contents[filepath.Base(name)], 0o600))
	}
	db = enginetest.Open(t, opts)
	for i := range keys {
		requireValue(t, db, fmt.Sprint(i), "new")
	}
}

// TestAnyLogMissing removes one log after the other of those that a state needs: some end with the trailer of a clean close, some with a cut, and some are
// followed by the next while the database is open. But for the newest, which only a log before it can name, the open is refused and says which.
func TestAnyLogMissing(t *testing.T) {
	opts := quiet(t)
	opts.Dir = inMemory(t)
	db, err := engine.Open(opts)
	require.NoError(t, err)
	for round := range 6 {
		set(t, db, fmt.Sprint(round), "")
		if round%3 == 0 {
			set(t, db, "long", string(bytesOf("v", 60_000))) // in a log of its own
			set(t, db, "after", "")
		}
		killed := files(t, opts.Dir)
		require.NoError(t, db.Close())
		if round%2 == 0 {
			restoreFiles(t, opts.Dir, killed)
		}
		db, err = engine.Open(opts)
		require.NoError(t, err)
	}
	set(t, db, "last", "")
	require.NoError(t, db.Close())
	whole := files(t, opts.Dir)
	newest := uint64(0)
	for name := range whole {
		if n, ok := format.ParseLogName(name); ok {
			newest = max(newest, n)
		}
	}
	require.GreaterOrEqual(t, newest, uint64(8))
	for n := uint64(1); n < newest; n++ {
		changed := maps.Clone(whole)
		delete(changed, format.LogName(n))
		restoreFiles(t, opts.Dir, changed)
		db, err := engine.Open(opts)
		if err == nil {
			db.Close()
		}
		var missing *format.CorruptionError
		require.ErrorAs(t, err, &missing, "without %s of %d", format.LogName(n), newest)
		require.Equal(t, format.LogName(n), missing.File)
	}
	t.Logf("%d logs removed, one at a time, and missed", newest-1)
}

// forgetful is a directory on a disk that does not have what the page cache shows of a log from some offset on: a write there has failed, and
// with it a sync, and the next sync has said that all is well.
type forgetful struct {
	mmapio.Dir
	name string
	from int64
}

func (d forgetful) Open(name string, mode mmapio.Mode) (mmapio.File, error) {
	f, err := d.Dir.Open(name, mode)
	if mode != mmapio.ReadAround || name != d.name {
		return f, err
	}
	if errors.Is(err, syscall.EINVAL) { // a file system without direct reads
		f, err = d.Dir.Open(name, mmapio.Read)
	}
	return forgetfulFile{f, d.from}, err
}

type forgetfulFile struct {
	mmapio.File
	from int64
}

func (f forgetfulFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	clear(p[min(int64(n), max(0, f.from-off)):n])
	return n, err
}

// TestDiskDecides: after an unclean stop the log ends where it ends on the disk, whatever the page cache shows.
func TestDiskDecides(t *testing.T) {
	for _, kept := range []int{0, 1, 3} {
		opts := quiet(t)
		opts.Dir = inMemory(t)
		db, err := engine.Open(opts)
		require.NoError(t, err)
		for i := range 4 {
			set(t, db, fmt.Sprint(i), "v")
		}
		killed := files(t, opts.Dir)
		require.NoError(t, db.Close())
		restoreFiles(t, opts.Dir, killed)

		from := int64(format.LogHeaderSize + kept*format.BlockSize)
		opts.OpenDir = func(path string, create bool) (mmapio.Dir, error) {
			d, err := mmapio.OpenDir(path, create)
			return forgetful{d, format.LogName(1), from}, err
		}
		db, err = engine.Open(opts)
		require.NoError(t, err)
		require.EqualValues(t, kept, db.Version().Seq)
		require.Equal(t, from, db.Stats().Recovery.CutAt)
		m := shadow{}
		for i := range kept {
			m[fmt.Sprint(i)] = "v"
		}
		m.check(t, db, "0", "1", "2", "3")
		require.NoError(t, db.Close())
	}
}

// TestTwinOfALog: two openings of one state make two logs that say the same. Still only one of them is the log that the next one follows.
func TestTwinOfALog(t *testing.T) {
	opts := quiet(t)
	opts.Dir = inMemory(t)
	db, err := engine.Open(opts)
	require.NoError(t, err)
	set(t, db, "k", "v")
	killed := files(t, opts.Dir)
	require.NoError(t, db.Close())
	cut := func() map[string][]byte {
		restoreFiles(t, opts.Dir, killed)
		db, err := engine.Open(opts)
		require.NoError(t, err)
		require.NoError(t, db.Close())
		return files(t, opts.Dir)
	}
	twin := cut()[format.LogName(2)]
	cut()
	db, err = engine.Open(opts)
	require.NoError(t, err)
	set(t, db, "k", "w")
	require.NoError(t, db.Close())

	ours := files(t, opts.Dir)
	changed := maps.Clone(ours)
	changed[format.LogName(2)] = twin
	restoreFiles(t, opts.Dir, changed)
	_, err = engine.Open(opts)
	var place *format.CorruptionError
	require.ErrorAs(t, err, &place)
	require.Equal(t, format.LogName(3), place.File)
	require.EqualValues(t, format.BlockSize, place.Offset)
	restoreFiles(t, opts.Dir, ours)
	requireValue(t, enginetest.Open(t, opts), "k", "w")
}

// TestDamagedVersionAndCheckpoint: where version is damaged, it is rebuilt from a checkpoint that is whole, and not from one of which a record is
// damaged, though that opens.
func TestDamagedVersionAndCheckpoint(t *testing.T) {
	opts := quiet(t)
	db, err := engine.Open(opts)
	require.NoError(t, err)
	m := shadow{}
	for round := range 3 {
		for i := range 20 {
			key := fmt.Sprintf("%d-%d", round, i)
			m[key] = string(bytesOf(key, 100))
			set(t, db, key, m[key])
		}
		require.NoError(t, db.Checkpoint(ctx))
	}
	newest := db.Stats().Generation
	require.NoError(t, db.Close())
	flip(t, filepath.Join(opts.Dir, format.VersionName), 40)
	flip(t, filepath.Join(opts.Dir, format.CheckpointName(newest)), format.CheckpointHeaderLen+200)
	db, err = engine.Open(opts)
	require.NoError(t, err)
	require.NotEmpty(t, db.Stats().Recovery.Repaired)
	m.check(t, db)
	require.NoError(t, db.Close())
}
