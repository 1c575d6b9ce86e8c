package engine_test

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// noon is when the clocks of tests start.
var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// after is a moment some ns after noon.
func after(ns int64) time.Time { return noon.Add(time.Duration(ns)) }

// fakeClock is a wall clock that a test sets.
type fakeClock struct {
	ns   atomic.Int64                // after noon
	asks atomic.Pointer[func() bool] // runs before each answer; true: only once
}

func (c *fakeClock) now() time.Time {
	if ask := c.asks.Swap(nil); ask != nil {
		if !(*ask)() {
			c.asks.Store(ask)
		}
	}
	return after(c.ns.Load())
}

// timed is a quiet database with a clock of the test, on no disk.
func timed(t testing.TB) (engine.Options, *fakeClock) {
	opts, clock := quiet(t), new(fakeClock)
	opts.Dir, opts.Sync, opts.FrameAlign, opts.Now = inMemory(t), engine.SyncNone, format.MinFrameAlign, clock.now
	return opts, clock
}

func setUntil(t testing.TB, db *engine.DB, key, value string, deadline time.Time) engine.Version {
	t.Helper()
	v, err := db.SetUntil(ctx, []byte(key), []byte(value), deadline)
	require.NoError(t, err)
	return v
}

func touch(t testing.TB, db *engine.DB, key string, deadline time.Time) bool {
	t.Helper()
	ok, err := db.Touch(ctx, []byte(key), deadline)
	require.NoError(t, err)
	return ok
}

// dump is all that a database shows: every entry, the count and the version.
func dump(t testing.TB, db *engine.DB) []string {
	t.Helper()
	out := []string{fmt.Sprintf("%d keys at %v", db.Stats().Keys, db.Version())}
	s := db.Snapshot()
	for e := range s.Entries(nil, nil) {
		out = append(out, fmt.Sprintf("%q %q %v %d", e.Key, e.Value, e.Version, e.Deadline.UnixNano()))
	}
	require.NoError(t, s.Err())
	return out
}

// A key is there until the ns before its deadline, wherever it lies and however one asks, and counted as long.
func TestExpiresExactlyWhenDue(t *testing.T) {
	places(t, func(t *testing.T, opts engine.Options, clock *fakeClock, move func(*engine.DB)) {
		db := enginetest.Open(t, opts)
		setUntil(t, db, "due", "value", after(1000))
		setUntil(t, db, "later", "other", after(2000))
		set(t, db, "stays", "forever")
		move(db)
		e, ok, err := db.Entry([]byte("due"))
		require.NoError(t, err)
		require.True(t, ok)
		assert.True(t, after(1000).Equal(e.Deadline), e.Deadline)
		before := db.Snapshot()
		for _, step := range []struct {
			at         int64
			due, later bool
			keys       uint64
		}{{0, true, true, 3}, {999, true, true, 3}, {1000, false, true, 2}, {1001, false, true, 2}, {1999, false, true, 2},
			{2000, false, false, 1}, {5, false, false, 1}} {
			clock.ns.Store(step.at)
			assert.Equal(t, step.keys, db.Stats().Keys, "at %d", step.at)
			requireSeen(t, db, "due", "value", step.due)
			requireSeen(t, db, "later", "other", step.later)
			requireSeen(t, db, "stays", "forever", true)
			requireSnapshot(t, before, "due", "value", true)
			requireSnapshot(t, before, "later", "other", true)
			assert.Equal(t, step.keys, db.Stats().Keys, "at %d", step.at)
		}
	})
}

// Asking alone makes a key due: no other call has looked at the clock before, and none may see the key again.
func TestEveryReaderLooksAtTheClock(t *testing.T) {
	key := []byte("k")
	asks := map[string]func(db *engine.DB) (bool, error){
		"Get":      func(db *engine.DB) (bool, error) { _, ok, err := db.Get(key); return ok, err },
		"View":     func(db *engine.DB) (bool, error) { return db.View(key, func([]byte) error { return nil }) },
		"Entry":    func(db *engine.DB) (bool, error) { _, ok, err := db.Entry(key); return ok, err },
		"Snapshot": func(db *engine.DB) (bool, error) { _, ok, err := db.Snapshot().Get(key); return ok, err },
		"Stats":    func(db *engine.DB) (bool, error) { return db.Stats().Keys == 1, nil },
		"Touch":    func(db *engine.DB) (bool, error) { return db.Touch(ctx, key, after(10_000)) },
		"Scan": func(db *engine.DB) (ok bool, err error) {
			for range db.Snapshot().Scan(nil, nil) {
				ok = true
			}
			return ok, nil
		},
	}
	for first := range asks {
		opts, clock := timed(t)
		db := enginetest.Open(t, opts)
		setUntil(t, db, "k", "v", after(1000))
		clock.ns.Store(1000)
		ok, err := asks[first](db)
		require.NoError(t, err)
		assert.False(t, ok, "%s when due", first)
		clock.ns.Store(0)
		for then, ask := range asks {
			ok, err := ask(db)
			require.NoError(t, err)
			assert.False(t, ok, "%s after %s, with the clock set back", then, first)
		}
	}
}

// A key whose deadline is moved on before it comes is never gone, not even for somebody who reads just then.
func TestRenewedKeyIsNeverAbsent(t *testing.T) {
	key := []byte("lease")
	for name, ask := range map[string]func(db *engine.DB) (bool, error){
		"Get":      func(db *engine.DB) (bool, error) { _, ok, err := db.Get(key); return ok, err },
		"View":     func(db *engine.DB) (bool, error) { return db.View(key, func([]byte) error { return nil }) },
		"Entry":    func(db *engine.DB) (bool, error) { _, ok, err := db.Entry(key); return ok, err },
		"Snapshot": func(db *engine.DB) (bool, error) { _, ok, err := db.Snapshot().Get(key); return ok, err },
		"Update": func(db *engine.DB) (ok bool, err error) {
			_, err = db.Update(ctx, func(tx *engine.Tx) (err error) { _, ok, err = tx.Get(key); return err })
			return ok, err
		},
	} {
		for _, moved := range []bool{false, true} {
			t.Run(fmt.Sprint(name, moved), func(t *testing.T) {
				opts, clock := timed(t)
				db := enginetest.Open(t, opts)
				setUntil(t, db, "lease", "mine", after(1000))
				clock.ns.Store(990)
				renew := func() bool { // the reader is held up between two of its steps
					if moved { // into what will be another delta than the reader has in hand
						require.NoError(t, db.Checkpoint(ctx))
					}
					setUntil(t, db, "lease", "mine", after(5000))
					clock.ns.Store(1010)
					return true
				}
				clock.asks.Store(&renew)
				ok, err := ask(db)
				require.NoError(t, err)
				require.Nil(t, clock.asks.Load(), "it has looked at the clock")
				require.True(t, ok, "it was set all the time")
			})
		}
	}
}

// keptIn reads a checkpoint file: key to record.
func keptIn(t testing.TB, dir string, generation uint64) map[string]ckpt.Record {
	t.Helper()
	d, err := mmapio.OpenDir(dir, false)
	require.NoError(t, err)
	defer d.Close()
	f, err := d.Open(format.CheckpointName(generation), mmapio.Read)
	require.NoError(t, err)
	defer f.Close()
	r, err := ckpt.Open(f)
	require.NoError(t, err)
	out := map[string]ckpt.Record{}
	c := r.Cursor()
	rec, ok, err := c.First()
	for ; ok; rec, ok, err = c.Next() {
		out[string(rec.Key)] = rec
	}
	require.NoError(t, err)
	return out
}

// A checkpoint leaves out what is due, and keeps every other deadline to the nanosecond.
func TestCheckpointDropsWhatIsDue(t *testing.T) {
	opts, clock := timed(t)
	db := enginetest.Open(t, opts)
	deadlines := map[string]int64{"past": -1e18, "a": 999, "b": 1000, "c": 1001, "d": 1e18 + 7}
	for k, d := range deadlines {
		setUntil(t, db, k, "v", after(d))
	}
	set(t, db, "none", "v")
	clock.ns.Store(1000)
	set(t, db, "says what time it is", "")
	require.NoError(t, db.Checkpoint(ctx))
	kept := keptIn(t, opts.Dir, db.Stats().Generation)
	require.Equal(t, []string{"c", "d", "none", "says what time it is"}, slices.Sorted(maps.Keys(kept)))
	require.Equal(t, after(1001).UnixNano(), kept["c"].Expiry)
	require.Equal(t, after(1e18+7).UnixNano(), kept["d"].Expiry)
	require.Zero(t, kept["none"].Expiry)
	require.EqualValues(t, 4, db.Stats().Keys)
	clock.ns.Store(1001) // and what came due in the base goes with the next one
	set(t, db, "says what time it is", "")
	require.NoError(t, db.Checkpoint(ctx))
	require.NotContains(t, keptIn(t, opts.Dir, db.Stats().Generation), "c")
	db = again(t, db, opts)
	e, ok, err := db.Entry([]byte("d"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, after(1e18+7).UnixNano(), e.Deadline.UnixNano())
}

// What is due when a checkpoint is asked for is not in it, even if nothing was written since it came due.
func TestCheckpointDropsWhatIsDueNow(t *testing.T) {
	for _, lies := range []string{"in the delta", "in the base"} {
		t.Run(lies, func(t *testing.T) {
			opts, clock := timed(t)
			db := enginetest.Open(t, opts)
			setUntil(t, db, "k", "v", after(1000))
			if lies == "in the base" {
				require.NoError(t, db.Checkpoint(ctx))
			}
			clock.ns.Store(2000)
			require.NoError(t, db.Checkpoint(ctx))
			require.Empty(t, keptIn(t, opts.Dir, db.Stats().Generation))
		})
	}
}

// Nothing comes back when the wall clock is set back.
func TestClockStepsBack(t *testing.T) {
	for name, restart := range map[string]func(t *testing.T, db *engine.DB, opts engine.Options) *engine.DB{
		"clean": func(t *testing.T, db *engine.DB, opts engine.Options) *engine.DB { return again(t, db, opts) },
		"clean, nothing written since it was opened": func(t *testing.T, db *engine.DB, opts engine.Options) *engine.DB {
			return again(t, db, opts)
		},
		"killed after a frame": func(t *testing.T, db *engine.DB, opts engine.Options) *engine.DB {
			set(t, db, "frame", "")
			return killed(t, db, opts)
		},
		"killed after a checkpoint": func(t *testing.T, db *engine.DB, opts engine.Options) *engine.DB {
			set(t, db, "frame", "")
			require.NoError(t, db.Checkpoint(ctx))
			return killed(t, db, opts)
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts, clock := timed(t)
			db := enginetest.Open(t, opts)
			setUntil(t, db, "k", "v", after(1000))
			if name == "clean, nothing written since it was opened" {
				db = again(t, db, opts)
			}
			clock.ns.Store(1000)
			requireSeen(t, db, "k", "v", false)
			keys := db.Stats().Keys
			clock.ns.Store(0)
			requireSeen(t, db, "k", "v", false)
			require.Equal(t, keys, db.Stats().Keys)
			db = restart(t, db, opts)
			clock.ns.Store(10)
			requireSeen(t, db, "k", "v", false)
			require.Equal(t, db.Stats().Keys, uint64(len(dump(t, db))-1))
			setUntil(t, db, "k", "again", after(999)) // due at once: engine time stays ahead
			requireSeen(t, db, "k", "again", false)
			setUntil(t, db, "k", "again", after(1001))
			requireSeen(t, db, "k", "again", true)
		})
	}
}

// killed opens what a kill would leave behind.
func killed(t testing.TB, db *engine.DB, opts engine.Options) *engine.DB {
	t.Helper()
	left := files(t, opts.Dir)
	require.NoError(t, db.Close())
	restoreFiles(t, opts.Dir, left)
	return enginetest.Open(t, opts)
}

func TestDeadlinesThatCannotBeStored(t *testing.T) {
	opts, clock := timed(t)
	db := enginetest.Open(t, opts)
	before := set(t, db, "k", "v")
	key := []byte("k")
	for _, bad := range []time.Time{
		time.Date(1969, 12, 31, 23, 59, 59, 999_999_999, time.UTC), time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC), time.Unix(0, -1),
		time.Unix(0, math.MaxInt64).Add(1), time.Date(2263, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC), // whose ns wrap around to a later year
	} {
		v, err := db.SetUntil(ctx, key, nil, bad)
		require.ErrorIs(t, err, engine.ErrDeadline, bad)
		require.Zero(t, v)
		ok, err := db.Touch(ctx, key, bad)
		require.ErrorIs(t, err, engine.ErrDeadline, bad)
		require.False(t, ok)
		var b engine.Batch
		b.Set(key, nil)
		b.SetUntil(key, nil, bad)
		b.Delete(key)
		_, err = db.Apply(ctx, &b)
		require.ErrorIs(t, err, engine.ErrDeadline, bad)
		require.ErrorContains(t, err, "operation 1")
		b.Reset()
		b.IfPresent(key)
		_, err = db.Apply(ctx, &b)
		require.NoError(t, err, "Reset forgets what was wrong")
		_, err = db.Update(ctx, func(tx *engine.Tx) error { tx.SetUntil(key, nil, bad); return nil })
		require.ErrorIs(t, err, engine.ErrDeadline, bad)
	}
	require.Equal(t, before, db.Version(), "nothing was written")
	requireValue(t, db, "k", "v")

	setUntil(t, db, "first", "", time.Unix(0, 1))
	requireAbsent(t, db, "first")
	setUntil(t, db, "last", "", time.Unix(0, math.MaxInt64))
	setUntil(t, db, "none", "", time.Time{})
	setUntil(t, db, "none either", "", time.Time{}.In(time.FixedZone("east", 3600)))
	clock.ns.Store(math.MaxInt64 - noon.UnixNano() - 1)
	require.EqualValues(t, 4, db.Stats().Keys)
	clock.ns.Add(1)
	require.EqualValues(t, 3, db.Stats().Keys)
	for _, k := range []string{"none", "none either"} {
		e, ok, err := db.Entry([]byte(k))
		require.NoError(t, err)
		require.True(t, ok)
		require.True(t, e.Deadline.IsZero())
	}
}

func TestTouch(t *testing.T) {
	places(t, func(t *testing.T, opts engine.Options, clock *fakeClock, move func(*engine.DB)) {
		db := enginetest.Open(t, opts)
		set(t, db, "plain", "1")
		setUntil(t, db, "due", "2", after(10))
		first := setUntil(t, db, "soon", "3", after(1000))
		set(t, db, "gone", "4")
		_, err := db.Delete(ctx, []byte("gone"))
		require.NoError(t, err)
		move(db)
		clock.ns.Store(10)
		before := db.Version()
		for _, k := range []string{"never", "due", "gone", ""} {
			for _, d := range []time.Time{{}, after(5000), after(1)} {
				require.False(t, touch(t, db, k, d), k)
				requireAbsent(t, db, k)
			}
		}
		require.Equal(t, before, db.Version(), "nothing was written")
		require.True(t, touch(t, db, "soon", after(3000)))
		e, _, err := db.Entry([]byte("soon"))
		require.NoError(t, err)
		require.Equal(t, "3", string(e.Value))
		require.NotEqual(t, first, e.Version)
		require.Equal(t, db.Version(), e.Version)
		require.True(t, after(3000).Equal(e.Deadline))
		require.True(t, touch(t, db, "plain", after(2000)))
		clock.ns.Store(2000)
		requireSeen(t, db, "plain", "1", false)
		requireSeen(t, db, "soon", "3", true)
		require.True(t, touch(t, db, "soon", time.Time{}))
		clock.ns.Store(4000)
		requireSeen(t, db, "soon", "3", true)
		require.EqualValues(t, 1, db.Stats().Keys)
		require.True(t, touch(t, db, "soon", after(0)), "it was set")
		requireSeen(t, db, "soon", "3", false)
		require.Zero(t, db.Stats().Keys)
	})
}

// The checkpoint before and the logs since give the same state, with every deadline, as the checkpoint that is damaged.
func TestFallbackKeepsDeadlines(t *testing.T) {
	opts, clock := timed(t)
	db := enginetest.Open(t, opts)
	for i := range 50 {
		setUntil(t, db, fmt.Sprint("first", i), fmt.Sprint(i), after(int64(100*i)))
		setUntil(t, db, fmt.Sprint("both", i), fmt.Sprint(i), after(int64(5000-100*i)))
		clock.ns.Add(10)
	}
	require.NoError(t, db.Checkpoint(ctx))
	for i := range 50 {
		setUntil(t, db, fmt.Sprint("both", i), "x", after(int64(150*i)))
		touch(t, db, fmt.Sprint("first", i), after(int64(3000-100*i)))
		clock.ns.Add(10)
	}
	require.NoError(t, db.Checkpoint(ctx))
	setUntil(t, db, "last", "v", after(1e9))
	want := dump(t, db)
	generation := db.Stats().Generation
	require.NoError(t, db.Close())
	intact := files(t, opts.Dir)
	for range 2 { // and every open of the same files is the same
		flip(t, filepath.Join(opts.Dir, format.CheckpointName(generation)), 100)
		db, err := engine.Open(opts)
		require.NoError(t, err)
		require.Len(t, db.Stats().Recovery.Repaired, 1)
		require.Equal(t, want, dump(t, db))
		require.NoError(t, db.Close())
		restoreFiles(t, opts.Dir, intact)
	}
}

// What is due is absent to a transaction at one moment for all keys, and may be claimed by one.
func TestUpdateOnKeysThatAreDue(t *testing.T) {
	places(t, func(t *testing.T, opts engine.Options, clock *fakeClock, move func(*engine.DB)) {
		db := enginetest.Open(t, opts)
		setUntil(t, db, "lock", "mine", after(1000))
		setUntil(t, db, "other", "mine", after(1000))
		move(db)
		clock.ns.Store(999)
		calls := 0
		_, err := db.Update(ctx, func(tx *engine.Tx) error {
			calls++
			_, held, err := tx.Get([]byte("lock"))
			require.NoError(t, err)
			clock.ns.Store(1000)
			_, too, err := tx.Get([]byte("other"))
			require.Equal(t, held, too, "one moment for both")
			if held {
				tx.Set([]byte("saw it"), nil)
			} else {
				tx.SetUntil([]byte("lock"), []byte("yours"), after(2000))
			}
			return err
		})
		require.NoError(t, err)
		require.Equal(t, 2, calls, "it was due before the commit")
		shadow{"lock": "yours"}.check(t, db, "other", "saw it")
	})
}
