package engine_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
)

// allocRuns is how often a call is made of which the allocations are counted; the result is the mean, rounded down.
const allocRuns = 1000

// TestReadAllocations: Get allocates its copy of the value, and nothing else does, wherever the key is found or missed.
func TestReadAllocations(t *testing.T) {
	opts := quiet(t)
	opts.Sync, opts.LogFileBytes = engine.SyncNone, 64<<20
	db := enginetest.Open(t, opts)
	const valueLen = 100
	value := string(make([]byte, valueLen))
	set(t, db, "base", value)
	set(t, db, "both", "older")
	set(t, db, "deleted", value)
	require.NoError(t, db.Checkpoint(ctx))
	set(t, db, "delta", value)
	set(t, db, "both", value)
	_, err := db.Delete(ctx, []byte("deleted"))
	require.NoError(t, err)
	set(t, db, "large", string(make([]byte, 2<<20))) // leaves the small log
	buf, seen := make([]byte, 0, 2*valueLen), 0
	look := func(v []byte) error { seen = len(v); return nil }
	for name, there := range map[string]bool{"base": true, "delta": true, "both": true, "deleted": false, "missing": false} {
		t.Run(name, func(t *testing.T) {
			key, want, copies := []byte(name), 0, 0.0
			if there {
				want, copies = valueLen, 1
			}
			for _, read := range []struct {
				name string
				call func() (length int, ok bool, err error)
				most float64
			}{
				{"Get", func() (int, bool, error) { v, ok, err := db.Get(key); return len(v), ok, err }, copies},
				{"AppendGet", func() (int, bool, error) {
					var ok bool
					var err error
					buf, ok, err = db.AppendGet(buf[:0], key)
					return len(buf), ok, err
				}, 0},
				{"View", func() (int, bool, error) { seen = 0; ok, err := db.View(key, look); return seen, ok, err }, 0},
			} {
				var wrong int
				allocations := testing.AllocsPerRun(allocRuns, func() {
					if length, ok, err := read.call(); length != want || ok != there || err != nil {
						wrong++
					}
				})
				require.Zero(t, wrong, "wrong answers of %s", read.name)
				t.Logf("%s: %g allocations, at most %g", read.name, allocations, read.most)
				require.LessOrEqual(t, allocations, read.most, read.name)
			}
		})
	}
}

// TestSetAllocations: Set allocates at most twice, under every promise, for a new key, for one in the delta and for one in the base.
func TestSetAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector a sync.Pool forgets on purpose")
	}
	for name, row := range map[string]struct {
		sync engine.SyncMode
		runs int
	}{"SyncNone": {engine.SyncNone, allocRuns}, "SyncData": {engine.SyncData, 50}, "SyncDsync": {engine.SyncDsync, 50}} {
		t.Run(name, func(t *testing.T) {
			opts := quiet(t)
			opts.Sync, opts.LogFileBytes = row.sync, 64<<20
			db := enginetest.Open(t, opts)
			value, key := make([]byte, 100), make([]byte, 8)
			count := func(what string, next, step uint64) {
				var failed error
				allocations := testing.AllocsPerRun(row.runs, func() {
					binary.BigEndian.PutUint64(key, next)
					next += step
					if _, err := db.Set(ctx, key, value); err != nil {
						failed = err
					}
				})
				require.NoError(t, failed, what)
				t.Logf("Set of %s: %g allocations, at most 2", what, allocations)
				require.LessOrEqual(t, allocations, 2.0, "Set of %s", what)
			}
			keys := uint64(row.runs) + 1 // one run is a warm-up
			count("a new key", 0, 1)
			require.Equal(t, keys, db.Stats().Keys)
			count("a key in the delta", 0, 0)
			require.NoError(t, db.Checkpoint(ctx))
			count("a key in the base", 0, 1)
			require.Equal(t, keys, db.Stats().Keys)
		})
	}
}
