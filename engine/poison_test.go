package engine_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
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

// toTheLog says whether a call writes a frame or a trailer to the live log or syncs it: what poisons when it fails. What
// prepares a log before it is live is none of it.
func toTheLog(op mmapiotest.Op) bool {
	switch op.Kind {
	case mmapiotest.WriteAt, mmapiotest.Flush, mmapiotest.Sync:
		return strings.Contains(op.Site.Func, "(*liveLog).write") || strings.Contains(op.Site.Func, "(*DB).rotate")
	}
	return false
}

// A write or a sync of the live log that fails: its group does not know, nobody is acknowledged any more, reads go on, nothing more
// is written, and what was acknowledged is there when it is opened again.
func TestPoison(t *testing.T) {
	for _, c := range []struct {
		name  string
		sync  engine.SyncMode
		kind  mmapiotest.Kind
		short bool
		value int
	}{
		{"dsync, write", engine.SyncDsync, mmapiotest.WriteAt, false, 100},
		{"dsync, half a write", engine.SyncDsync, mmapiotest.WriteAt, true, 9000},
		{"dsync, write of a large group", engine.SyncDsync, mmapiotest.WriteAt, false, 1 << 20},
		{"data, write", engine.SyncData, mmapiotest.WriteAt, false, 100},
		{"data, half a write", engine.SyncData, mmapiotest.WriteAt, true, 9000},
		{"data, sync", engine.SyncData, mmapiotest.Sync, false, 100},
		{"data, sync of a large group", engine.SyncData, mmapiotest.Sync, false, 1 << 20},
		{"data, flush of a large group", engine.SyncData, mmapiotest.Flush, false, 1 << 20},
		{"none, write", engine.SyncNone, mmapiotest.WriteAt, false, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			eio := errors.New("input/output error")
			in := mmapiotest.NewInjector(mmapio.OpenDir)
			opts := quiet(t)
			opts.Sync, opts.LogFileBytes, opts.OpenDir = c.sync, 8<<20, in.OpenDir
			db := enginetest.Open(t, opts)
			m := shadow{}
			put := func(k string, n int) { m[k] = string(bytesOf(k, n)); set(t, db, k, m[k]) }
			put("base", 2<<20) // leaves the small first log
			require.NoError(t, db.Checkpoint(ctx))
			put("delta", 2<<20) // and makes the next one live
			put("small", 10)

			in.Add(mmapiotest.Fault{Match: func(op mmapiotest.Op) bool { return toTheLog(op) && op.Kind == c.kind }, Nth: 3, Err: eio, Short: c.short})
			var mu sync.Mutex
			var writers sync.WaitGroup
			unknown := map[string]string{}
			never := map[string]bool{}
			for w := range 8 {
				writers.Go(func() {
					for i := range 1000 { // it fails long before
						k := fmt.Sprintf("%d-%d", w, i)
						v := string(bytesOf(k, c.value))
						_, err := db.Set(ctx, []byte(k), []byte(v))
						mu.Lock()
						switch {
						case err == nil:
							m[k] = v
						case errors.Is(err, engine.ErrIndeterminate):
							assert.ErrorIs(t, err, eio)
							assert.NotErrorIs(t, err, engine.ErrPoisoned)
							unknown[k] = v
						default:
							assert.ErrorIs(t, err, engine.ErrPoisoned)
							assert.ErrorIs(t, err, eio)
							never[k] = true
						}
						mu.Unlock()
						if err != nil {
							return
						}
					}
				})
			}
			writers.Wait()
			require.NotEmpty(t, unknown)
			require.Len(t, never, 8-len(unknown))

			written := 0
			in.Add(mmapiotest.Fault{Match: toTheLog, ForGood: true, Before: func(mmapiotest.Op) { written++ }})
			check := func(db *engine.DB) {
				for k, v := range m {
					requireValue(t, db, k, v)
				}
				for k := range never {
					requireAbsent(t, db, k)
				}
			}
			check(db)
			for k := range unknown {
				requireAbsent(t, db, k) // what is not known durable is not visible
			}
			for range 3 {
				_, err := db.Set(ctx, []byte("k"), nil)
				require.ErrorIs(t, err, engine.ErrPoisoned)
				require.NotErrorIs(t, err, engine.ErrIndeterminate)
				var b engine.Batch
				b.Set([]byte("k"), nil)
				_, err = db.Apply(ctx, &b)
				require.ErrorIs(t, err, engine.ErrPoisoned)
				require.ErrorIs(t, db.Checkpoint(ctx), engine.ErrPoisoned)
				require.ErrorIs(t, db.Stats().Failure, eio)
			}
			require.ErrorIs(t, db.Close(), engine.ErrPoisoned)
			require.ErrorIs(t, db.Close(), engine.ErrPoisoned, "twice")
			require.Zero(t, written, "calls to the log after its failure")

			opts.OpenDir = nil
			db = enginetest.Open(t, opts)
			require.False(t, db.Stats().Recovery.Clean)
			check(db)
			for k, v := range unknown {
				got, ok, err := db.Get([]byte(k))
				require.NoError(t, err)
				require.True(t, !ok || string(got) == v, "there or not, but whole")
			}
			put("again", 100)
			check(db)
		})
	}
}

// A poisoned database that has a checkpoint to make, or an attempt that failed, is idle.
func TestPoisonedIsIdle(t *testing.T) {
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts := quiet(t)
	opts.DisableBackgroundCheckpoint, opts.CheckpointInterval, opts.OpenDir = false, 20*time.Millisecond, in.OpenDir
	db := enginetest.Open(t, opts)
	in.Add(mmapiotest.Fault{Match: func(op mmapiotest.Op) bool { return strings.HasSuffix(op.Name, ".tmp") && op.Kind == mmapiotest.Create }, ForGood: true, Err: syscall.EIO})
	set(t, db, "k", "v")
	eventually(t, "a checkpoint that fails", func() bool { return db.Stats().CheckpointFailure != nil })
	in.Add(mmapiotest.Fault{Match: toTheLog, Err: syscall.EIO})
	_, err := db.Set(ctx, []byte("k"), nil)
	require.ErrorIs(t, err, engine.ErrIndeterminate)
	requireIdle(t, "poisoned")
}

// requireIdle checks that the process uses next to no processor time while nobody asks for anything.
func requireIdle(t *testing.T, what string) {
	t.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	time.Sleep(200 * time.Millisecond) // past every deadline that may be set
	before := used()
	time.Sleep(400 * time.Millisecond)
	require.Less(t, used()-before, 200*time.Millisecond, "%s: a goroutine spins", what)
}

// A rotation that fails for a checkpoint is tried again by itself, and in between nothing spins.
func TestCheckpointThatCannotBegin(t *testing.T) {
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts := quiet(t)
	opts.DisableBackgroundCheckpoint, opts.CheckpointInterval, opts.OpenDir = false, -1, in.OpenDir
	db := enginetest.Open(t, opts)
	set(t, db, "k", "v")
	newLog := func(op mmapiotest.Op) bool {
		return op.Kind == mmapiotest.Rename && strings.HasPrefix(op.NewName, "logfile.")
	}
	in.Add(mmapiotest.Fault{Match: newLog, ForGood: true, Err: syscall.EIO})
	require.ErrorIs(t, db.Checkpoint(ctx), syscall.EIO)
	require.ErrorIs(t, db.Stats().CheckpointFailure, syscall.EIO)
	requireIdle(t, "waiting for the next attempt")
	in.Clear()
	eventually(t, "the next attempt", func() bool { return db.Stats().Checkpoints == 1 })
	require.NoError(t, db.Stats().CheckpointFailure)
	requireValue(t, db, "k", "v")
}

// afterAKill opens what a kill would leave behind now, in another directory.
func afterAKill(t *testing.T, opts engine.Options, m shadow) {
	t.Helper()
	left := files(t, opts.Dir)
	opts.Dir, opts.OpenDir = inMemory(t), nil
	restoreFiles(t, opts.Dir, left)
	db, err := engine.Open(opts)
	require.NoError(t, err)
	m.check(t, db)
	require.NoError(t, db.Close())
}

// A checkpoint that failed keeps what it froze, and is made for the same generation once the fault ends; until then reads see through
// all the layers.
func TestFailedCheckpointIsRetried(t *testing.T) {
	for _, background := range []bool{false, true} {
		for name, match := range map[string]func(op mmapiotest.Op) bool{
			"create":         func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.Create && isCheckpoint(op.Name) },
			"write":          func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.WriteAt && isCheckpoint(op.Name) },
			"sync":           func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.Sync && isCheckpoint(op.Name) },
			"verify":         func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.ReadAt && isCheckpoint(op.Name) },
			"rename":         func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.Rename && isCheckpoint(op.Name) },
			"open":           func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.Open && isCheckpoint(op.Name) },
			"publish":        func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.WriteAt && op.Name == format.NewVersionName },
			"publish rename": func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.Rename && op.NewName == format.VersionName },
		} {
			t.Run(fmt.Sprintf("%s/background=%t", name, background), func(t *testing.T) {
				if background && !long && name != "write" && name != "publish" {
					return // each waits for its next attempt
				}
				in := mmapiotest.NewInjector(mmapio.OpenDir)
				opts := quiet(t)
				opts.OpenDir = in.OpenDir
				opts.DisableBackgroundCheckpoint, opts.CheckpointUpdates = !background, 30
				db := enginetest.Open(t, opts)
				m := shadow{}
				put := func(k, v string) { m[k] = v; set(t, db, k, v) }
				remove := func(k string) {
					_, err := db.Delete(ctx, []byte(k))
					require.NoError(t, err)
					delete(m, k)
				}
				for i := range 10 {
					put(fmt.Sprintf("base-%d", i), "base")
				}
				require.NoError(t, db.Checkpoint(ctx))
				old := db.Stats().Generation
				in.Add(mmapiotest.Fault{Match: match, ForGood: true, Err: syscall.EIO})
				for i := range 40 {
					put(fmt.Sprintf("frozen-%d", i), "frozen")
				}
				put("base-1", "frozen")
				remove("base-2")
				remove("base-3")
				require.ErrorIs(t, db.Checkpoint(ctx), syscall.EIO)
				put("base-4", "delta")
				put("base-3", "delta")
				put("frozen-1", "delta")
				remove("frozen-2")
				remove("base-5")
				remove("base-1")
				for range 2 {
					m.check(t, db, "base-1", "base-2", "base-5", "frozen-2")
					require.ErrorIs(t, db.Checkpoint(ctx), syscall.EIO)
					require.Equal(t, old, db.Stats().Generation)
				}
				require.NoError(t, db.Stats().Failure)
				afterAKill(t, opts, m)
				in.Clear()
				if background {
					eventually(t, "the retry", func() bool { return db.Stats().CheckpointFailure == nil })
					require.Greater(t, db.Stats().Generation, old)
				}
				require.NoError(t, db.Checkpoint(ctx))
				m.check(t, db, "base-1", "base-2", "base-5", "frozen-2")
				left := files(t, opts.Dir)
				for name := range left {
					require.True(t, name == format.SpareName+format.TempSuffix || !strings.HasSuffix(name, format.TempSuffix), name)
				}
			})
		}
	}
}

// A rotation that fails once the next log may have its name has ended the log before it: nothing goes there any more, though there is
// room, and neither a kill nor a close loses what is written next.
func TestRotationThatFailsMidway(t *testing.T) {
	for name, match := range map[string]func(op mmapiotest.Op) bool{
		"directory sync": func(op mmapiotest.Op) bool {
			return op.Kind == mmapiotest.SyncDir && strings.Contains(op.Site.Func, "baptise")
		},
		"open": func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.Open && op.Mode == mmapio.WriteDurable },
	} {
		for _, write := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/write=%t", name, write), func(t *testing.T) {
				in := mmapiotest.NewInjector(mmapio.OpenDir)
				opts := quiet(t)
				opts.OpenDir = in.OpenDir
				db, err := engine.Open(opts)
				require.NoError(t, err)
				defer db.Close()
				m := shadow{"before": "v"}
				set(t, db, "before", "v")
				in.Add(mmapiotest.Fault{Match: match, ForGood: true, Err: syscall.EIO})
				for range 2 {
					require.ErrorIs(t, db.Checkpoint(ctx), syscall.EIO)
					_, err := db.Set(ctx, []byte("refused"), nil)
					require.ErrorIs(t, err, syscall.EIO, "it may not be written to the log that has ended")
					require.NotErrorIs(t, err, engine.ErrIndeterminate)
				}
				require.FileExists(t, filepath.Join(opts.Dir, format.LogName(2)), "it failed midway")
				afterAKill(t, opts, m)
				in.Clear()
				if write {
					m["after"] = "v"
					set(t, db, "after", "v")
					afterAKill(t, opts, m)
				}
				require.NoError(t, db.Close())
				opts.OpenDir = nil
				m.check(t, enginetest.Open(t, opts), "refused")
			})
		}
	}
}

func isCheckpoint(name string) bool {
	ok, _ := filepath.Match("checkpoint.*.tmp", name)
	return ok
}

// The generation of a checkpoint that failed is that of the log that was begun for it, and the retry has the same.
func TestRetryHasTheSameGeneration(t *testing.T) {
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts := quiet(t)
	opts.OpenDir = in.OpenDir
	db := enginetest.Open(t, opts)
	set(t, db, "k", "v")
	in.Add(mmapiotest.Fault{Match: func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.Create && isCheckpoint(op.Name) }, ForGood: true, Err: syscall.EIO})
	for range 4 {
		require.ErrorIs(t, db.Checkpoint(ctx), syscall.EIO)
	}
	in.Clear()
	require.NoError(t, db.Checkpoint(ctx))
	assert.EqualValues(t, 2, db.Stats().Generation)
	assert.EqualValues(t, 1, db.Stats().Checkpoints)
}

// A context that ends while the log is being written: the outcome is unknown, and in time it is there.
func TestContextEndsDuringTheWrite(t *testing.T) {
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts := quiet(t)
	opts.OpenDir = in.OpenDir
	db := enginetest.Open(t, opts)
	set(t, db, "k", "v")
	g := hold(in, toTheLog)
	first := make(chan error, 1)
	go func() { _, err := db.Set(ctx, []byte("first"), []byte("v")); first <- err }()
	<-g.come
	c, cancel := context.WithCancel(ctx)
	second := make(chan error, 1)
	go func() { _, err := db.Set(c, []byte("second"), []byte("v")); second <- err }()
	cancel()
	require.ErrorIs(t, <-second, context.Canceled, "it never waits for the disk")
	close(g.open)
	require.NoError(t, <-first)
	requireValue(t, db, "first", "v")
}
