package engine_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
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
