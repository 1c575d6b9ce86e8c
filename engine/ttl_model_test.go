package engine_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// expiring is a value and its deadline, in ns after noon; 0 for none.
type expiring struct {
	value    string
	deadline int64
}

// expiry is a run of random operations on keys that expire, and the state that they should lead to.
type expiry struct {
	t      *testing.T
	opts   engine.Options
	clock  *fakeClock
	in     *mmapiotest.Injector
	db     *engine.DB
	rng    *rand.Rand
	held   *frozen // a checkpoint under way; nil without one
	model  map[string]expiring
	engine int64 // time, in ns after noon
	n      int
}

const expiryKeys = 12

func newExpiry(t *testing.T, seed uint64) *expiry {
	e := &expiry{t: t, rng: rand.New(rand.NewPCG(seed, 1)), model: map[string]expiring{}}
	e.opts, e.clock = timed(t)
	e.in = mmapiotest.NewInjector(mmapio.OpenDir)
	e.opts.OpenDir = e.in.OpenDir
	e.db = enginetest.Open(t, e.opts)
	return e
}

func (e *expiry) alive(key string) bool {
	m, ok := e.model[key]
	return ok && (m.deadline == 0 || m.deadline > e.engine)
}

// deadline is one in the past, soon, or much later; seldom none.
func (e *expiry) deadline() int64 {
	switch e.rng.IntN(8) {
	case 0:
		return 0
	case 1:
		return e.engine - e.rng.Int64N(20)
	case 2:
		return e.engine + 1e6
	}
	return e.engine + 1 + e.rng.Int64N(60)
}

func moment(deadline int64) time.Time {
	if deadline == 0 {
		return time.Time{}
	}
	return after(deadline)
}

// write does one write.
func (e *expiry) write() {
	e.n++
	key, value, deadline := fmt.Sprint("key", e.rng.IntN(expiryKeys)), fmt.Sprint(e.n), e.deadline()
	switch e.rng.IntN(6) {
	case 0:
		set(e.t, e.db, key, value)
		e.model[key] = expiring{value, 0}
	case 1:
		_, err := e.db.Delete(ctx, []byte(key))
		require.NoError(e.t, err)
		delete(e.model, key)
	case 2:
		require.Equal(e.t, e.alive(key), touch(e.t, e.db, key, moment(deadline)))
		if e.alive(key) {
			e.model[key] = expiring{e.model[key].value, deadline}
		}
	case 3:
		var b engine.Batch
		for i := range 4 {
			key, deadline := fmt.Sprint("key", e.rng.IntN(expiryKeys)), e.deadline()
			if i == 2 {
				b.Delete([]byte(key))
				delete(e.model, key)
				continue
			}
			b.SetUntil([]byte(key), []byte(value), moment(deadline))
			e.model[key] = expiring{value, deadline}
		}
		_, err := e.db.Apply(ctx, &b)
		require.NoError(e.t, err)
	default:
		setUntil(e.t, e.db, key, value, moment(deadline))
		e.model[key] = expiring{value, deadline}
	}
}

// move does something that changes nothing of what is seen, but by the time that goes by.
func (e *expiry) move() {
	switch e.rng.IntN(6) {
	case 0, 1:
		e.clock.ns.Add(e.rng.Int64N(25))
	case 2:
		e.clock.ns.Add(-e.rng.Int64N(25))
	case 3:
		if e.held == nil && e.db.Stats().LogBytes > 0 {
			e.in.Clear()
			e.held = freeze(e.t, e.in, e.db)
		}
	case 4:
		e.thaw()
	case 5:
		e.thaw()
		set(e.t, e.db, "mark", "") // its frame says what time it is
		e.model["mark"] = expiring{}
		if e.rng.IntN(2) == 0 {
			e.db = killed(e.t, e.db, e.opts)
		} else {
			e.db = again(e.t, e.db, e.opts)
		}
	}
	e.engine = max(e.engine, e.clock.ns.Load())
}

// thaw lets the checkpoint under way come to its end.
func (e *expiry) thaw() {
	if e.held != nil {
		close(e.held.open)
		require.NoError(e.t, <-e.held.result)
		e.held = nil
	}
}

// check compares all that is seen with the model.
func (e *expiry) check() {
	alive := 0
	for key := range e.model {
		if e.alive(key) {
			alive++
		}
	}
	require.EqualValues(e.t, alive, e.db.Stats().Keys, "step %d", e.n)
	s := e.db.Snapshot()
	for entry := range s.Entries(nil, nil) {
		alive--
		key := string(entry.Key)
		require.True(e.t, e.alive(key), "%s at step %d", key, e.n)
		require.Equal(e.t, e.model[key].value, string(entry.Value))
		require.True(e.t, moment(e.model[key].deadline).Equal(entry.Deadline))
	}
	require.NoError(e.t, s.Err())
	require.Zero(e.t, alive)
	key := fmt.Sprint("key", e.rng.IntN(expiryKeys))
	value, ok, err := e.db.Get([]byte(key))
	require.NoError(e.t, err)
	require.Equal(e.t, e.alive(key), ok, "%s at step %d", key, e.n)
	if ok {
		require.Equal(e.t, e.model[key].value, string(value))
	}
}

// The count of keys, and all else, is exact after any sequence of writes, steps of the clock, checkpoints and restarts.
func TestExpiryAgainstAModel(t *testing.T) {
	seeds, steps := 25, 150
	if long {
		seeds, steps = 500, 1000
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			e := newExpiry(t, uint64(seed))
			for range steps {
				if e.rng.IntN(3) > 0 {
					e.write()
				} else {
					e.move()
				}
				e.check()
			}
			e.thaw()
			e.check()
			set(t, e.db, "mark", "") // its frame says what time it is
			want := dump(t, e.db)
			left := files(t, e.opts.Dir)
			require.NoError(t, e.db.Close())
			for range 2 { // every open of the same files gives the same
				restoreFiles(t, e.opts.Dir, left)
				db := enginetest.Open(t, e.opts)
				version := db.Version()
				assert.Equal(t, want[1:], dump(t, db)[1:])
				assert.EqualValues(t, len(want)-1, db.Stats().Keys)
				assert.Greater(t, version.Epoch, e.db.Version().Epoch)
				require.NoError(t, db.Close())
			}
			checkpoints, err := filepath.Glob(filepath.Join(e.opts.Dir, "checkpoint.*"))
			require.NoError(t, err)
			require.NotEmpty(t, checkpoints)
		})
	}
}

// requireSeen asks for a key in every way there is: all must say that it is there, or all that it is not.
func requireSeen(t *testing.T, db *engine.DB, key, value string, seen bool) {
	t.Helper()
	s := db.Snapshot()
	entry, ok, err := db.Entry([]byte(key))
	require.NoError(t, err)
	require.Equal(t, seen, ok, "Entry")
	requireSnapshot(t, s, key, value, seen)
	var present, absent, equal engine.Batch
	present.IfPresent([]byte(key))
	absent.IfAbsent([]byte(key))
	equal.IfValue([]byte(key), []byte(value))
	for b, want := range map[*engine.Batch]bool{&present: seen, &absent: !seen, &equal: seen} {
		if _, err = db.Apply(ctx, b); want {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, engine.ErrConditionFailed)
		}
	}
	_, err = db.Update(ctx, func(tx *engine.Tx) error {
		got, ok, err := tx.Get([]byte(key))
		require.Equal(t, seen, ok, "Tx.Get")
		if seen {
			require.Equal(t, value, string(got))
		}
		return err
	})
	require.NoError(t, err)
	if seen {
		requireValue(t, db, key, value)
		require.Equal(t, value, string(entry.Value))
	} else {
		requireAbsent(t, db, key)
		require.Zero(t, entry)
	}
}

// requireSnapshot asks a snapshot for a key in every way there is.
func requireSnapshot(t *testing.T, s *engine.Snapshot, key, value string, seen bool) {
	t.Helper()
	got, ok, err := s.Get([]byte(key))
	require.NoError(t, err)
	require.Equal(t, seen, ok, "Snapshot.Get")
	next := append([]byte(key), 0)
	ways := map[string]func(yield func(k, v []byte) bool){
		"Scan": s.Scan([]byte(key), next), "Backward": s.Backward([]byte(key), next), "whole Scan": s.Scan(nil, nil), "whole Backward": s.Backward(nil, nil),
		"Prefix": s.Prefix([]byte(key)),
		"Entries": func(yield func(k, v []byte) bool) {
			s.Entries(nil, nil)(func(e engine.Entry) bool { return yield(e.Key, e.Value) })
		},
	}
	for name, way := range ways {
		found := false
		way(func(k, v []byte) bool {
			if string(k) == key {
				found = true
				require.Equal(t, value, string(v), name)
			}
			return true
		})
		require.Equal(t, seen, found, name)
	}
	if seen {
		require.Equal(t, value, string(got))
	}
	require.NoError(t, s.Err())
}

// places runs a test once for each place where a key can lie: move brings what was written there.
func places(t *testing.T, test func(t *testing.T, opts engine.Options, clock *fakeClock, move func(db *engine.DB))) {
	t.Run("delta", func(t *testing.T) {
		opts, clock := timed(t)
		test(t, opts, clock, func(*engine.DB) {})
	})
	t.Run("base", func(t *testing.T) {
		opts, clock := timed(t)
		test(t, opts, clock, func(db *engine.DB) { require.NoError(t, db.Checkpoint(ctx)) })
	})
	t.Run("frozen", func(t *testing.T) {
		opts, clock := timed(t)
		in := mmapiotest.NewInjector(mmapio.OpenDir)
		opts.OpenDir = in.OpenDir
		test(t, opts, clock, func(db *engine.DB) {
			held := freeze(t, in, db)
			t.Cleanup(func() { // before the database is closed
				close(held.open)
				assert.NoError(t, <-held.result)
			})
		})
	})
}

// frozen is a checkpoint that is held while it is being built.
type frozen struct {
	*gate
	result chan error
}

// freeze begins a checkpoint and holds it.
func freeze(t testing.TB, in *mmapiotest.Injector, db *engine.DB) *frozen {
	f := &frozen{result: make(chan error, 1)}
	f.gate = hold(in, func(op mmapiotest.Op) bool {
		match, _ := filepath.Match("checkpoint.*.tmp", op.Name)
		return match && op.Kind == mmapiotest.Create
	})
	go func() { f.result <- db.Checkpoint(ctx) }()
	select {
	case <-f.come:
	case err := <-f.result:
		require.Fail(t, "no checkpoint was made", "%v", err)
	}
	return f
}
