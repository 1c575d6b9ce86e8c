package engine_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
)

// twoGenerations is a database with a base, the checkpoint before it and the logs since that, and what it holds.
func twoGenerations(t *testing.T, opts engine.Options) (*engine.DB, shadow) {
	opts.FrameAlign = 512 // a log of its own for each generation, and none more
	db, err := engine.Open(opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	m := shadow{}
	put := func(k string, n int) { m[k] = string(bytesOf(k, n)); set(t, db, k, m[k]) }
	for generation := range 3 {
		for i := range 40 {
			put(fmt.Sprintf("%d-%d", generation, i), 100+i)
		}
		_, err := db.Delete(ctx, fmt.Appendf(nil, "%d-7", generation))
		require.NoError(t, err)
		delete(m, fmt.Sprintf("%d-7", generation))
		if generation < 2 {
			require.NoError(t, db.Checkpoint(ctx))
		}
	}
	require.EqualValues(t, 3, db.Stats().Generation)
	return db, m
}

// valueAt is where the value of a key lies in a file; -1 if it does not.
func valueAt(t *testing.T, path string, m shadow, key string) int64 {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return int64(bytes.Index(data, []byte(m[key])))
}

// A base that is damaged while it is open is repaired by the next checkpoint, which comes by itself as soon as somebody has met
// the damage, though nothing has changed: from the checkpoint before it and the logs since.
func TestDamagedBaseIsRepaired(t *testing.T) {
	for _, background := range []bool{false, true} {
		for name, damage := range map[string]func(t *testing.T, path string, at int64){
			"flipped":   func(t *testing.T, path string, at int64) { flip(t, path, at) },
			"truncated": func(t *testing.T, path string, at int64) { require.NoError(t, os.Truncate(path, at)) },
			"emptied":   func(t *testing.T, path string, at int64) { require.NoError(t, os.Truncate(path, 0)) },
		} {
			t.Run(fmt.Sprintf("%s/background=%t", name, background), func(t *testing.T) {
				opts := quiet(t)
				opts.DisableBackgroundCheckpoint, opts.CheckpointInterval = !background, -1
				db, m := twoGenerations(t, opts)
				base := db.Stats().Generation
				path := filepath.Join(opts.Dir, format.CheckpointName(base))
				damage(t, path, valueAt(t, path, m, "0-3"))
				before := db.Snapshot()
				_, _, err := db.Get([]byte("0-3"))
				require.ErrorIs(t, err, engine.ErrCorrupt)
				if background {
					eventually(t, "the repair", func() bool { return db.Stats().Repairs == 1 })
				} else {
					require.ErrorIs(t, db.Stats().Damage, engine.ErrCorrupt)
					require.NoError(t, db.Checkpoint(ctx))
				}
				s := db.Stats()
				require.NoError(t, s.Damage)
				require.EqualValues(t, 1, s.Repairs)
				require.Greater(t, s.Generation, base)
				m.check(t, db, "0-7", "1-7", "2-7")

				_, _, err = before.Get([]byte("0-3"))
				require.ErrorIs(t, err, engine.ErrCorrupt, "the snapshot is of the damaged file")
				require.NoError(t, db.Stats().Damage, "which is history")
				require.NoFileExists(t, path, "what is damaged is kept for no repair")
				afterAKill(t, opts, m)

				// The next one is made from the repaired one.
				set(t, db, "more", "more")
				m["more"] = "more"
				require.NoError(t, db.Checkpoint(ctx))
				require.NoError(t, db.Close())
				enginetest.CheckFiles(t, opts.Dir)
				m.check(t, enginetest.Open(t, opts))
			})
		}
	}
}

// Damage in a log that the state is read from cannot be repaired, unless only a reader's copy was wrong: then files are read anew.
func TestDamagedLogIsNotRepaired(t *testing.T) {
	opts := quiet(t)
	db, m := twoGenerations(t, opts)
	path := filepath.Join(opts.Dir, format.LogName(db.Stats().Generation))
	at := valueAt(t, path, m, "2-3")
	require.Positive(t, at)
	flip(t, path, at)
	_, _, err := db.Get([]byte("2-3"))
	require.ErrorIs(t, err, engine.ErrCorrupt)
	set(t, db, "2-3", "written again while its record misreads, so the record is refused for good")
	m["2-3"] = "written again while its record misreads, so the record is refused for good"
	require.ErrorIs(t, db.Checkpoint(ctx), engine.ErrCorrupt)
	require.ErrorIs(t, db.Stats().Damage, engine.ErrCorrupt)
	flip(t, path, at) // it was the read, not the disk
	_, _, err = db.Get([]byte("2-3"))
	require.ErrorIs(t, err, engine.ErrCorrupt)
	require.NoError(t, db.Checkpoint(ctx))
	require.NoError(t, db.Stats().Damage)
	m.check(t, db)
}

// Where the checkpoint that is kept is damaged as well, nothing is repaired and nothing is changed; what is intact is served.
func TestNothingToRepairFrom(t *testing.T) {
	opts := quiet(t)
	db, m := twoGenerations(t, opts)
	for _, n := range []uint64{2, 3} {
		path := filepath.Join(opts.Dir, format.CheckpointName(n))
		flip(t, path, valueAt(t, path, m, "0-3"))
	}
	_, _, err := db.Get([]byte("0-3"))
	require.ErrorIs(t, err, engine.ErrCorrupt)
	require.ErrorIs(t, db.Checkpoint(ctx), engine.ErrCorrupt)
	require.ErrorIs(t, db.Checkpoint(ctx), engine.ErrCorrupt)
	require.EqualValues(t, 3, db.Stats().Generation)
	require.Zero(t, db.Stats().Repairs)
	requireValue(t, db, "0-4", m["0-4"])
	set(t, db, "more", "more")
	requireValue(t, db, "more", "more")
}

// scrubbed is a database that is scrubbed all the time.
func scrubbed(t *testing.T) engine.Options {
	opts := quiet(t)
	opts.DisableBackgroundCheckpoint, opts.CheckpointInterval = false, -1
	opts.ScrubInterval = 5 * time.Millisecond
	return opts
}

// passes waits until the scrubber has begun and ended a pass.
func passes(t *testing.T, db *engine.DB) engine.Scrub {
	n := db.Stats().Scrub.Passes
	eventually(t, "a pass", func() bool { return db.Stats().Scrub.Passes >= n+2 })
	return db.Stats().Scrub
}

// The scrubber reads every byte that counts, finds nothing where there is nothing, and does not mind writers, rotations and checkpoints.
func TestScrub(t *testing.T) {
	opts := scrubbed(t)
	db, m := twoGenerations(t, opts)
	for round := range 5 {
		for i := range 30 {
			k := fmt.Sprint("more", i)
			m[k] = string(bytesOf(fmt.Sprint(k, round), 3000))
			set(t, db, k, m[k])
		}
		require.NoError(t, db.Checkpoint(ctx))
		s := passes(t, db)
		require.NoError(t, s.Damage)
		require.NoError(t, s.Failure)
		require.Greater(t, s.Bytes, uint64(30*3000))
		require.WithinDuration(t, time.Now(), s.Ended, deadline)
	}
	require.NoError(t, db.Stats().Damage)
	require.Zero(t, db.Stats().Repairs)
	m.check(t, db)
}

// Rot that nobody reads is found by the scrubber, wherever it lies, and checkpoints leave it behind.
func TestScrubFindsAndRepairs(t *testing.T) {
	for _, c := range []struct {
		file string
		key  string // whose value is hit; "" for the first byte of the file
		lost bool   // nothing else holds it
	}{
		{format.CheckpointName(3), "0-3", false},
		{format.CheckpointName(3), "", false},
		{format.CheckpointName(2), "0-3", false},
		{format.CheckpointName(2), "", false},
		{format.LogName(2), "1-3", false},
		{format.LogName(2), "", false},
		{format.LogName(3), "2-3", true},
		{format.LogName(3), "", false},
		{format.VersionName, "", false},
	} {
		t.Run(c.file+"/"+c.key, func(t *testing.T) {
			opts := scrubbed(t)
			db, m := twoGenerations(t, opts)
			require.NoError(t, passes(t, db).Damage)
			path, at := filepath.Join(opts.Dir, c.file), int64(0)
			if c.key != "" {
				at = valueAt(t, path, m, c.key)
			}
			flip(t, path, at)
			if c.lost {
				eventually(t, "the damage", func() bool { return db.Stats().Scrub.Damage != nil })
				var place *format.CorruptionError
				require.ErrorAs(t, db.Stats().Scrub.Damage, &place)
				require.Equal(t, c.file, place.File)
				require.LessOrEqual(t, place.Offset, at)
				require.ErrorIs(t, db.Stats().Damage, engine.ErrCorrupt)
				eventually(t, "the checkpoint", func() bool { return db.Stats().CheckpointFailure != nil })
				require.Zero(t, db.Stats().Repairs)
				return
			}
			eventually(t, "the repair", func() bool { return db.Stats().Generation > 3 })
			eventually(t, "its end", func() bool { s := db.Stats(); return s.Damage == nil && s.Scrub.Damage == nil })
			require.NoError(t, passes(t, db).Damage)
			m.check(t, db, "0-7", "1-7", "2-7")
			require.NoError(t, db.Close())
			enginetest.CheckFiles(t, opts.Dir)
		})
	}
}

// A file that is gone is damage, too.
func TestScrubMissesFiles(t *testing.T) {
	for _, name := range []string{format.CheckpointName(2), format.CheckpointName(3), format.LogName(2), format.VersionName} {
		t.Run(name, func(t *testing.T) {
			opts := scrubbed(t)
			db, m := twoGenerations(t, opts)
			require.NoError(t, os.Remove(filepath.Join(opts.Dir, name)))
			eventually(t, "the repair", func() bool { s := db.Stats(); return s.Generation > 3 && s.Damage == nil && s.Scrub.Damage == nil })
			m.check(t, db)
			require.NoError(t, db.Close())
			enginetest.CheckFiles(t, opts.Dir)
		})
	}
}

// A slow pass does not hold up Close, and none runs where it is turned off.
func TestScrubEnds(t *testing.T) {
	opts := scrubbed(t)
	opts.ScrubBytesPerSecond = 1
	db, _ := twoGenerations(t, opts)
	time.Sleep(20 * time.Millisecond) // into the first pass
	require.Zero(t, db.Stats().Scrub.Passes)
	require.NoError(t, db.Close())
	opts.ScrubInterval = -1
	db, err := engine.Open(opts)
	require.NoError(t, err)
	time.Sleep(20 * time.Millisecond)
	require.Zero(t, db.Stats().Scrub)
	require.NoError(t, db.Close())
	opts.ScrubBytesPerSecond = -1
	_, err = engine.Open(opts)
	require.ErrorContains(t, err, "ScrubBytesPerSecond")
}
