package engine_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// Each test here stands for a defect that was found once.

// A record that could not be read while its key was written again left two slots for the key, and the older one won.
func TestKeyWrittenWhileItsRecordMisreads(t *testing.T) {
	opts := quiet(t)
	db, err := engine.Open(opts)
	require.NoError(t, err)
	defer db.Close()
	set(t, db, "k", "first-value")
	path := filepath.Join(opts.Dir, "logfile.1")
	at := int64(bytes.Index(files(t, opts.Dir)["logfile.1"], []byte("first-value")))
	flip(t, path, at) // a bad read of the page
	_, err = db.Delete(ctx, []byte("k"))
	require.NoError(t, err)
	flip(t, path, at) // and a good one
	_, ok, err := db.Get([]byte("k"))
	require.ErrorIs(t, err, engine.ErrCorrupt)
	require.False(t, ok)
	require.ErrorIs(t, db.Checkpoint(ctx), engine.ErrCorrupt)
	require.NoError(t, db.Close())
	db, err = engine.Open(opts)
	require.NoError(t, err)
	defer db.Close()
	_, ok, err = db.Get([]byte("k"))
	require.NoError(t, err, "the log is well, and says that the key was deleted")
	require.False(t, ok)
}

// A switch that failed after its commit point was done again with another checkpoint under the name that version named already.
func TestPublishedCheckpointIsNotMadeAgain(t *testing.T) {
	rec := mmapiotest.NewRecorder()
	in := mmapiotest.NewInjector(rec.OpenDir)
	opts := quiet(t)
	opts.OpenDir = in.OpenDir
	db, err := engine.Open(opts)
	require.NoError(t, err)
	set(t, db, "k", "v")
	renamed := false
	in.Add(mmapiotest.Fault{Err: syscall.EIO, Match: func(o mmapiotest.Op) bool {
		renamed = renamed || o.Kind == mmapiotest.Rename && o.NewName == format.VersionName
		return renamed && o.Kind == mmapiotest.SyncDir
	}})
	require.ErrorIs(t, db.Checkpoint(ctx), syscall.EIO)
	in.Clear()
	in.Add(mmapiotest.Fault{Err: syscall.EIO, ForGood: true, Match: func(o mmapiotest.Op) bool {
		return o.Kind == mmapiotest.Create && o.Name == format.NewVersionName
	}})
	require.ErrorIs(t, db.Checkpoint(ctx), syscall.EIO)
	killed := files(t, opts.Dir)
	rec.Kill()
	require.Error(t, db.Close())

	opts = quiet(t)
	restoreFiles(t, opts.Dir, killed)
	db, err = engine.Open(opts)
	require.NoError(t, err)
	defer db.Close()
	require.Empty(t, db.Stats().Recovery.Repaired, "a crash is no damage")
}

// What was written without syncs stayed so under what a later open wrote durably.
func TestDurableWritesAfterSyncNone(t *testing.T) {
	rec := mmapiotest.NewRecorder()
	opts := quiet(t)
	opts.OpenDir, opts.Sync = rec.OpenDir, engine.SyncNone
	db, err := engine.Open(opts)
	require.NoError(t, err)
	for i := range 20 { // over two logs
		set(t, db, fmt.Sprint("cache", i), string(make([]byte, 8<<10)))
	}
	require.NoError(t, db.Close())
	opts.Sync = engine.SyncDsync
	db, err = engine.Open(opts)
	require.NoError(t, err)
	set(t, db, "b", "durable")
	trace := rec.Trace()
	require.NoError(t, db.Close())

	opts = quiet(t)
	require.NoError(t, trace.Crash(mmapiotest.Cut{Op: len(trace)}, mmapiotest.SyncedOnly, 1).WriteTo(opts.Dir))
	db, err = engine.Open(opts)
	require.NoError(t, err)
	defer db.Close()
	requireValue(t, db, "b", "durable")
}

// A log that a reader of a closed DB still looked at was recycled by the next DB of the process.
func TestReaderOfAClosedDBKeepsItsLog(t *testing.T) {
	opts := quiet(t)
	db, err := engine.Open(opts)
	require.NoError(t, err)
	want := bytes.Repeat([]byte("v"), 3000)
	set(t, db, "k", string(want))
	_, err = db.View([]byte("k"), func(value []byte) error {
		require.NoError(t, db.Close())
		next, err := engine.Open(opts)
		require.NoError(t, err)
		defer next.Close()
		for i := range 100 {
			set(t, next, fmt.Sprint("x", i%7), string(bytes.Repeat([]byte{byte('a' + i%20)}, 3000)))
			if i%8 == 0 {
				require.NoError(t, next.Checkpoint(ctx))
			}
			require.Equal(t, want, value)
		}
		return nil
	})
	require.NoError(t, err)
}

// A database in a relative directory went on in another one after a change of the working directory.
func TestWorkingDirectoryChanges(t *testing.T) {
	root, other := t.TempDir(), t.TempDir()
	t.Chdir(root)
	opts := quiet(t)
	opts.Dir = "db"
	db, err := engine.Open(opts)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(other, "db"), 0o700))
	t.Chdir(other)
	const keys = 40 // more than a log holds
	for i := range keys {
		set(t, db, fmt.Sprint(i), string(make([]byte, 3000)))
	}
	require.NoError(t, db.Close())
	require.Empty(t, files(t, filepath.Join(other, "db")))
	opts.Dir = filepath.Join(root, "db")
	db, err = engine.Open(opts)
	require.NoError(t, err)
	defer db.Close()
	require.EqualValues(t, keys, db.Stats().Keys)
}

// The epoch of a cut that no frame had followed was missing from the next checkpoint.
func TestEpochOfACutIsKept(t *testing.T) {
	opts := quiet(t)
	db, err := engine.Open(opts)
	require.NoError(t, err)
	set(t, db, "a", "1")
	killed := files(t, opts.Dir)
	require.NoError(t, db.Close())
	restoreFiles(t, opts.Dir, killed)
	db, err = engine.Open(opts) // cuts
	require.NoError(t, err)
	db = again(t, db, opts)
	defer db.Close()
	v := set(t, db, "b", "2")
	require.EqualValues(t, 2, v.Epoch)
	require.NoError(t, db.Checkpoint(ctx))
	dir, err := mmapio.OpenDir(opts.Dir, false)
	require.NoError(t, err)
	defer dir.Close()
	f, err := dir.Open(format.CheckpointName(db.Stats().Generation), mmapio.Read)
	require.NoError(t, err)
	defer f.Close()
	r, err := ckpt.Open(f)
	require.NoError(t, err)
	require.Equal(t, []format.EpochStart{{Epoch: 1, FirstSeq: 1}, {Epoch: 2, FirstSeq: 2}}, r.Epochs())
}

// An open that was refused had completed a switch before.
func TestRefusedOpenChangesNothing(t *testing.T) {
	opts := quiet(t)
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts.OpenDir = in.OpenDir
	db, err := engine.Open(opts)
	require.NoError(t, err)
	set(t, db, "a", "1")
	in.Add(mmapiotest.Fault{Err: syscall.EIO, Match: func(o mmapiotest.Op) bool {
		return o.Kind == mmapiotest.Rename && o.NewName == format.VersionName
	}})
	require.ErrorIs(t, db.Checkpoint(ctx), syscall.EIO)
	set(t, db, "b", "2")
	require.NoError(t, db.Close())
	flip(t, filepath.Join(opts.Dir, "logfile.2"), format.LogHeaderSize+100)
	before := files(t, opts.Dir)
	_, err = engine.Open(opts)
	require.ErrorIs(t, err, engine.ErrCorrupt)
	after := files(t, opts.Dir)
	delete(before, format.LockName)
	delete(after, format.LockName)
	require.Equal(t, before, after)
}

// An intact last frame that this release does not understand was dropped as a torn one.
func TestIntactFrameIsNotTorn(t *testing.T) {
	for _, what := range []string{"kind of frame", "kind of record"} {
		opts := quiet(t)
		db, err := engine.Open(opts)
		require.NoError(t, err)
		set(t, db, "a", "1")
		killed := files(t, opts.Dir)
		require.NoError(t, db.Close())
		restoreFiles(t, opts.Dir, killed)
		path := filepath.Join(opts.Dir, "logfile.1")
		l := enginetest.ReadLog(t, path)
		const frame, payload = format.LogHeaderSize, format.LogHeaderSize + format.FrameHeaderLen
		h, err := format.DecodeFrameHeader(l.Data[frame:], l.ID.Salt, frame)
		require.NoError(t, err)
		if what == "kind of frame" {
			h.Kind = 5
		} else {
			p := l.Data[payload : payload+int(h.Length)]
			out, _ := format.AppendRecord(nil, &format.Record{Kind: 3, Seq: 1, Key: []byte("a"), Value: []byte("1")}, l.ID.Salt, payload)
			copy(p, out)
			h.PayloadSum = format.Sum(p, l.ID.Salt, payload)
		}
		h.Encode(l.Data[frame:], l.ID.Salt, frame)
		require.NoError(t, os.WriteFile(path, l.Data, 0o600))
		_, err = engine.Open(opts)
		require.ErrorIs(t, err, engine.ErrCorrupt, what)
	}
}

// A panic in the clock left the pipeline held: every later write hung, and so did Close.
func TestPanicInACommit(t *testing.T) {
	opts := quiet(t)
	panics := false
	opts.Now = func() time.Time {
		if panics {
			panics = false
			panic("clock")
		}
		return time.Now()
	}
	db, err := engine.Open(opts)
	require.NoError(t, err)
	panics = true
	require.Panics(t, func() { _, _ = db.Set(ctx, []byte("a"), nil) })
	_, err = db.Set(ctx, []byte("b"), nil)
	require.ErrorIs(t, err, engine.ErrPoisoned)
	require.ErrorIs(t, db.Close(), engine.ErrPoisoned)
}
