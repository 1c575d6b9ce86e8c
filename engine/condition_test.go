package engine_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
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

// batch is a batch made by steps.
func batch(steps ...func(b *engine.Batch)) *engine.Batch {
	b := new(engine.Batch)
	for _, step := range steps {
		step(b)
	}
	return b
}

func sets(key, value string) func(*engine.Batch) {
	return func(b *engine.Batch) { b.Set([]byte(key), []byte(value)) }
}

func ifAbsent(key string) func(*engine.Batch) {
	return func(b *engine.Batch) { b.IfAbsent([]byte(key)) }
}

func ifPresent(key string) func(*engine.Batch) {
	return func(b *engine.Batch) { b.IfPresent([]byte(key)) }
}

func ifVersion(key string, v engine.Version) func(*engine.Batch) {
	return func(b *engine.Batch) { b.IfVersion([]byte(key), v) }
}

func ifValue(key, value string) func(*engine.Batch) {
	return func(b *engine.Batch) { b.IfValue([]byte(key), []byte(value)) }
}

// logs are the log files of a directory.
func logs(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	all := files(t, dir)
	for name := range all {
		if _, log := format.ParseLogName(name); !log {
			delete(all, name)
		}
	}
	return all
}

// requireRefused checks that a condition fails, what its error says, and that nothing was written.
func requireRefused(t *testing.T, db *engine.DB, dir string, b *engine.Batch, want engine.ConditionError) {
	t.Helper()
	version, stats, before := db.Version(), db.Stats(), logs(t, dir)
	v, err := db.Apply(ctx, b)
	require.ErrorIs(t, err, engine.ErrConditionFailed)
	require.Zero(t, v)
	var failed *engine.ConditionError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, want, *failed)
	for _, part := range []string{want.Want, want.Found, fmt.Sprintf("%q", want.Key)} {
		require.ErrorContains(t, err, part)
	}
	require.Equal(t, version, db.Version())
	after := db.Stats()
	require.Equal(t, []uint64{stats.Operations, stats.Groups, stats.LogBytes, stats.Keys}, []uint64{after.Operations, after.Groups, after.LogBytes, after.Keys})
	require.Equal(t, before, logs(t, dir), "nothing is in the log")
}

// Every kind of condition on every state of a key, wherever it lies.
func TestConditions(t *testing.T) {
	places(t, func(t *testing.T, opts engine.Options, clock *fakeClock, move func(*engine.DB)) {
		db := enginetest.Open(t, opts)
		older := set(t, db, "set", "old")
		version := set(t, db, "set", "value")
		empty := set(t, db, "empty", "")
		timed := setUntil(t, db, "timed", "soon", after(2000))
		due := setUntil(t, db, "due", "past", after(1000))
		deleted := set(t, db, "deleted", "was")
		_, err := db.Delete(ctx, []byte("deleted"))
		require.NoError(t, err)
		set(t, db, "settled", "") // what was written is there
		move(db)
		clock.ns.Store(1000)
		other := engine.Version{Epoch: version.Epoch + 1, Seq: version.Seq}
		absent, is := "no value", func(v engine.Version) string { return "version " + v.String() }
		for i, c := range []struct {
			key         string
			condition   func(*engine.Batch)
			want, found string // both empty if it holds
		}{
			{"set", ifPresent("set"), "", ""},
			{"set", ifVersion("set", version), "", ""},
			{"set", ifValue("set", "value"), "", ""},
			{"set", ifAbsent("set"), absent, is(version)},
			{"set", ifVersion("set", older), is(older), is(version)},
			{"set", ifVersion("set", other), is(other), is(version)},
			{"set", ifVersion("set", engine.Version{}), "version 0.0", is(version)},
			{"set", ifValue("set", "old"), `the value "old"`, is(version)},
			{"set", ifValue("set", ""), `the value ""`, is(version)},
			{"set", ifValue("set", "value2"), `the value "value2"`, is(version)},
			{"empty", ifValue("empty", ""), "", ""},
			{"empty", ifVersion("empty", empty), "", ""},
			{"timed", ifVersion("timed", timed), "", ""},
			{"timed", ifAbsent("timed"), absent, is(timed)},
			{"due", ifAbsent("due"), "", ""},
			{"due", ifPresent("due"), "a value", absent},
			{"due", ifVersion("due", due), is(due), absent},
			{"due", ifValue("due", "past"), `the value "past"`, absent},
			{"deleted", ifAbsent("deleted"), "", ""},
			{"deleted", ifPresent("deleted"), "a value", absent},
			{"deleted", ifVersion("deleted", deleted), is(deleted), absent},
			{"deleted", ifVersion("deleted", engine.Version{}), "version 0.0", absent},
			{"deleted", ifValue("deleted", "was"), `the value "was"`, absent},
			{"never", ifAbsent("never"), "", ""},
			{"never", ifPresent("never"), "a value", absent},
			{"never", ifVersion("never", engine.Version{}), "version 0.0", absent},
			{"never", ifValue("never", ""), `the value ""`, absent},
		} {
			b := batch(sets("written", fmt.Sprint(i)), ifPresent("set"), c.condition)
			if c.want == "" {
				v, err := db.Apply(ctx, b)
				require.NoError(t, err, "%d %s", i, c.key)
				require.Equal(t, db.Version(), v)
				requireValue(t, db, "written", fmt.Sprint(i))
				continue
			}
			requireRefused(t, db, opts.Dir, b, engine.ConditionError{Index: 1, Key: []byte(c.key), Want: c.want, Found: c.found})
		}
		requireRefused(t, db, opts.Dir, batch(sets("x", ""), ifAbsent("set"), ifPresent("never")), // the first one counts
			engine.ConditionError{Index: 0, Key: []byte("set"), Want: absent, Found: is(version)})
	})
}

// A batch of conditions alone is a question, answered in its turn; it leaves no trace.
func TestConditionsAlone(t *testing.T) {
	opts, _ := timed(t)
	db := enginetest.Open(t, opts)
	first := set(t, db, "k", "v")
	v := set(t, db, "l", "v")
	before, stats := logs(t, opts.Dir), db.Stats()
	got, err := db.Apply(ctx, batch(ifPresent("k"), ifVersion("k", first), ifAbsent("none")))
	require.NoError(t, err)
	assert.Equal(t, v, got, "the version of the state in which they held")
	requireRefused(t, db, opts.Dir, batch(ifPresent("none")), engine.ConditionError{Key: []byte("none"), Want: "a value", Found: "no value"})
	require.Equal(t, before, logs(t, opts.Dir))
	require.Equal(t, stats.Groups, db.Stats().Groups)
	require.NoError(t, db.Close())
	_, err = db.Apply(ctx, batch(ifPresent("k")))
	require.ErrorIs(t, err, engine.ErrClosed)
}

// What a condition of a group has seen of the same group is known only when the group is durable.
func TestConditionsRestOnTheirGroup(t *testing.T) {
	opts, _ := timed(t)
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts.OpenDir = in.OpenDir
	db, err := engine.Open(opts)
	require.NoError(t, err)
	set(t, db, "a", "")
	writes := func(op mmapiotest.Op) bool {
		return op.Kind == mmapiotest.WriteAt && strings.HasPrefix(op.Name, "logfile.")
	}
	g := hold(in, writes)
	var callers sync.WaitGroup
	callers.Go(func() { _, err := db.Set(ctx, []byte("holds the pipeline"), nil); assert.NoError(t, err) })
	<-g.come
	in.Clear()
	in.Add(mmapiotest.Fault{Match: writes, Err: syscall.EIO, ForGood: true})
	callers.Go(func() { _, err := db.Set(ctx, []byte("k"), nil); assert.ErrorIs(t, err, engine.ErrIndeterminate) })
	for i := range 20 {
		callers.Go(func() {
			b := batch(ifPresent("k"))
			if i%2 == 0 {
				b = batch(ifAbsent("k"), sets("other", ""))
			}
			_, err := db.Apply(ctx, b)
			if i%2 == 0 {
				assert.True(t, errorsIsAny(err, engine.ErrIndeterminate, engine.ErrPoisoned), err) // the set before it was never there, or may be
			} else {
				assert.Error(t, err, "k is not durable")
			}
		})
	}
	time.Sleep(10 * time.Millisecond) // so that they mostly come into one group; they are right in any
	close(g.open)
	callers.Wait()
	require.ErrorIs(t, db.Close(), engine.ErrPoisoned)
}

// Of any number of callers that all want to be the first, one is.
func TestOneWins(t *testing.T) {
	opts, _ := timed(t)
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts.OpenDir = in.OpenDir
	db := enginetest.Open(t, opts)
	for round := range 20 {
		in.Clear()
		g := hold(in, func(op mmapiotest.Op) bool {
			return op.Kind == mmapiotest.WriteAt && strings.HasPrefix(op.Name, "logfile.")
		})
		key := fmt.Sprint("lock", round)
		var callers sync.WaitGroup
		callers.Go(func() { set(t, db, "holds the pipeline", "") })
		<-g.come
		var won atomic.Int64
		var winner atomic.Pointer[engine.Version]
		for i := range 64 {
			callers.Go(func() {
				v, err := db.Apply(ctx, batch(ifAbsent(key), sets("of "+key, "x"), sets(key, fmt.Sprint(i))))
				if err == nil {
					won.Add(1)
					winner.Store(&v)
					return
				}
				var failed *engine.ConditionError
				if assert.ErrorAs(t, err, &failed) {
					// Nobody is told that he has lost before it is durable who has won.
					e, ok, err := db.Entry([]byte(key))
					assert.True(t, ok && err == nil && failed.Found == "version "+e.Version.String(), failed.Found)
				}
			})
		}
		close(g.open)
		callers.Wait()
		require.EqualValues(t, 1, won.Load())
		e, ok, err := db.Entry([]byte(key))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, *winner.Load(), e.Version)
	}
}

// Counters that compare what they have read lose nothing, and what each has written is gap-free.
func TestCountersByCondition(t *testing.T) {
	const writers, each = 16, 20
	for _, kind := range []string{"version", "value"} {
		opts, _ := timed(t)
		opts.DisableBackgroundCheckpoint, opts.CheckpointUpdates = false, 50
		db := enginetest.Open(t, opts)
		set(t, db, "n", string(make([]byte, 8)))
		var callers sync.WaitGroup
		var seen [writers*each + 1]atomic.Int64
		for range writers {
			callers.Go(func() {
				for done := 0; done < each; {
					e, ok, err := db.Entry([]byte("n"))
					if !assert.True(t, ok && err == nil, err) {
						return
					}
					n := binary.BigEndian.Uint64(e.Value) + 1
					b := batch(sets("n", string(binary.BigEndian.AppendUint64(nil, n))))
					if kind == "version" {
						b.IfVersion(e.Key, e.Version)
					} else {
						b.IfValue(e.Key, e.Value)
					}
					if _, err = db.Apply(ctx, b); err == nil {
						done++
						seen[n].Add(1)
					} else if !assert.ErrorIs(t, err, engine.ErrConditionFailed) {
						return
					}
				}
			})
		}
		callers.Wait()
		for n := range writers * each {
			require.EqualValues(t, 1, seen[n+1].Load(), "%s %d", kind, n+1)
		}
		requireValue(t, db, "n", string(binary.BigEndian.AppendUint64(nil, writers*each)))
	}
}

// What is left out of a group counts nowhere.
func TestRefusedOfAGroupDoNotCount(t *testing.T) {
	opts, _ := timed(t)
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts.OpenDir, opts.LogFileBytes = in.OpenDir, 1<<20
	db := enginetest.Open(t, opts)
	g := hold(in, func(op mmapiotest.Op) bool {
		return op.Kind == mmapiotest.WriteAt && strings.HasPrefix(op.Name, "logfile.")
	})
	var callers sync.WaitGroup
	callers.Go(func() { set(t, db, "first", "") })
	<-g.come
	large := strings.Repeat("x", 1000)
	for i := range 40 {
		callers.Go(func() {
			b := batch(sets(fmt.Sprintf("%02d", i), large))
			if i%2 == 0 {
				b.IfPresent([]byte("none"))
			}
			_, err := db.Apply(ctx, b)
			assert.Equal(t, i%2 == 0, errors.Is(err, engine.ErrConditionFailed), err)
		})
	}
	time.Sleep(10 * time.Millisecond) // so that they mostly come into one group; the sums are right in any
	close(g.open)
	callers.Wait()
	require.EqualValues(t, 21, db.Stats().Operations)
	require.EqualValues(t, format.RecordLen(5, 0, false)+20*format.RecordLen(2, len(large), false), db.Stats().LogBytes)
	require.EqualValues(t, 21, db.Stats().Keys)
}

// Where it cannot be read what a condition asks for, the answer is the damage, and nothing is written; nobody else is harmed.
func TestConditionsMeetDamage(t *testing.T) {
	for _, lies := range []string{"logfile.1", "checkpoint.2"} {
		opts, _ := timed(t)
		db, err := engine.Open(opts)
		require.NoError(t, err)
		v := set(t, db, "k", "precious-value")
		set(t, db, "whole", "v")
		if lies == "checkpoint.2" {
			require.NoError(t, db.Checkpoint(ctx))
		}
		path := filepath.Join(opts.Dir, lies)
		at := int64(bytes.Index(files(t, opts.Dir)[lies], []byte("precious-value")))
		require.Positive(t, at, lies)
		flip(t, path, at)
		before := db.Version()
		for _, c := range []func(*engine.Batch){ifPresent("k"), ifAbsent("k"), ifValue("k", "precious-value"), ifVersion("k", v)} {
			_, err = db.Apply(ctx, batch(sets("x", ""), ifPresent("whole"), c))
			require.ErrorIs(t, err, engine.ErrCorrupt)
			require.NotErrorIs(t, err, engine.ErrConditionFailed)
			require.ErrorContains(t, err, "condition 1")
			var place *format.CorruptionError
			require.ErrorAs(t, err, &place)
			require.Equal(t, lies, place.File)
		}
		_, err = db.Update(ctx, func(tx *engine.Tx) error { _, _, _ = tx.Get([]byte("k")); tx.Set([]byte("x"), nil); return nil })
		require.ErrorIs(t, err, engine.ErrCorrupt, "a transaction that did not look")
		require.Equal(t, before, db.Version())
		require.ErrorIs(t, db.Stats().Damage, engine.ErrCorrupt)
		_, err = db.Apply(ctx, batch(sets("x", ""), ifPresent("whole")))
		require.NoError(t, err)
		require.NoError(t, db.Close())
	}
}

func TestConditionArguments(t *testing.T) {
	opts, _ := timed(t)
	db := enginetest.Open(t, opts)
	before := set(t, db, "k", "v")
	long := strings.Repeat("k", format.MaxKeyLen+1)
	for key, want := range map[string]error{"": engine.ErrKeyEmpty, long: engine.ErrKeyTooLarge} {
		for _, c := range []func(*engine.Batch){ifPresent(key), ifAbsent(key), ifValue(key, ""), ifVersion(key, before)} {
			_, err := db.Apply(ctx, batch(sets("x", ""), ifPresent("k"), c))
			require.ErrorIs(t, err, want)
			require.ErrorContains(t, err, "condition 1")
		}
	}
	_, err := db.Apply(ctx, batch(sets("x", ""), ifAbsent(long[1:]), ifPresent("k")))
	require.NoError(t, err)
	before = db.Version()
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = db.Apply(canceled, batch(sets("x", ""), ifPresent("k")))
	require.ErrorIs(t, err, context.Canceled)
	_, err = db.Apply(canceled, batch(ifAbsent("k")))
	require.ErrorIs(t, err, context.Canceled)
	_, err = db.Touch(canceled, []byte("k"), after(9000))
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, before, db.Version())

	// A batch may be applied again, and its memory used for another one. What its maker does with his slices is his.
	key, value, b := []byte("key"), []byte("val"), new(engine.Batch)
	b.IfAbsent(key)
	b.Set(key, value)
	copy(key, "xxx")
	copy(value, "yyy")
	_, err = db.Apply(ctx, b)
	require.NoError(t, err)
	requireValue(t, db, "key", "val")
	_, err = db.Apply(ctx, b)
	var failed *engine.ConditionError
	require.ErrorAs(t, err, &failed)
	b.Reset()
	require.Zero(t, b.Len())
	b.IfAbsent([]byte("abc"))
	require.Equal(t, "key", string(failed.Key), "an error is nobody's buffer")
	b.Reset()
	v, err := db.Apply(ctx, b)
	require.NoError(t, err, "Reset forgets conditions")
	require.Equal(t, db.Version(), v)
}

// Whoever gives up waiting has his batch back, and what he is told of its outcome is true.
func TestConditionsAbandoned(t *testing.T) {
	opts, _ := timed(t)
	db := enginetest.Open(t, opts)
	var callers sync.WaitGroup
	for w := range 8 {
		callers.Go(func() {
			var b engine.Batch
			for i := range 100 {
				key := fmt.Appendf(nil, "%d-%d", w, i)
				b.IfAbsent(key)
				b.IfPresent(fmt.Appendf(nil, "%d-%d", w, i-1))
				b.Set(key, key)
				if i == 0 {
					b.Reset()
					b.Set(key, key)
				}
				short, cancel := context.WithTimeout(ctx, time.Duration(i)*time.Microsecond)
				_, err := db.Apply(short, &b)
				cancel()
				b.Reset()
				b.Set(bytes.Repeat([]byte("x"), len(key)), nil) // writes over what it had, if anything
				b.Reset()
				if err == nil {
					requireValue(t, db, string(key), string(key))
				} else if assert.True(t, errorsIsAny(err, context.DeadlineExceeded, engine.ErrConditionFailed), err) &&
					!errors.Is(err, engine.ErrIndeterminate) {
					requireAbsent(t, db, string(key))
				}
				_, err = db.Set(ctx, key, key) // what the next one rests on
				assert.NoError(t, err)
			}
		})
	}
	callers.Wait()
	require.EqualValues(t, 800, db.Stats().Keys)
}

// The version of an entry is what the write returned, for a batch that of the operation, for as long as it is there.
func TestVersionsOfEntries(t *testing.T) {
	opts, _ := timed(t)
	db := enginetest.Open(t, opts)
	versions := map[string]engine.Version{}
	write := func(round int) {
		key := fmt.Sprint("set", round)
		versions[key] = setUntil(t, db, key, "v", after(1e9)) // with a deadline, so that checkpoints stamp the time
		versions["always"] = set(t, db, "always", fmt.Sprint(round))
		b := batch(sets(fmt.Sprint("first", round), ""), sets("twice", "1"), sets(fmt.Sprint("third", round), ""), sets("twice", "2"))
		last, err := db.Apply(ctx, b)
		require.NoError(t, err)
		at := func(back uint64) engine.Version { return engine.Version{Epoch: last.Epoch, Seq: last.Seq - back} }
		versions[fmt.Sprint("first", round)], versions[fmt.Sprint("third", round)], versions["twice"] = at(3), at(1), last
		require.Equal(t, versions["always"].Seq+4, last.Seq)
	}
	check := func() {
		t.Helper()
		require.EqualValues(t, len(versions), db.Stats().Keys)
		s := db.Snapshot()
		for key, want := range versions {
			e, ok, err := db.Entry([]byte(key))
			require.NoError(t, err)
			require.True(t, ok, key)
			require.Equal(t, want, e.Version, key)
			e, _, err = s.Entry([]byte(key))
			require.NoError(t, err)
			require.Equal(t, want, e.Version, key)
			_, err = db.Apply(ctx, batch(ifVersion(key, want)))
			require.NoError(t, err)
			_, err = db.Apply(ctx, batch(ifVersion(key, engine.Version{Epoch: want.Epoch + 1, Seq: want.Seq})))
			require.ErrorIs(t, err, engine.ErrConditionFailed)
		}
	}
	epoch := uint64(1)
	for round, step := range []string{"", "again", "killed", "checkpoint", "killed twice", "again", "checkpoint", "killed, checkpoint", "killed", "checkpoint", "again"} {
		switch step {
		case "checkpoint":
			require.NoError(t, db.Checkpoint(ctx))
		case "again":
			db = again(t, db, opts)
		case "killed twice": // with nothing written between
			db = killed(t, killed(t, db, opts), opts)
			epoch += 2
		case "killed":
			db = killed(t, db, opts)
			epoch++
		case "killed, checkpoint": // whose stamp is the first frame of the epoch
			db = killed(t, db, opts)
			require.NoError(t, db.Checkpoint(ctx))
			epoch++
		}
		check()
		write(round)
		require.Equal(t, epoch, versions["twice"].Epoch, "an unclean stop raises the epoch")
		check()
	}
}
