package engine_test

import (
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// Damage in what has come since a checkpoint was begun is not repaired by it, and not forgotten.
func TestDamageBesideACheckpoint(t *testing.T) {
	for _, background := range []bool{false, true} {
		in := mmapiotest.NewInjector(mmapio.OpenDir)
		opts := quiet(t)
		opts.DisableBackgroundCheckpoint, opts.CheckpointInterval, opts.OpenDir = !background, -1, in.OpenDir
		db, err := engine.Open(opts)
		require.NoError(t, err)
		defer db.Close()
		set(t, db, "old", "old")
		g := hold(in, func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.Rename && isCheckpoint(op.Name) })
		done := make(chan error)
		go func() { done <- db.Checkpoint(ctx) }()
		<-g.come
		m := shadow{"new": string(bytesOf("new", 500))}
		set(t, db, "new", m["new"])
		path := filepath.Join(opts.Dir, format.LogName(2))
		flip(t, path, valueAt(t, path, m, "new"))
		_, _, err = db.Get([]byte("new"))
		require.ErrorIs(t, err, engine.ErrCorrupt)
		close(g.open)
		require.NoError(t, <-done)
		if background {
			eventually(t, "the attempt to repair it", func() bool { return db.Stats().CheckpointFailure != nil })
		}
		require.ErrorIs(t, db.Stats().Damage, engine.ErrCorrupt, "nothing has replaced it")
		require.Zero(t, db.Stats().Repairs)
	}
}

// A base that a repair removes before the scrubber comes to it is not missing.
func TestScrubBesideARepair(t *testing.T) {
	var armed atomic.Bool
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts := quiet(t)
	opts.ScrubInterval, opts.OpenDir = 20*time.Millisecond, in.OpenDir
	g := hold(in, func(op mmapiotest.Op) bool {
		return armed.Load() && op.Kind == mmapiotest.Open && op.Mode == mmapio.ReadAround && op.Name == format.CheckpointName(3)
	})
	db, m := twoGenerations(t, opts)
	armed.Store(true)
	<-g.come
	path := filepath.Join(opts.Dir, format.CheckpointName(3))
	flip(t, path, valueAt(t, path, m, "0-3"))
	_, _, err := db.Get([]byte("0-3"))
	require.ErrorIs(t, err, engine.ErrCorrupt)
	require.NoError(t, db.Checkpoint(ctx))
	passes := db.Stats().Scrub.Passes
	close(g.open)
	eventually(t, "the end of the pass", func() bool { return db.Stats().Scrub.Passes > passes })
	require.NoError(t, db.Stats().Scrub.Damage)
	require.NoError(t, db.Stats().Scrub.Failure)
}

// A checkpoint that does not read back as it was written is no damage of what the state is read from: it is made again.
func TestCheckpointThatDoesNotReadBack(t *testing.T) {
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts := quiet(t)
	opts.OpenDir = in.OpenDir
	db, m := twoGenerations(t, opts)
	builds := 0
	in.Add(mmapiotest.Fault{Match: func(op mmapiotest.Op) bool {
		return op.Kind == mmapiotest.Open && op.Mode == mmapio.ReadAround && isCheckpoint(op.Name)
	}, ForGood: true, Before: func(op mmapiotest.Op) {
		builds++
		flip(t, filepath.Join(opts.Dir, op.Name), 5000)
	}})
	require.ErrorContains(t, db.Checkpoint(ctx), "does not read back")
	require.Equal(t, 1, builds)
	require.NoError(t, db.Stats().Damage)
	in.Clear()
	require.NoError(t, db.Checkpoint(ctx))
	require.Zero(t, db.Stats().Repairs)
	m.check(t, db)
}

// A repair that cannot succeed reads the kept checkpoint once, and writes nothing for it.
func TestHopelessRepair(t *testing.T) {
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts := quiet(t)
	opts.OpenDir = in.OpenDir
	db, m := twoGenerations(t, opts)
	for _, n := range []uint64{2, 3} {
		path := filepath.Join(opts.Dir, format.CheckpointName(n))
		flip(t, path, valueAt(t, path, m, "0-3"))
	}
	_, _, err := db.Get([]byte("0-3"))
	require.ErrorIs(t, err, engine.ErrCorrupt)
	kept, begun := 0, 0
	in.Add(mmapiotest.Fault{Match: func(op mmapiotest.Op) bool {
		switch {
		case op.Kind == mmapiotest.Open && op.Name == format.CheckpointName(2):
			kept++
		case op.Kind == mmapiotest.Create && isCheckpoint(op.Name):
			begun++
		}
		return false
	}})
	require.ErrorIs(t, db.Checkpoint(ctx), engine.ErrCorrupt)
	require.Equal(t, 1, kept)
	require.Equal(t, 1, begun, "from the base: perhaps the damage is in what a merge does not read")
}

// Of several damages that a pass finds, none is forgotten: a base that is damaged in an index is not kept for the next repair because
// version was damaged as well.
func TestScrubFindsSeveral(t *testing.T) {
	opts := quiet(t)
	opts.ScrubInterval = time.Hour
	db, m := twoGenerations(t, opts)
	require.NoError(t, db.Close())
	path := filepath.Join(opts.Dir, format.CheckpointName(3))
	data := files(t, opts.Dir)[format.CheckpointName(3)]
	index := int64(footerOf(t, data).BucketsAt) // which a merge does not read
	opts.DisableBackgroundCheckpoint, opts.CheckpointInterval, opts.ScrubInterval = false, -1, 50*time.Millisecond
	db, err := engine.Open(opts)
	require.NoError(t, err)
	defer db.Close()
	flip(t, filepath.Join(opts.Dir, format.VersionName), 0)
	flip(t, path, index)
	eventually(t, "the repair", func() bool {
		s := db.Stats()
		return s.Generation > 3 && s.Scrub.Damage == nil && s.Damage == nil
	})
	require.NoError(t, passes(t, db).Damage)
	require.NoFileExists(t, path)
	m.check(t, db)
}

// What a slow pass finds is told and repaired before it ends.
func TestSlowScrubTellsAtOnce(t *testing.T) {
	opts := quiet(t)
	opts.ScrubInterval = -1
	db, m := twoGenerations(t, opts)
	require.NoError(t, db.Close())
	path := filepath.Join(opts.Dir, format.CheckpointName(3))
	flip(t, path, valueAt(t, path, m, "0-3"))
	opts.DisableBackgroundCheckpoint, opts.CheckpointInterval = false, -1
	opts.ScrubInterval, opts.ScrubBytesPerSecond = time.Millisecond, 40_000
	db, err := engine.Open(opts)
	require.NoError(t, err)
	eventually(t, "the repair", func() bool { return db.Stats().Repairs == 1 })
	require.NoError(t, db.Close())
}

// A pointer that is rebuilt names a previous checkpoint only if that is intact.
func TestRebuiltPointerNamesAnIntactPrevious(t *testing.T) {
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts := quiet(t)
	opts.OpenDir = in.OpenDir
	db, m := twoGenerations(t, opts)
	path := filepath.Join(opts.Dir, format.CheckpointName(3))
	flip(t, path, valueAt(t, path, m, "0-3"))
	_, _, err := db.Get([]byte("0-3"))
	require.ErrorIs(t, err, engine.ErrCorrupt)
	in.Add(mmapiotest.Fault{Match: func(op mmapiotest.Op) bool {
		return op.Kind == mmapiotest.Remove && op.Name == format.CheckpointName(3)
	}, ForGood: true, Err: syscall.EIO}) // as after a crash before it was removed
	require.NoError(t, db.Checkpoint(ctx))
	require.NoError(t, db.Close())
	in.Clear()
	flip(t, filepath.Join(opts.Dir, format.VersionName), 0)
	db, err = engine.Open(opts)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	require.FileExists(t, filepath.Join(opts.Dir, format.CheckpointName(2)))
	require.NoFileExists(t, path)
}

// A checkpoint that is due at the open may be done before Open returns: the race detector looks on.
func TestCheckpointDueAtOpen(t *testing.T) {
	opts := quiet(t)
	db, err := engine.Open(opts)
	require.NoError(t, err)
	for i := range 10 {
		set(t, db, string(bytesOf("k", 10+i)), "v")
	}
	require.NoError(t, db.Close())
	opts.DisableBackgroundCheckpoint, opts.CheckpointUpdates, opts.ScrubInterval = false, 1, -1
	db, err = engine.Open(opts)
	require.NoError(t, err)
	time.Sleep(20 * time.Millisecond) // looks at nothing that orders the two
	require.NoError(t, db.Close())
}

// A repair whose reads of the kept checkpoint fail fails definitely, poisons nothing, and succeeds once the disk does.
func TestRepairOnABadDisk(t *testing.T) {
	for _, kind := range []mmapiotest.Kind{mmapiotest.Open, mmapiotest.Size, mmapiotest.ReadAt, mmapiotest.CloseFile} {
		in := mmapiotest.NewInjector(mmapio.OpenDir)
		opts := quiet(t)
		opts.OpenDir = in.OpenDir
		db, m := twoGenerations(t, opts)
		path := filepath.Join(opts.Dir, format.CheckpointName(3))
		flip(t, path, valueAt(t, path, m, "0-3"))
		_, _, err := db.Get([]byte("0-3"))
		require.ErrorIs(t, err, engine.ErrCorrupt)
		in.Add(mmapiotest.Fault{Match: func(op mmapiotest.Op) bool {
			return op.Kind == kind && op.Mode == mmapio.ReadAround && op.Name == format.CheckpointName(2)
		}, ForGood: true, Err: syscall.EIO, After: kind == mmapiotest.CloseFile})
		err = db.Checkpoint(ctx)
		require.Positive(t, in.Hits(), kind)
		if kind != mmapiotest.CloseFile { // of a file that was only read
			require.ErrorIs(t, err, engine.ErrCorrupt, kind)
			require.NoError(t, db.Stats().Failure)
			require.Zero(t, db.Stats().Repairs)
			set(t, db, "more", "more")
			m["more"] = "more"
			in.Clear()
			err = db.Checkpoint(ctx)
		}
		require.NoError(t, err, kind)
		require.EqualValues(t, 1, db.Stats().Repairs)
		m.check(t, db)
	}
}
