package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
)

// busy is a database with checkpoints all the time.
func busy(t testing.TB) engine.Options {
	opts, _ := timed(t)
	opts.DisableBackgroundCheckpoint, opts.CheckpointUpdates = false, 100
	return opts
}

// number reads a number in a transaction; a key that is not set counts as 0.
func number(tx *engine.Tx, key string) (int, error) {
	value, ok, err := tx.Get([]byte(key))
	if err != nil || !ok {
		return 0, err
	}
	return strconv.Atoi(string(value))
}

func setNumber(tx *engine.Tx, key string, n int) { tx.Set([]byte(key), []byte(strconv.Itoa(n))) }

// Increments are like those of one caller after the other: each number is read once, versions rise with the numbers, and whoever
// begins after another has ended reads more.
func TestUpdateCounter(t *testing.T) {
	const writers, each = 64, 100
	db := enginetest.Open(t, busy(t))
	var seen [writers * each]atomic.Pointer[engine.Version]
	var ended atomic.Int64 // the highest number that an increment that has ended read
	ended.Store(-1)
	var callers sync.WaitGroup
	for range writers {
		callers.Go(func() {
			for range each {
				before, n := ended.Load(), 0
				increment := func(tx *engine.Tx) (err error) {
					n, err = number(tx, "n")
					setNumber(tx, "n", n+1)
					return err
				}
				v, err := db.Update(ctx, increment)
				for errors.Is(err, engine.ErrConflict) {
					v, err = db.Update(ctx, increment)
				}
				if !assert.NoError(t, err) {
					return
				}
				assert.Greater(t, int64(n), before)
				assert.Nil(t, seen[n].Swap(&v), n)
				for old := ended.Load(); old < int64(n) && !ended.CompareAndSwap(old, int64(n)); old = ended.Load() {
				}
			}
		})
	}
	callers.Wait()
	requireValue(t, db, "n", fmt.Sprint(writers*each))
	for n := range seen {
		require.NotNil(t, seen[n].Load(), n)
		require.EqualValues(t, n+1, seen[n].Load().Seq, "no other operation was written")
	}
}

// Transfers keep the sum, in every snapshot and every transaction that only reads.
func TestUpdateTransfers(t *testing.T) {
	const accounts, each, writers = 10, 100, 8
	db := enginetest.Open(t, busy(t))
	account := func(i int) string { return fmt.Sprint("account", i) }
	for i := range accounts {
		set(t, db, account(i), strconv.Itoa(each))
	}
	var stop atomic.Bool
	var callers, readers sync.WaitGroup
	for w := range writers {
		callers.Go(func() {
			for i := range 150 {
				from, to, amount := (w+i)%accounts, (w+3*i+1)%accounts, i%7
				_, err := db.Update(ctx, func(tx *engine.Tx) error {
					a, err := number(tx, account(from))
					if err != nil || a < amount || from == to {
						return err
					}
					b, err := number(tx, account(to))
					setNumber(tx, account(from), a-amount)
					setNumber(tx, account(to), b+amount)
					return err
				})
				if err != nil && !assert.ErrorIs(t, err, engine.ErrConflict) {
					return
				}
			}
		})
	}
	readers.Go(func() {
		for !stop.Load() {
			sum, n, s := 0, 0, db.Snapshot()
			for _, v := range s.Prefix([]byte("account")) {
				a, err := strconv.Atoi(string(v))
				assert.NoError(t, err)
				sum, n = sum+a, n+1
			}
			assert.NoError(t, s.Err())
			if !assert.Equal(t, []int{accounts * each, accounts}, []int{sum, n}, "snapshot at %v", s.Version()) {
				return
			}
		}
	})
	readers.Go(func() {
		for !stop.Load() {
			sum := 0
			v, err := db.Update(ctx, func(tx *engine.Tx) error {
				sum = 0
				for i := range accounts {
					a, err := number(tx, account(i))
					if err != nil {
						return err
					}
					sum += a
				}
				return nil
			})
			if errors.Is(err, engine.ErrConflict) {
				continue
			}
			if !assert.NoError(t, err) || !assert.Equal(t, accounts*each, sum, "transaction at %v", v) {
				return
			}
		}
	})
	callers.Wait()
	stop.Store(true)
	readers.Wait()
}

// Two who each look at both keys and write one of them do not together do what neither may: there is no write skew, also where
// what was read is that a key is absent.
func TestUpdateAllowsNoWriteSkew(t *testing.T) {
	db := enginetest.Open(t, busy(t))
	for round := range 60 {
		x, y := fmt.Sprint("x", round), fmt.Sprint("y", round)
		set(t, db, x, "50")
		set(t, db, y, "50")
		var callers sync.WaitGroup
		for i := range 4 {
			key := []string{x, y}[i%2]
			callers.Go(func() {
				_, err := db.Update(ctx, func(tx *engine.Tx) error {
					a, err := number(tx, x)
					if err != nil {
						return err
					}
					b, err := number(tx, y)
					if err != nil || a+b < 80 {
						return err
					}
					own, err := number(tx, key)
					setNumber(tx, key, own-80)
					return err
				})
				assert.NoError(t, err)
			})
			callers.Go(func() { // on call: at least one stays, so the first to see nobody else must stay
				_, err := db.Update(ctx, func(tx *engine.Tx) error {
					_, taken, err := tx.Get(fmt.Appendf(nil, "off%d-%d", round, (i+1)%2))
					if err == nil && !taken {
						tx.Set(fmt.Appendf(nil, "off%d-%d", round, i%2), nil)
					}
					return err
				})
				assert.NoError(t, err)
			})
		}
		callers.Wait()
		sum := 0
		for _, key := range []string{x, y} {
			value, _, err := db.Get([]byte(key))
			require.NoError(t, err)
			n, err := strconv.Atoi(string(value))
			require.NoError(t, err)
			sum += n
		}
		require.Equal(t, 20, sum)
		off := 0
		for range db.Snapshot().Prefix(fmt.Appendf(nil, "off%d-", round)) {
			off++
		}
		require.Equal(t, 1, off)
	}
}

// What fn returns is returned, what it wrote then is not written, and a panic goes through and leaves the database usable.
func TestUpdateThatFails(t *testing.T) {
	opts, _ := timed(t)
	db := enginetest.Open(t, opts)
	before, left := set(t, db, "k", "v"), logs(t, opts.Dir)
	mine := errors.New("mine")
	calls := 0
	for _, want := range []error{mine, engine.ErrConditionFailed, engine.ErrConflict, context.Canceled} {
		v, err := db.Update(ctx, func(tx *engine.Tx) error {
			calls++
			_, _, _ = tx.Get([]byte("k"))
			tx.Set([]byte("k"), []byte("changed"))
			return want
		})
		require.Equal(t, want, err, "as it is")
		require.Zero(t, v)
	}
	require.Equal(t, 4, calls)
	require.PanicsWithValue(t, "mine", func() {
		_, _ = db.Update(ctx, func(tx *engine.Tx) error { tx.Delete([]byte("k")); panic("mine") })
	})
	require.Equal(t, before, db.Version())
	require.Equal(t, left, logs(t, opts.Dir))
	requireValue(t, db, "k", "v")
	for name, c := range map[string]struct {
		write func(tx *engine.Tx)
		want  error
	}{
		"no key":          {func(tx *engine.Tx) { tx.Set(nil, nil) }, engine.ErrKeyEmpty},
		"no key, delete":  {func(tx *engine.Tx) { tx.Delete(nil) }, engine.ErrKeyEmpty},
		"key too large":   {func(tx *engine.Tx) { tx.Set(make([]byte, format.MaxKeyLen+1), nil) }, engine.ErrKeyTooLarge},
		"value too large": {func(tx *engine.Tx) { tx.Set([]byte("k"), make([]byte, engine.DefaultMaxValueBytes+1)) }, engine.ErrValueTooLarge},
	} {
		_, err := db.Update(ctx, func(tx *engine.Tx) error { tx.Set([]byte("l"), nil); c.write(tx); return nil })
		require.ErrorIs(t, err, c.want, name)
	}
	require.Equal(t, before, db.Version())
	set(t, db, "k", "w")
	require.NoError(t, db.Close())
	_, err := db.Update(ctx, func(*engine.Tx) error { panic("closed") })
	require.ErrorIs(t, err, engine.ErrClosed)
}

// A transaction sees what it has written itself, and nobody else does before its end.
func TestUpdateReadsItsOwnWrites(t *testing.T) {
	opts, clock := timed(t)
	db := enginetest.Open(t, opts)
	old := set(t, db, "old", "1")
	set(t, db, "deleted", "1")
	clock.ns.Store(100)
	see := func(tx *engine.Tx, key, want string, set bool) {
		t.Helper()
		got, ok, err := tx.Get([]byte(key))
		require.NoError(t, err)
		require.Equal(t, set, ok, key)
		require.Equal(t, want, string(got), key)
	}
	var kept *engine.Tx
	v, err := db.Update(ctx, func(tx *engine.Tx) error {
		kept = tx
		see(tx, "old", "1", true)
		e, _, err := tx.Entry([]byte("old"))
		require.NoError(t, err)
		require.Equal(t, old, e.Version)
		key, value := []byte("new"), []byte("2")
		tx.Set(key, value)
		copy(key, "xxx")
		copy(value, "x")
		see(tx, "new", "2", true)
		see(tx, "xxx", "", false)
		got, _, _ := tx.Get([]byte("new"))
		got[0] = 'y' // a copy
		see(tx, "new", "2", true)
		tx.Delete([]byte("deleted"))
		see(tx, "deleted", "", false)
		tx.Delete([]byte("old"))
		tx.SetUntil([]byte("old"), []byte("3"), after(200))
		e, ok, err := tx.Entry([]byte("old"))
		require.NoError(t, err)
		require.True(t, ok)
		require.Zero(t, e.Version, "not known yet")
		require.True(t, after(200).Equal(e.Deadline))
		tx.SetUntil([]byte("past"), []byte("4"), after(100))
		see(tx, "past", "", false)
		tx.Set([]byte("empty"), nil)
		see(tx, "empty", "", true)
		see(tx, "", "", false)
		requireAbsent(t, db, "new")
		requireValue(t, db, "old", "1")
		requireValue(t, db, "deleted", "1")
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, db.Version(), v)
	shadow{"old": "3", "new": "2", "empty": ""}.check(t, db, "deleted", "past")
	_, ok, err := kept.Get([]byte("new"))
	require.Error(t, err, "it has ended")
	require.False(t, ok)
	kept.Set([]byte("later"), nil)
	kept.Delete([]byte("new"))
	requireAbsent(t, db, "later")
	requireValue(t, db, "new", "2")
	require.Equal(t, db.Version(), v)
}

// A transaction that only reads writes nothing, and one that only writes has no conflict.
func TestUpdateOneSided(t *testing.T) {
	opts, _ := timed(t)
	db := enginetest.Open(t, opts)
	before, left := set(t, db, "k", "v"), logs(t, opts.Dir)
	v, err := db.Update(ctx, func(tx *engine.Tx) error { _, _, err := tx.Get([]byte("k")); return err })
	require.NoError(t, err)
	require.Equal(t, before, v)
	v, err = db.Update(ctx, func(*engine.Tx) error { return nil })
	require.NoError(t, err)
	require.Equal(t, before, v)
	require.Equal(t, left, logs(t, opts.Dir))
	calls := 0
	_, err = db.Update(ctx, func(tx *engine.Tx) error {
		calls++
		set(t, db, "k", "theirs")
		tx.Set([]byte("k"), []byte("ours"))
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 1, calls)
	requireValue(t, db, "k", "ours")
}

// A key that is too large to be set is absent to a transaction, as it is to DB.Get; that is no reason to fail.
func TestTxGetOfAKeyThatIsTooLarge(t *testing.T) {
	opts, _ := timed(t)
	db := enginetest.Open(t, opts)
	_, err := db.Update(ctx, func(tx *engine.Tx) error {
		_, ok, err := tx.Get([]byte(strings.Repeat("k", format.MaxKeyLen+1)))
		require.False(t, ok)
		tx.Set([]byte("k"), []byte("after all"))
		return err
	})
	require.NoError(t, err)
	requireValue(t, db, "k", "after all")
}

// Whoever keeps a transaction beyond its function gets an error, also where the function has panicked.
func TestTxEndsWithAPanic(t *testing.T) {
	opts, _ := timed(t)
	db := enginetest.Open(t, opts)
	set(t, db, "k", "v")
	var kept *engine.Tx
	require.Panics(t, func() {
		_, _ = db.Update(ctx, func(tx *engine.Tx) error { kept = tx; panic("mine") })
	})
	_, ok, err := kept.Get([]byte("k"))
	require.Error(t, err)
	require.False(t, ok)
}

// A conflict runs fn again, whatever fn made of it, but not for ever.
func TestUpdateConflicts(t *testing.T) {
	opts, clock := timed(t)
	db := enginetest.Open(t, opts)
	set(t, db, "k", "0")
	for name, c := range map[string]struct {
		between func(n int)
		first   bool // the other write comes before the key is read
	}{
		"written before":    {func(n int) { set(t, db, "k", fmt.Sprint(n)) }, true},
		"written after":     {func(n int) { set(t, db, "k", fmt.Sprint(n)) }, false},
		"same value":        {func(int) { set(t, db, "k", "0") }, false},
		"deleted":           {func(int) { _, _ = db.Delete(ctx, []byte("k")) }, false},
		"deleted before":    {func(int) { set(t, db, "k", "0"); _, _ = db.Delete(ctx, []byte("k")) }, true},
		"set again":         {func(int) { _, _ = db.Delete(ctx, []byte("k")); set(t, db, "k", "0") }, false},
		"came due":          {func(int) { clock.ns.Add(1000) }, false},
		"in a checkpoint":   {func(n int) { set(t, db, "k", fmt.Sprint(n)); _ = db.Checkpoint(ctx) }, false},
		"other transaction": {func(int) { _, _ = db.Update(ctx, func(tx *engine.Tx) error { tx.Delete([]byte("k")); return nil }) }, false},
	} {
		setUntil(t, db, "k", "0", after(clock.ns.Load()+500))
		calls, conflicts := 0, 0
		_, err := db.Update(ctx, func(tx *engine.Tx) error {
			calls++
			if c.first && calls < 3 {
				c.between(calls)
			}
			if _, _, err := tx.Get([]byte("k")); err != nil { // and goes on as if nothing were wrong
				assert.ErrorIs(t, err, engine.ErrConflict, name)
				conflicts++
			}
			if !c.first && calls == 1 {
				c.between(calls)
			}
			tx.Set([]byte("done"), []byte(name))
			return nil
		})
		require.NoError(t, err, name)
		if c.first {
			require.Equal(t, []int{3, 2}, []int{calls, conflicts}, name)
		} else {
			require.Equal(t, []int{2, 0}, []int{calls, conflicts}, name)
		}
		requireValue(t, db, "done", name)
	}
}

// Who is always overtaken gives up after the last attempt, having written nothing.
func TestUpdateGivesUp(t *testing.T) {
	t.Parallel()
	opts, _ := timed(t)
	db := enginetest.Open(t, opts)
	for _, first := range []bool{false, true} {
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			t.Parallel() // it mostly waits
			calls, key := 0, fmt.Sprint("k", first)
			v, err := db.Update(ctx, func(tx *engine.Tx) error {
				calls++
				if first {
					set(t, db, key, fmt.Sprint(calls))
				}
				_, _, err := tx.Get([]byte(key))
				if !first {
					set(t, db, key, fmt.Sprint(calls))
				}
				tx.Set([]byte("hopeless"), nil)
				return err
			})
			require.ErrorIs(t, err, engine.ErrConflict)
			require.ErrorContains(t, err, "100 attempts")
			require.Zero(t, v)
			require.Equal(t, 100, calls)
			requireAbsent(t, db, "hopeless")
		})
	}
}

// A transaction within another one is one of its own: it stays, whatever becomes of the outer one, which conflicts where it read the same.
func TestUpdateWithinAnUpdate(t *testing.T) {
	t.Parallel() // it mostly waits
	opts, _ := timed(t)
	db := enginetest.Open(t, opts)
	inner := func(key string) {
		_, err := db.Update(ctx, func(tx *engine.Tx) error {
			n, err := number(tx, key)
			setNumber(tx, key, n+1)
			return err
		})
		require.NoError(t, err)
	}
	_, err := db.Update(ctx, func(tx *engine.Tx) error {
		n, err := number(tx, "outer")
		inner("other")
		setNumber(tx, "outer", n+1)
		return err
	})
	require.NoError(t, err)
	shadow{"outer": "1", "other": "1"}.check(t, db)
	_, err = db.Update(ctx, func(tx *engine.Tx) error {
		n, err := number(tx, "outer")
		inner("outer")
		setNumber(tx, "outer", n+1)
		return err
	})
	require.ErrorIs(t, err, engine.ErrConflict)
	requireValue(t, db, "outer", "101")
}

func TestUpdateContext(t *testing.T) {
	opts, _ := timed(t)
	db := enginetest.Open(t, opts)
	canceled, cancel := context.WithCancel(ctx)
	calls := 0
	_, err := db.Update(canceled, func(tx *engine.Tx) error { // between two attempts
		calls++
		_, _, err := tx.Get([]byte("k"))
		set(t, db, "k", fmt.Sprint(calls))
		if calls == 3 {
			cancel()
		}
		tx.Set([]byte("ours"), nil)
		return err
	})
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, engine.ErrIndeterminate)
	require.Equal(t, 3, calls)
	_, err = db.Update(canceled, func(*engine.Tx) error { panic("too late") })
	require.ErrorIs(t, err, context.Canceled)
	requireAbsent(t, db, "ours")
}
