package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/logrecord"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// rottenDisk has one file wrong. The page cache shows what was meant, and a read around it what there is.
type rottenDisk struct {
	mmapio.Dir
	name   string
	at     int64 // offset of the byte that is wrong
	rotten atomic.Bool
}

func (d *rottenDisk) Open(name string, mode mmapio.Mode) (mmapio.File, error) {
	around := mode == mmapio.ReadAround && name == d.name
	f, err := d.Dir.Open(name, mode)
	if around && errors.Is(err, syscall.EINVAL) { // a file system without direct reads
		f, err = d.Dir.Open(name, mmapio.Read)
	}
	if err != nil || !around {
		return f, err
	}
	return &rottenFile{f, d}, nil
}

type rottenFile struct {
	mmapio.File
	dir *rottenDisk
}

func (f *rottenFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if i := f.dir.at - off; i >= 0 && i < int64(n) && f.dir.rotten.Load() {
		p[i] ^= 0x10
	}
	return n, err
}

// TestScrubReadsTheDisk: the scrubber finds what is wrong on the disk and not in the page cache, where everybody else reads.
func TestScrubReadsTheDisk(t *testing.T) {
	for _, name := range []string{format.CheckpointName(3), format.CheckpointName(2), format.LogName(3), format.LogName(2), format.VersionName} {
		t.Run(name, func(t *testing.T) {
			disk := &rottenDisk{name: name, at: 20}
			opts := scrubbed(t)
			opts.OpenDir = func(path string, create bool) (mmapio.Dir, error) {
				d, err := mmapio.OpenDir(path, create)
				disk.Dir = d
				return disk, err
			}
			db, m := twoGenerations(t, opts)
			require.NoError(t, passes(t, db).Damage)
			require.EqualValues(t, 3, db.Stats().Generation)
			disk.rotten.Store(true)
			eventually(t, "a checkpoint that leaves it behind", func() bool { return db.Stats().Generation > 3 })
			disk.rotten.Store(false) // version has the name of the one before
			eventually(t, "its end", func() bool { s := db.Stats(); return s.Damage == nil && s.Scrub.Damage == nil })
			m.check(t, db)
		})
	}
}

// TestScrubDuringCheckpoints: what checkpoints retire, or make the spare, while the scrubber is reading is no damage.
func TestScrubDuringCheckpoints(t *testing.T) {
	for _, name := range []string{format.CheckpointName(3), format.CheckpointName(2), format.LogName(3), format.LogName(2)} {
		t.Run(name, func(t *testing.T) {
			in := mmapiotest.NewInjector(mmapio.OpenDir)
			opts := scrubbed(t)
			opts.OpenDir = in.OpenDir
			db, m := twoGenerations(t, opts)
			g := hold(in, func(op mmapiotest.Op) bool {
				return op.Kind == mmapiotest.Open && op.Mode == mmapio.ReadAround && op.Name == name
			})
			<-g.come
			before := db.Stats().Scrub.Passes
			for i := range 2 {
				key := fmt.Sprint("more", i)
				m[key] = string(bytesOf(key, 1000))
				set(t, db, key, m[key])
				require.NoError(t, db.Checkpoint(ctx))
			}
			require.EqualValues(t, 5, db.Stats().Generation)
			close(g.open)
			eventually(t, "the end of the pass", func() bool { return db.Stats().Scrub.Passes > before })
			s := db.Stats().Scrub
			require.NoError(t, s.Damage)
			require.NoError(t, s.Failure)
			require.NoError(t, db.Checkpoint(ctx)) // of nothing, unless a repair was asked for
			require.EqualValues(t, 5, db.Stats().Generation, "there is nothing to repair")
			m.check(t, db)
		})
	}
}

// TestWhoMeetsDamageHasItRepaired: a reader who meets damage begins its repair, and so does a writer, with no scrubber that would come by.
func TestWhoMeetsDamageHasItRepaired(t *testing.T) {
	for name, meet := range map[string]func(db *engine.DB) error{
		"get": func(db *engine.DB) error { _, _, err := db.Get([]byte("0-3")); return err },
		"scan": func(db *engine.DB) error {
			s := db.Snapshot()
			for range s.Scan(nil, nil) {
			}
			return s.Err()
		},
		"condition": func(db *engine.DB) error {
			_, err := db.Apply(ctx, batch(ifPresent("0-3"), sets("more", "")))
			return err
		},
		"backup": func(db *engine.DB) error { _, err := db.Backup(ctx, io.Discard); return err },
	} {
		t.Run(name, func(t *testing.T) {
			opts := quiet(t)
			opts.DisableBackgroundCheckpoint, opts.CheckpointInterval, opts.ScrubInterval = false, -1, -1
			db, m := twoGenerations(t, opts)
			path := filepath.Join(opts.Dir, format.CheckpointName(3))
			flip(t, path, valueAt(t, path, m, "0-3"))
			require.ErrorIs(t, meet(db), engine.ErrCorrupt)
			eventually(t, "the repair", func() bool { return db.Stats().Repairs == 1 })
			m.check(t, db)
		})
	}
}

// TestDamagedIndexIsNotKept: a base whose index is damaged is intact in all that a merge reads. It is not kept for repair all the same.
func TestDamagedIndexIsNotKept(t *testing.T) {
	opts := quiet(t)
	db, m := twoGenerations(t, opts)
	name := format.CheckpointName(3)
	path := filepath.Join(opts.Dir, name)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	footer := footerOf(t, files(t, opts.Dir)[format.CheckpointName(3)])
	for at := footer.BucketsAt; at < footer.BucketsAt+footer.Buckets*format.BucketLen; at += format.BucketLen {
		data[at] ^= 1
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(data, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	_, _, err = db.Get([]byte("0-3"))
	var place *format.CorruptionError
	require.ErrorAs(t, err, &place)
	require.Equal(t, name, place.File)
	require.NoError(t, db.Checkpoint(ctx))
	require.NoError(t, db.Stats().Damage)
	require.NoFileExists(t, path)
	m.check(t, db)
	require.NoError(t, db.Close())
	enginetest.CheckFiles(t, opts.Dir)
}

// TestRebuiltMustBeTheState: where the files do not lead to the state that is served, nothing is rebuilt from them, though each of
// them is intact: here the next log says that the one before it ends a frame too early.
func TestRebuiltMustBeTheState(t *testing.T) {
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts := quiet(t)
	opts.OpenDir = in.OpenDir
	db, m := twoGenerations(t, opts)
	base := filepath.Join(opts.Dir, format.CheckpointName(3))
	flip(t, base, valueAt(t, base, m, "0-3"))
	_, _, err := db.Get([]byte("0-3"))
	require.ErrorIs(t, err, engine.ErrCorrupt)

	g := hold(in, func(op mmapiotest.Op) bool { // of the rebuilding
		return op.Kind == mmapiotest.Open && op.Mode == mmapio.Read && op.Name == format.CheckpointName(2)
	})
	done := make(chan error, 1)
	go func() { done <- db.Checkpoint(ctx) }()
	<-g.come
	next := enginetest.ReadLog(t, filepath.Join(opts.Dir, format.LogName(4)))
	last := enginetest.ReadLog(t, filepath.Join(opts.Dir, format.LogName(3)))
	var frames []int64
	_, _, err = last.Frames(next.Before.End, func(f *logrecord.Frame) { frames = append(frames, f.Offset) })
	require.NoError(t, err)
	restore := forgeEnd(t, &next, filepath.Join(opts.Dir, format.LogName(4)), frames[len(frames)-1])
	close(g.open)
	require.ErrorIs(t, <-done, engine.ErrCorrupt)
	require.EqualValues(t, 3, db.Stats().Generation)
	require.Zero(t, db.Stats().Repairs)
	require.ErrorIs(t, db.Stats().Damage, engine.ErrCorrupt)

	restore()
	require.NoError(t, db.Checkpoint(ctx))
	require.EqualValues(t, 1, db.Stats().Repairs)
	m.check(t, db)
}

// forgeEnd lets a log say, with a checksum that is right, that the log before it ends elsewhere. restore takes that back.
func forgeEnd(t *testing.T, l *enginetest.Log, path string, end int64) (restore func()) {
	t.Helper()
	put := func(p format.Predecessor) {
		block := bytes.Clone(l.Data[format.BlockSize:][:format.BlockSize])
		p.Encode(block, l.ID.Salt)
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteAt(block, format.BlockSize)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	require.Less(t, end, l.Before.End)
	forged := l.Before
	forged.End = end
	put(forged)
	return func() { put(l.Before) }
}

// TestDamagedFirstCheckpoint: a creation that was cut off is made anew, but not where the first checkpoint is damaged: nobody knows whether it held keys,
// as that of a restore does.
func TestDamagedFirstCheckpoint(t *testing.T) {
	opts := quiet(t)
	opts.Dir = inMemory(t)
	db, err := engine.Open(opts)
	require.NoError(t, err)
	for i := range 100 {
		set(t, db, fmt.Sprint(i), "value")
	}
	var backup bytes.Buffer
	_, err = db.Backup(ctx, &backup)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	size, refused := backup.Len(), 0
	for _, at := range []int{0, 20, 100, format.CheckpointHeaderLen - 1, size - 1, size - format.FooterLen, size - format.FooterLen - 1} {
		data := bytes.Clone(backup.Bytes())
		data[at] ^= 4
		left := map[string][]byte{format.CheckpointName(1): data}
		restoreFiles(t, opts.Dir, left)
		_, err := engine.Open(opts)
		assert.ErrorIs(t, err, engine.ErrCorrupt, "byte %d", at)
		assert.Equal(t, data, files(t, opts.Dir)[format.CheckpointName(1)], "byte %d", at)
		refused++
	}
	t.Logf("%d damaged checkpoints of %d bytes, all left as they were", refused, size)
}
