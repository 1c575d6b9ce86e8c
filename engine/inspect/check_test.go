package inspect_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/inspect"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

func TestCheckIntact(t *testing.T) {
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprintf("closed=%t", closed), func(t *testing.T) {
			s := takeSample(t, closed)
			var done, total []int64
			r, err := inspect.Check(ctx, s.dir, inspect.CheckOptions{Progress: func(d, n int64) { done, total = append(done, d), append(total, n) }})
			require.NoError(t, err)
			require.Empty(t, damage(r))
			assert.False(t, r.Damaged())
			assert.False(t, r.Lost())
			assert.Equal(t, closed, r.Clean)
			assert.Equal(t, []uint64{s.base}, r.Compared, "the newest is what the one before it and the logs make")
			assert.Equal(t, s.base, r.Generation)
			assert.Equal(t, s.base-1, r.Previous)
			assert.Equal(t, s.newest, r.Tail.File)
			assert.Zero(t, r.Tail.Dropped)
			assert.EqualValues(t, 62, r.Tail.Seq)
			assert.Len(t, r.UUID, 32)
			assert.Len(t, r.Files, len(s.files))
			assert.Equal(t, 6, r.Totals.Files)
			assert.EqualValues(t, 42, r.Totals.Operations, "of the logs from the kept checkpoint on")
			if !closed {
				require.Len(t, r.Findings, 1)
				assert.Contains(t, r.Findings[0].What, "was not closed; it ends at "+s.newest)
			}
			assert.IsNonDecreasing(t, done)
			assert.EqualValues(t, done[len(done)-1], total[0])
			assert.Equal(t, total[0], total[len(total)-1])

			// It survives JSON.
			text, err := json.Marshal(r)
			require.NoError(t, err)
			var back inspect.Report
			require.NoError(t, json.Unmarshal(text, &back))
			again, err := json.Marshal(back)
			require.NoError(t, err)
			assert.JSONEq(t, string(text), string(again))
		})
	}
}

// It agrees with what the engine says about itself.
func TestCheckAgreesWithTheEngine(t *testing.T) {
	s := takeSample(t, true)
	r := check(t, s.dir)
	db := open(t, quiet(s.dir))
	stats := db.Stats()
	assert.Equal(t, stats.Version.Seq, r.Tail.Seq)
	assert.Equal(t, stats.Version.Epoch, r.Tail.Epoch)
	assert.Equal(t, stats.Generation, r.Generation)
}

func TestCheckWritesNothing(t *testing.T) {
	s := takeSample(t, false)
	type state struct {
		name string
		size int64
		mod  time.Time
		mode os.FileMode
	}
	look := func() (out []state) {
		entries, err := os.ReadDir(s.dir)
		require.NoError(t, err)
		for _, e := range entries {
			info, err := e.Info()
			require.NoError(t, err)
			out = append(out, state{e.Name(), info.Size(), info.ModTime(), info.Mode()})
		}
		info, err := os.Stat(s.dir)
		require.NoError(t, err)
		return append(out, state{".", 0, info.ModTime(), info.Mode()})
	}
	before := look()
	check(t, s.dir)
	for _, name := range s.names() {
		path := filepath.Join(s.dir, name)
		kind, err := inspect.KindOfFile(path)
		require.NoError(t, err)
		switch kind {
		case inspect.KindLog:
			require.NoError(t, inspect.DumpLog(ctx, path, inspect.DumpOptions{}, func(*inspect.LogItem) error { return nil }))
		case inspect.KindCheckpoint:
			_, err = inspect.DumpCheckpoint(ctx, path)
			require.NoError(t, err)
		}
	}
	assert.Equal(t, before, look())
	assert.Equal(t, s.files, files(t, s.dir))
}

func TestCheckLocked(t *testing.T) {
	dir := inMemory(t)
	db := open(t, quiet(dir))
	_, err := inspect.Check(ctx, dir, inspect.CheckOptions{})
	require.ErrorIs(t, err, mmapio.ErrLocked)
	assert.ErrorContains(t, err, fmt.Sprintf("pid %d,", os.Getpid()))
	require.NoError(t, db.Close())

	// It holds the lock itself, against engines and not against other checks.
	var inside error
	nested := 0
	_, err = inspect.Check(ctx, dir, inspect.CheckOptions{Progress: func(int64, int64) {
		if nested++; nested > 1 {
			return
		}
		_, inside = engine.Open(quiet(dir))
		r, err := inspect.Check(ctx, dir, inspect.CheckOptions{})
		require.NoError(t, err)
		require.Empty(t, damage(r))
	}})
	require.NoError(t, err)
	require.ErrorIs(t, inside, engine.ErrLocked)

	write(t, dir, "LOCK", nil)
	r := check(t, dir)
	assert.Empty(t, damage(r))
	assert.NoFileExists(t, filepath.Join(dir, "LOCK"))
	require.Len(t, r.Findings, 1)
	assert.Equal(t, "LOCK", r.Findings[0].File)
}

func TestCheckNoDatabase(t *testing.T) {
	dir := t.TempDir()
	_, err := inspect.Check(ctx, filepath.Join(dir, "nowhere"), inspect.CheckOptions{})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = inspect.Check(ctx, dir, inspect.CheckOptions{})
	require.ErrorIs(t, err, inspect.ErrNoDatabase)
	write(t, dir, "notes.txt", []byte("?"))
	_, err = inspect.Check(ctx, dir, inspect.CheckOptions{})
	require.ErrorIs(t, err, inspect.ErrNoDatabase)
	write(t, dir, "version", []byte("12\n"))
	assert.True(t, check(t, dir).Damaged())
	for _, name := range []string{"logfile.18446744073709551615", "logfile.7", "checkpoint.3000000"} {
		write(t, dir, name, []byte("?"))
		assert.True(t, check(t, dir).Damaged(), name)
	}
}

func TestCheckStops(t *testing.T) {
	s := takeSample(t, true)
	stopped, stop := context.WithCancel(ctx)
	calls := 0
	_, err := inspect.Check(stopped, s.dir, inspect.CheckOptions{Progress: func(int64, int64) {
		if calls++; calls == 3 {
			stop()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
}

func TestCheckBoundsFindings(t *testing.T) {
	s := takeSample(t, true)
	changed := map[string][]byte{}
	for _, name := range []string{"version", format.CheckpointName(s.base), s.newest, format.LogName(s.base)} {
		changed[name] = []byte("x")
	}
	for name, data := range changed {
		write(t, s.dir, name, data)
	}
	r, err := inspect.Check(ctx, s.dir, inspect.CheckOptions{MaxFindings: 1})
	require.NoError(t, err)
	assert.Len(t, r.Findings, 1)
	assert.Greater(t, r.Omitted, 2)
	assert.True(t, r.Damaged())
}

// What a crash in the middle of a switch or a creation leaves is no damage.
func TestCheckUnfinished(t *testing.T) {
	s := takeSample(t, true)
	older := func(n uint64) []byte { // version, when it named n
		for _, e := range s.earlier {
			if v, err := format.DecodeVersionFile(e["version"]); err == nil && v.Generation == n {
				return e["version"]
			}
		}
		require.Fail(t, "no such version")
		return nil
	}
	first := s.earlier[0]
	for _, c := range []struct {
		name    string
		changed map[string][]byte
		says    string
	}{
		{"newVersion written", map[string][]byte{"version": older(s.base - 1), "newVersion": s.files["version"],
			format.CheckpointName(1): first["checkpoint.1"]}, "the next open completes it"},
		{"newVersion torn", map[string][]byte{"newVersion": s.files["version"][:100]}, "cut off before this was written"},
		{"newVersion stale", map[string][]byte{"newVersion": older(s.base - 1)}, "older than version"},
		{"temporary files", map[string][]byte{"checkpoint.9.tmp": []byte("?"), "logfile.tmp": []byte{}, "spare.tmp": []byte("?")}, "was being written"},
		{"foreign file", map[string][]byte{"notes.txt": []byte("?"), "logfile.0": []byte("?"), "checkpoint.tmp": []byte{}}, "no file of a database"},
		{"old log", map[string][]byte{format.LogName(s.base - 2): first["logfile.1"]}, "not needed any more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := s.with(t, c.changed)
			assert.Empty(t, damage(r))
			assert.Contains(t, fmt.Sprint(r.Findings), c.says)
		})
	}

	t.Run("checkpoint without its version", func(t *testing.T) {
		early := map[string][]byte{}
		for name, data := range s.earlier[1] { // after the first checkpoint
			early[name] = data
		}
		early["version"] = first["version"]
		restore(t, s.dir, early)
		r := check(t, s.dir)
		assert.Empty(t, damage(r))
		assert.Contains(t, fmt.Sprint(r.Findings), "the switch to it was cut off")
		assert.Equal(t, []uint64{2}, r.Compared)
	})
	t.Run("creation", func(t *testing.T) {
		fresh := inMemory(t)
		require.NoError(t, open(t, quiet(fresh)).Close())
		all := files(t, fresh)
		for _, image := range []map[string][]byte{
			{"checkpoint.1": all["checkpoint.1"]},
			{"checkpoint.1": all["checkpoint.1"], "logfile.1": noFrames(all["logfile.1"])},
			{"checkpoint.1": all["checkpoint.1"], "logfile.1": noFrames(all["logfile.1"]), "newVersion": all["version"]},
			{"checkpoint.1": all["checkpoint.1"], "logfile.1": noFrames(all["logfile.1"]), "newVersion": all["version"][:50]},
		} {
			restore(t, fresh, image)
			r := check(t, fresh)
			assert.Empty(t, damage(r))
			assert.NotEmpty(t, r.Findings)
			db, err := engine.Open(quiet(fresh)) // it thinks the same
			require.NoError(t, err)
			require.NoError(t, db.Close())
		}
	})
}

// noFrames is a log without what follows its first two blocks.
func noFrames(log []byte) []byte {
	return append(log[:format.LogHeaderSize:format.LogHeaderSize], make([]byte, len(log)-format.LogHeaderSize)...)
}

// On a disk, where reads go around the page cache.
func TestCheckOnDisk(t *testing.T) {
	s := takeSample(t, true)
	s.dir = t.TempDir()
	restore(t, s.dir, s.files)
	assert.Empty(t, damage(check(t, s.dir)))
	name := format.CheckpointName(s.base)
	r := s.with(t, map[string][]byte{name: flipped(s.files[name], 5000)})
	require.True(t, r.Damaged())
	assert.Equal(t, name, r.Findings[0].File)
}

// Keys that were due when a checkpoint was frozen may be missing in it; others may not.
func TestCompareDeadlines(t *testing.T) {
	dir := inMemory(t)
	opts := quiet(dir)
	now := time.Now()
	opts.Now = func() time.Time { return now }
	db := open(t, opts)
	until := func(key string, in time.Duration) {
		_, err := db.SetUntil(ctx, []byte(key), []byte("value"), now.Add(in))
		require.NoError(t, err)
	}
	for round := range 4 {
		for i := range 10 {
			until(fmt.Sprintf("key-%d-%d", round, i), time.Duration(i+1)*time.Minute)
			until(fmt.Sprintf("often-%d", i), time.Duration(i+1)*time.Minute)
		}
		now = now.Add(3 * time.Minute)
		if round%2 == 0 {
			set(t, db, "time goes on", fmt.Sprint(round)) // otherwise no frame says so
		}
		now = now.Add(time.Minute)
		require.NoError(t, db.Checkpoint(ctx))
	}
	stats := db.Stats()
	require.NoError(t, db.Close())
	r := check(t, dir)
	require.Empty(t, damage(r))
	assert.Equal(t, []uint64{stats.Generation}, r.Compared)
	info, err := inspect.DumpCheckpoint(ctx, filepath.Join(dir, format.CheckpointName(stats.Generation)))
	require.NoError(t, err)
	assert.Empty(t, info.Damage)
	assert.Less(t, info.Keys, uint64(51), "some are gone")
	assert.Greater(t, info.Keys, uint64(10))
}
