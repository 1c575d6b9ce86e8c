package engine_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
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
	require.NoError(t, db.Checkpoint(ctx), "it is made from the log, which is well")
	_, ok, err = db.Get([]byte("k"))
	require.NoError(t, err, "and says that the key was deleted")
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

// What was due for a reader while the database was open stays due over a clean close, also if it became due while the
// database was closed.
func TestDueWhileClosedStaysDue(t *testing.T) {
	opts, clock := timed(t)
	db := enginetest.Open(t, opts)
	setUntil(t, db, "k", "v", after(1000))
	require.NoError(t, db.Close())
	clock.ns.Store(2000)
	db = enginetest.Open(t, opts)
	requireAbsent(t, db, "k")
	require.NoError(t, db.Close())
	clock.ns.Store(500)
	db = enginetest.Open(t, opts)
	requireAbsent(t, db, "k")
}

// A set that was refused while nothing was due yet did not keep the checkpointer from what became due later.
func TestRefusedBeforeAnythingIsDue(t *testing.T) {
	opts := limited(t)
	clock := new(fakeClock)
	opts.Now = clock.now
	db := enginetest.Open(t, opts)
	for i := 0; ; i++ {
		key := fmt.Appendf(nil, "key-%d", i)
		if _, err := db.SetUntil(ctx, key, bytesOf(string(key), 10_000), after(1000)); err != nil {
			require.ErrorIs(t, err, engine.ErrFull)
			break
		}
	}
	require.NoError(t, db.Checkpoint(ctx))
	large := make([]byte, 300_000)
	_, err := db.Set(ctx, []byte("new"), large)
	require.ErrorIs(t, err, engine.ErrFull)
	clock.ns.Store(1000)
	require.Zero(t, db.Stats().Keys)
	eventually(t, "room", func() bool {
		_, err := db.Set(ctx, []byte("new"), large)
		return err == nil
	})
}

// After a rotation that failed midway Close tries once more, and what is closed without an error is closed cleanly.
func TestCloseAfterAFailedRotation(t *testing.T) {
	for _, heals := range []bool{true, false} {
		opts, clock := timed(t)
		opts.Sync = engine.SyncDsync
		var broken atomic.Bool
		in := mmapiotest.NewInjector(mmapio.OpenDir, mmapiotest.Fault{ForGood: true, Err: errDisk, Match: func(op mmapiotest.Op) bool {
			return broken.Load() && op.Kind == mmapiotest.Rename
		}})
		faulty := opts
		faulty.OpenDir = in.OpenDir
		db, err := engine.Open(faulty)
		require.NoError(t, err)
		setUntil(t, db, "d", "v", after(1000))
		broken.Store(true)
		require.ErrorIs(t, db.Checkpoint(ctx), errDisk)
		require.NoError(t, db.Stats().Failure)
		clock.ns.Store(1000)
		requireAbsent(t, db, "d")
		if !heals {
			require.ErrorIs(t, db.Close(), errDisk)
			continue
		}
		broken.Store(false)
		require.NoError(t, db.Close())
		clock.ns.Store(0)
		db = enginetest.Open(t, opts)
		require.True(t, db.Stats().Recovery.Clean)
		requireAbsent(t, db, "d")
	}
}

// A backup of an epoch beyond all bounds, which only a forger can have, is refused.
func TestRestoreRefusesForgedEpoch(t *testing.T) {
	var buf bytes.Buffer
	h := format.CheckpointHeader{UUID: format.UUID{1}, Generation: 1, Salt: 7, Position: format.Start(format.UUID{1}, 1)}
	h.Position.Epoch, h.Position.Seq, h.Position.Index = math.MaxUint64-1, 1, 1
	b, err := ckpt.NewStreamBuilder(&buf, h, 1)
	require.NoError(t, err)
	require.NoError(t, b.Add(ckpt.Record{Seq: 1, Key: []byte("k"), Value: []byte("v")}))
	_, err = b.Finish([]format.EpochStart{{Epoch: math.MaxUint64 - 1, FirstSeq: 1}})
	require.NoError(t, err)
	require.ErrorIs(t, engine.Restore(engine.Options{Dir: filepath.Join(t.TempDir(), "db")}, &buf), engine.ErrNotBackup)
}

// A clock that panics once does not hang what comes after it.
func TestPanickingClock(t *testing.T) {
	var bad atomic.Bool
	opts := quiet(t)
	opts.Now = func() time.Time {
		if bad.Swap(false) {
			panic("clock")
		}
		return time.Now()
	}
	db := enginetest.Open(t, opts)
	bad.Store(true)
	require.Panics(t, func() { db.Stats() })
	require.Zero(t, db.Stats().Keys)
}

// The spare that is prepared in the background does not take the room of a log that somebody waits for.
func TestSpareYieldsToALog(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("no file system can be mounted here: %s", out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() })
	db, err := engine.Open(engine.Options{Dir: filepath.Join(dir, "db"), Create: true, DisableBackgroundCheckpoint: true})
	require.NoError(t, err)
	value := make([]byte, 100<<10)
	for i := range 200 { // 20 MB, while the spare wants 64
		_, err := db.Set(ctx, fmt.Appendf(nil, "key-%d", i), value)
		require.NoError(t, err, "set %d", i)
	}
	require.NoError(t, db.Close())
}

// A directory that has lost its version file is not called empty: whoever is told so makes a new database in it.
func TestMissingVersionIsNoMissingDatabase(t *testing.T) {
	opts := quiet(t)
	db := enginetest.Open(t, opts)
	set(t, db, "k", "v")
	require.NoError(t, db.Checkpoint(ctx))
	require.NoError(t, db.Close())
	version := filepath.Join(opts.Dir, format.VersionName)
	kept, err := os.ReadFile(version)
	require.NoError(t, err)
	require.NoError(t, os.Remove(version))
	for _, opts.Create = range []bool{false, true} {
		_, err := engine.Open(opts)
		require.ErrorIs(t, err, engine.ErrCorrupt)
		require.NotErrorIs(t, err, engine.ErrNoDatabase)
	}
	require.NoError(t, os.WriteFile(version, kept, 0o600))
}
