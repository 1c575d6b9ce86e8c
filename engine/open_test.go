package engine_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// requireUntouched checks that a directory holds what it held, but for the lock.
func requireUntouched(t testing.TB, dir string, before map[string][]byte) {
	t.Helper()
	after := files(t, dir)
	delete(after, format.LockName)
	for name, data := range before {
		if name != format.LockName {
			require.True(t, string(data) == string(after[name]), "%s was changed: %d bytes, then %d", name, len(data), len(after[name]))
			delete(after, name)
		}
	}
	require.Empty(t, slices.Collect(maps.Keys(after)))
}

func TestOpenWithoutADatabase(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "data")
	_, err := engine.Open(engine.Options{Dir: missing})
	require.ErrorIs(t, err, engine.ErrNoDatabase)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, missing)
	require.ErrorContains(t, err, "Options.Create (-create)")
	require.NoDirExists(t, missing)

	empty := t.TempDir()
	_, err = engine.Open(engine.Options{Dir: empty})
	require.ErrorIs(t, err, engine.ErrNoDatabase)
	require.ErrorContains(t, err, empty)
	require.Empty(t, files(t, empty))

	_, err = engine.Open(engine.Options{Dir: filepath.Join(missing, "deeper"), Create: true})
	require.ErrorIs(t, err, fs.ErrNotExist, "only the directory itself is made")

	db := enginetest.Open(t, engine.Options{Dir: missing, Create: true})
	assert.True(t, db.Stats().Recovery.Created)
	info, err := os.Stat(missing)
	require.NoError(t, err)
	assert.Equal(t, fs.ModeDir|0o700, info.Mode())
}

func TestOpenAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	for _, create := range []bool{false, true} {
		_, err := engine.Open(engine.Options{Dir: file, Create: create})
		require.ErrorIs(t, err, syscall.ENOTDIR)
		require.ErrorContains(t, err, file)
	}
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "mine", string(data))
}

func TestOpenAmongForeignFiles(t *testing.T) {
	for _, name := range []string{"photo.jpg", ".hidden", "logfile", "logfile.01", "logfile.x", "checkpoint.", "version.bak", "checkpoint.x.tmp", "other.tmp"} {
		t.Run(name, func(t *testing.T) {
			opts := quiet(t)
			require.NoError(t, os.WriteFile(filepath.Join(opts.Dir, name), []byte("mine"), 0o600))
			_, err := engine.Open(opts)
			require.ErrorIs(t, err, engine.ErrNotEmpty)
			require.ErrorContains(t, err, name)
			opts.Create = false
			_, err = engine.Open(opts)
			require.ErrorIs(t, err, engine.ErrNoDatabase)
			require.Equal(t, map[string][]byte{name: []byte("mine")}, files(t, opts.Dir))
		})
	}
	opts := quiet(t)
	require.NoError(t, os.Mkdir(filepath.Join(opts.Dir, "lost+found"), 0o700))
	db, err := engine.Open(opts)
	require.NoError(t, err, "the root of a file system")
	require.NoError(t, db.Close())
	require.NoError(t, os.WriteFile(filepath.Join(opts.Dir, "notes"), []byte("mine"), 0o600))
	db, err = engine.Open(opts)
	require.NoError(t, err, "a file that came later is left alone")
	set(t, db, "k", "v")
	require.NoError(t, db.Checkpoint(ctx))
	require.NoError(t, db.Checkpoint(ctx))
	require.NoError(t, db.Close())
	require.FileExists(t, filepath.Join(opts.Dir, "notes"))
}

func TestOpenTwice(t *testing.T) {
	opts := quiet(t)
	db := enginetest.Open(t, opts)
	for _, create := range []bool{true, false} {
		opts.Create = create
		_, err := engine.Open(opts)
		require.ErrorIs(t, err, engine.ErrLocked)
		require.ErrorContains(t, err, fmt.Sprintf("pid %d", os.Getpid()))
		require.ErrorContains(t, err, opts.Dir)
	}
	set(t, db, "k", "v")
}

// Without its version file, a directory with a history is refused and kept as it is: by no option is a new database made over it.
func TestOpenWithoutVersion(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		build  func(t *testing.T, db *engine.DB)
	}{
		{name: "generation 1, one frame", build: func(t *testing.T, db *engine.DB) { set(t, db, "k", "v") }},
		{name: "generation 1, no frame", build: func(*testing.T, *engine.DB) {}},
		{name: "generation 1, first block of the log damaged", build: func(t *testing.T, db *engine.DB) { set(t, db, "k", "v") },
			damage: func(t *testing.T, dir string) { flip(t, filepath.Join(dir, format.LogName(1)), 40) }},
		{name: "generation 1, first of two frames damaged", build: func(t *testing.T, db *engine.DB) { set(t, db, "k", "v"); set(t, db, "l", "v") },
			damage: func(t *testing.T, dir string) { flip(t, filepath.Join(dir, format.LogName(1)), 8200) }},
		{name: "two checkpoints", build: func(t *testing.T, db *engine.DB) {
			for range 2 {
				set(t, db, "k", "v")
				require.NoError(t, db.Checkpoint(ctx))
			}
		}},
		{name: "rotated logs", build: func(t *testing.T, db *engine.DB) { set(t, db, "k", string(make([]byte, 200_000))) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := quiet(t)
			db, err := engine.Open(opts)
			require.NoError(t, err)
			c.build(t, db)
			require.NoError(t, db.Close())
			version, err := os.ReadFile(filepath.Join(opts.Dir, format.VersionName))
			require.NoError(t, err)
			require.NoError(t, os.Remove(filepath.Join(opts.Dir, format.VersionName)))
			whole := c.damage == nil
			if !whole {
				c.damage(t, opts.Dir)
			}
			before := files(t, opts.Dir)
			for _, opts.Create = range []bool{true, false} {
				_, err = engine.Open(opts)
				if opts.Create {
					require.ErrorIs(t, err, engine.ErrCorrupt)
				} else if err == nil || !assert.True(t, errorsIsAny(err, engine.ErrCorrupt, engine.ErrNoDatabase)) {
					require.Fail(t, "opened without version", "%v", err)
				}
				require.ErrorContains(t, err, format.VersionName)
				requireUntouched(t, opts.Dir, before)
			}
			if whole { // put back, it is as before
				require.NoError(t, os.WriteFile(filepath.Join(opts.Dir, format.VersionName), version, 0o600))
				enginetest.Open(t, opts)
			}
		})
	}
}

// A creation that was interrupted anywhere is no database, and the next creation finishes it.
func TestUnfinishedCreation(t *testing.T) {
	for _, failure := range []error{syscall.EIO, syscall.ENOSPC} {
		for nth := 1; ; nth++ {
			opts := quiet(t)
			in := mmapiotest.NewInjector(mmapio.OpenDir, mmapiotest.Fault{Nth: nth, ForGood: true, Err: failure, Short: true})
			opts.OpenDir = in.OpenDir
			db, err := engine.Open(opts)
			if in.Hits() == 0 {
				require.NoError(t, err)
				in.Clear()
				require.NoError(t, db.Close())
				require.Greater(t, nth, 15, "every call was made to fail once")
				break
			}
			require.ErrorIs(t, err, failure, "call %d", nth)
			require.Equal(t, failure == syscall.ENOSPC, errorsIsAny(err, engine.ErrDiskFull), "%v", err)

			left := files(t, opts.Dir)
			opts.OpenDir, opts.Create = nil, false
			_, finished := left[format.VersionName]
			if !finished {
				_, finished = left[format.NewVersionName]
				finished = finished && len(left[format.NewVersionName]) == format.VersionFileLen
			}
			if !finished {
				_, err = engine.Open(opts)
				require.ErrorIs(t, err, engine.ErrNoDatabase, "call %d left %v", nth, err)
			}
			opts.Create = true
			db = enginetest.Open(t, opts)
			shadow{}.check(t, db)
			set(t, db, "k", "v")
			require.NoError(t, db.Checkpoint(ctx))
		}
	}
}

func TestOptionsAreValidated(t *testing.T) {
	for _, c := range []struct {
		change func(o *engine.Options)
		says   string // "" if it is valid
	}{
		{func(o *engine.Options) { o.Dir = "" }, "Dir"},
		{func(o *engine.Options) { o.Sync = -1 }, "Sync"},
		{func(o *engine.Options) { o.Sync = 3 }, "Sync"},
		{func(o *engine.Options) { o.CheckpointLogBytes = -1 }, "CheckpointLogBytes"},
		{func(o *engine.Options) { o.MaxValueBytes = -1 }, "MaxValueBytes"},
		{func(o *engine.Options) { o.MaxValueBytes = format.MaxValueLen + 1 }, "MaxValueBytes"},
		{func(o *engine.Options) { o.MaxValueBytes = format.MaxValueLen }, ""},
		{func(o *engine.Options) { o.MaxValueBytes = 1 }, ""},
		{func(o *engine.Options) { o.LogFileBytes = -4096 }, "LogFileBytes"},
		{func(o *engine.Options) { o.LogFileBytes = 60 << 10 }, "LogFileBytes"},
		{func(o *engine.Options) { o.LogFileBytes = 64<<10 + 1 }, "LogFileBytes"},
		{func(o *engine.Options) { o.LogFileBytes = format.MaxLogLen + 4096 }, "LogFileBytes"},
		{func(o *engine.Options) { o.LogFileBytes = 64 << 10 }, ""},
		{func(o *engine.Options) { o.FrameAlign = -512 }, "FrameAlign"},
		{func(o *engine.Options) { o.FrameAlign = 256 }, "FrameAlign"},
		{func(o *engine.Options) { o.FrameAlign = 1000 }, "FrameAlign"},
		{func(o *engine.Options) { o.FrameAlign = 8192 }, "FrameAlign"},
		{func(o *engine.Options) { o.FrameAlign = 512 }, ""},
		{func(o *engine.Options) { o.CheckpointInterval = -1 }, ""},
		{func(o *engine.Options) { o.CheckpointUpdates = 1 }, ""},
	} {
		opts := engine.Options{Dir: filepath.Join(t.TempDir(), "data"), Create: true}
		c.change(&opts)
		db, err := engine.Open(opts)
		if c.says == "" {
			require.NoError(t, err)
			require.NoError(t, db.Close())
			continue
		}
		require.ErrorContains(t, err, "options: "+c.says)
		if opts.Dir != "" {
			require.NoDirExists(t, opts.Dir, "nothing is touched")
		}
	}
}

// What a crash may leave besides is removed by the next open: half-written checkpoints, checkpoints that no version named, a
// spare of another size.
func TestGarbageIsRemoved(t *testing.T) {
	opts := quiet(t)
	db := enginetest.Open(t, opts)
	for range 3 {
		set(t, db, "k", "v")
		require.NoError(t, db.Checkpoint(ctx))
	}
	require.NoError(t, db.Close())
	write := func(name string) {
		require.NoError(t, os.WriteFile(filepath.Join(opts.Dir, name), []byte("garbage"), 0o600))
	}
	for _, name := range []string{"checkpoint.9.tmp", "checkpoint.99", "spare", "spare.tmp", "logfile.tmp", format.NewVersionName} {
		write(name)
	}
	db = enginetest.Open(t, opts)
	after := files(t, opts.Dir)
	for _, name := range []string{"checkpoint.9.tmp", "checkpoint.99", "spare", "spare.tmp", "logfile.tmp", format.NewVersionName} {
		assert.NotContains(t, after, name)
	}
	requireValue(t, db, "k", "v")
	assert.Empty(t, db.Stats().Recovery.Repaired)
}

// A newVersion that is whole is a switch whose renaming a crash has undone: it counts.
func TestNewVersionCounts(t *testing.T) {
	opts := quiet(t)
	db := enginetest.Open(t, opts)
	set(t, db, "k", "v")
	require.NoError(t, db.Close())
	old, err := os.ReadFile(filepath.Join(opts.Dir, format.VersionName))
	require.NoError(t, err)
	db = enginetest.Open(t, opts)
	set(t, db, "k", "w")
	require.NoError(t, db.Checkpoint(ctx))
	generation := db.Stats().Generation
	require.NoError(t, db.Close())
	for _, keepOld := range []bool{true, false} {
		require.NoError(t, os.Rename(filepath.Join(opts.Dir, format.VersionName), filepath.Join(opts.Dir, format.NewVersionName)))
		if keepOld {
			require.NoError(t, os.WriteFile(filepath.Join(opts.Dir, format.VersionName), old, 0o600))
		}
		db = enginetest.Open(t, opts)
		assert.Equal(t, generation, db.Stats().Generation)
		requireValue(t, db, "k", "w")
		require.NoError(t, db.Close())
		assert.NotContains(t, files(t, opts.Dir), format.NewVersionName)
	}
	// An older one does not.
	require.NoError(t, os.WriteFile(filepath.Join(opts.Dir, format.NewVersionName), old, 0o600))
	db = enginetest.Open(t, opts)
	assert.Equal(t, generation, db.Stats().Generation)
}

// An unclean stop begins a new epoch, says what was cut, and what had been acknowledged is there.
func TestUncleanStop(t *testing.T) {
	opts := quiet(t)
	db := enginetest.Open(t, opts)
	m := shadow{}
	for i := range 40 {
		k := fmt.Sprint(i)
		m[k] = string(bytesOf(k, 1000*(i%5)))
		set(t, db, k, m[k])
		if i == 20 {
			require.NoError(t, db.Checkpoint(ctx))
		}
	}
	at := db.Version()
	image := files(t, opts.Dir)
	copied := quiet(t)
	for epoch := uint64(2); epoch < 5; epoch++ {
		restoreFiles(t, copied.Dir, image)
		after, err := engine.Open(copied)
		require.NoError(t, err)
		r := after.Stats().Recovery
		assert.False(t, r.Clean)
		assert.NotEmpty(t, r.CutFile)
		assert.Equal(t, engine.Version{Epoch: epoch, Seq: at.Seq}, after.Version())
		m.check(t, after)
		if epoch == 4 {
			v := set(t, after, "k", "v")
			m["k"] = "v"
			assert.Equal(t, engine.Version{Epoch: 4, Seq: at.Seq + 1}, v)
		}
		image = files(t, copied.Dir)
		require.NoError(t, after.Close())
		again := enginetest.Open(t, copied)
		m.check(t, again)
		assert.Equal(t, epoch, again.Version().Epoch, "a clean close begins none")
	}
}
