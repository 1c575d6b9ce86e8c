package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
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

// TestVersionsOfAGroup: the version that a writer is answered is the one that its key has, whoever else was in the group and was refused.
func TestVersionsOfAGroup(t *testing.T) {
	const writers = 60
	opts, _ := timed(t)
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts.OpenDir = in.OpenDir
	db := enginetest.Open(t, opts)
	g := hold(in, func(op mmapiotest.Op) bool {
		return op.Kind == mmapiotest.WriteAt && strings.HasPrefix(op.Name, "logfile.")
	})
	var callers sync.WaitGroup
	callers.Go(func() { _, err := db.Set(ctx, []byte("holds the pipeline"), nil); assert.NoError(t, err) })
	<-g.come
	var versions [writers]engine.Version
	for i := range writers {
		callers.Go(func() {
			b := batch(sets("of "+fmt.Sprint(i), ""), sets(fmt.Sprint(i), ""))
			if i%2 == 0 {
				b.IfPresent([]byte("none"))
			}
			v, err := db.Apply(ctx, b)
			assert.Equal(t, i%2 == 0, errors.Is(err, engine.ErrConditionFailed), err)
			versions[i] = v
		})
	}
	time.Sleep(10 * time.Millisecond) // so that they mostly come into one group; the versions are right in any
	close(g.open)
	callers.Wait()
	for i := 1; i < writers; i += 2 {
		e, ok, err := db.Entry(fmt.Append(nil, i))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, e.Version, versions[i])
	}
}

// TestLogOfAnotherHistory: two copies of a database go on by themselves. The log of one does not continue the checkpoint of the other, though it has the
// generation and the identity for it.
func TestLogOfAnotherHistory(t *testing.T) {
	opts := quiet(t)
	opts.Dir = inMemory(t)
	db, err := engine.Open(opts)
	require.NoError(t, err)
	set(t, db, "k", "both")
	require.NoError(t, db.Close())
	common := files(t, opts.Dir)
	goOn := func(value string) map[string][]byte {
		restoreFiles(t, opts.Dir, common)
		db, err := engine.Open(opts)
		require.NoError(t, err)
		set(t, db, "k", value)
		require.NoError(t, db.Checkpoint(ctx))
		set(t, db, "later", value)
		require.NoError(t, db.Close())
		return files(t, opts.Dir)
	}
	theirs, ours := goOn("theirs"), goOn("ours")
	name := format.LogName(3)
	require.Contains(t, ours, name)
	changed := maps.Clone(ours)
	changed[name] = theirs[name]
	restoreFiles(t, opts.Dir, changed)
	_, err = engine.Open(opts)
	var place *format.CorruptionError
	require.ErrorAs(t, err, &place)
	require.Equal(t, name, place.File)
	restoreFiles(t, opts.Dir, ours)
	shadow{"k": "ours", "later": "ours"}.check(t, enginetest.Open(t, opts))
}

// TestSnapshotDuringACheckpoint: a snapshot that is taken while a checkpoint is being written sees what that has frozen, also of keys that are written
// again afterwards.
func TestSnapshotDuringACheckpoint(t *testing.T) {
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts := quiet(t)
	opts.OpenDir = in.OpenDir
	db := enginetest.Open(t, opts)
	set(t, db, "base", "1")
	require.NoError(t, db.Checkpoint(ctx))
	set(t, db, "frozen", "2")
	set(t, db, "base and frozen", "2")
	g := hold(in, func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.Create && isCheckpointTemp(op.Name) })
	goOn := sync.OnceFunc(func() { close(g.open) })
	t.Cleanup(goOn) // before the database is closed, which waits for the checkpoint
	done := make(chan error, 1)
	go func() { done <- db.Checkpoint(ctx) }()
	<-g.come
	set(t, db, "delta", "3")
	s := db.Snapshot()
	was := shadow{"base": "1", "frozen": "2", "base and frozen": "2", "delta": "3"}
	now := maps.Clone(was)
	for key := range was {
		set(t, db, key, "4")
		now[key] = "4"
	}
	check := func() {
		t.Helper()
		for key, want := range was {
			got, ok, err := s.Get([]byte(key))
			require.NoError(t, err)
			require.True(t, ok, key)
			require.Equal(t, want, string(got), key)
		}
		seen := shadow{}
		for key, value := range s.Scan(nil, nil) {
			seen[string(key)] = string(value)
		}
		require.NoError(t, s.Err())
		require.Equal(t, was, seen)
	}
	check()
	goOn()
	require.NoError(t, <-done)
	check()
	now.check(t, db)
}

// TestSnapshotsKeepTheirLogs: the logs that a snapshot reads from are not written over, however many checkpoints later, while others are.
func TestSnapshotsKeepTheirLogs(t *testing.T) {
	const rounds = 12
	opts := quiet(t)
	opts.Dir = inMemory(t)
	db := enginetest.Open(t, opts)
	var snapshots []*engine.Snapshot
	var models []shadow
	m := shadow{}
	for round := range rounds {
		for i := range 12 {
			key := fmt.Sprint(i)
			m[key] = string(bytesOf(fmt.Sprint(round, "/", i), 3000))
			set(t, db, key, m[key])
		}
		if round%3 != 2 { // the logs of the others may be recycled
			snapshots, models = append(snapshots, db.Snapshot()), append(models, maps.Clone(m))
		}
		require.NoError(t, db.Checkpoint(ctx))
	}
	for i, s := range snapshots {
		seen := shadow{}
		for key, value := range s.Scan(nil, nil) {
			seen[string(key)] = string(value)
		}
		require.NoError(t, s.Err())
		require.Equal(t, models[i], seen)
	}
}

// TestCancelledWhileAGroupIsWritten cancels writers while some of them are in a group that is being written, and others wait. Who is answered that the
// outcome is unknown may find the write there or not; who is only answered that the context has ended, does not.
func TestCancelledWhileAGroupIsWritten(t *testing.T) {
	const writers = 40 // as many again wait behind them
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts := quiet(t)
	opts.OpenDir = in.OpenDir
	db := enginetest.Open(t, opts)
	set(t, db, "k", "v")
	gate := func(nth int) (come, open chan struct{}) {
		come, open = make(chan struct{}), make(chan struct{})
		in.Add(mmapiotest.Fault{Match: toTheLog, Nth: nth, Before: func(mmapiotest.Op) { close(come); <-open }})
		return come, open
	}
	firstComes, first := gate(1)
	secondComes, second := gate(2)
	var callers sync.WaitGroup
	callers.Go(func() { _, err := db.Set(ctx, []byte("holds the pipeline"), nil); assert.NoError(t, err) })
	<-firstComes
	c, cancel := context.WithCancel(ctx)
	defer cancel()
	var errs [2 * writers]error
	for i := range writers {
		callers.Go(func() { _, errs[i] = db.Set(c, fmt.Append(nil, i), nil) })
	}
	time.Sleep(10 * time.Millisecond) // so that they mostly come into one group; the answers are right in any
	close(first)
	<-secondComes
	for i := writers; i < len(errs); i++ {
		callers.Go(func() { _, errs[i] = db.Apply(c, batch(sets(fmt.Sprint(i), ""))) })
	}
	time.Sleep(10 * time.Millisecond)
	cancel()
	time.Sleep(10 * time.Millisecond)
	close(second)
	callers.Wait()
	set(t, db, "after", "") // by then all that was handed over is committed
	unknown := 0
	for i, err := range errs {
		_, there, getErr := db.Get(fmt.Append(nil, i))
		require.NoError(t, getErr)
		switch {
		case err == nil:
			require.True(t, there)
		case errors.Is(err, engine.ErrIndeterminate):
			unknown++
			require.ErrorIs(t, err, context.Canceled)
		default:
			require.ErrorIs(t, err, context.Canceled)
			require.False(t, there, "%d is there, and its writer was told that nothing was written", i)
		}
	}
	t.Logf("%d of %d writers do not know", unknown, len(errs))
}
