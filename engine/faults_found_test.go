package engine_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// A poisoned database that has a checkpoint to make since an attempt failed writes nothing when it is asked for it.
func TestPoisonedBeginsNoCheckpoint(t *testing.T) {
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts := quiet(t)
	opts.OpenDir = in.OpenDir
	db := enginetest.Open(t, opts)
	set(t, db, "k", "v")
	in.Add(mmapiotest.Fault{Match: func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.Create && isCheckpoint(op.Name) }, Err: syscall.EIO})
	require.ErrorIs(t, db.Checkpoint(ctx), syscall.EIO)
	eventually(t, "the spare", func() bool { _, err := os.Stat(filepath.Join(opts.Dir, format.SpareName)); return err == nil })
	in.Add(mmapiotest.Fault{Match: toTheLog, Err: syscall.EIO})
	_, err := db.Set(ctx, []byte("k"), nil)
	require.ErrorIs(t, err, engine.ErrIndeterminate)

	before := in.Calls()
	require.ErrorIs(t, db.Checkpoint(ctx), engine.ErrPoisoned)
	require.Equal(t, before, in.Calls(), "calls that write")
}

// What a creation left that was not finished, and cannot be read, is not called damaged.
func TestUnfinishedCreationThatCannotBeRead(t *testing.T) {
	rec := mmapiotest.NewRecorder()
	opts := quiet(t)
	opts.OpenDir = rec.OpenDir
	rec.KillAtNextWrite(func(op mmapiotest.Op) bool { return op.Name == format.NewVersionName })
	_, err := engine.Open(opts)
	require.ErrorIs(t, err, mmapiotest.ErrKilled)
	require.NoError(t, os.Remove(filepath.Join(opts.Dir, format.NewVersionName)))

	in := mmapiotest.NewInjector(mmapio.OpenDir, mmapiotest.Fault{
		Match: func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.ReadAt && op.Off >= format.LogHeaderSize }, Err: syscall.EIO,
	})
	opts.OpenDir = in.OpenDir
	_, err = engine.Open(opts)
	require.Equal(t, 1, in.Hits())
	require.ErrorIs(t, err, syscall.EIO)
	require.NotErrorIs(t, err, engine.ErrCorrupt)
	require.True(t, enginetest.Open(t, opts).Stats().Recovery.Created)
}
