package engine_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// Close beside writers and readers: each call either succeeds or is ErrClosed, and what succeeded is there afterwards, nothing else.
func TestCloseBesideWritersAndReaders(t *testing.T) {
	for round := range 4 {
		opts := quiet(t)
		opts.DisableBackgroundCheckpoint = false
		opts.CheckpointUpdates = 50
		opts.Sync = engine.SyncMode(round % 3)
		db := enginetest.Open(t, opts)
		const writers = 16
		var last [writers]int
		var started, all sync.WaitGroup
		started.Add(writers)
		for w := range writers {
			all.Go(func() {
				for i := 1; ; i++ {
					_, err := db.Set(ctx, fmt.Appendf(nil, "%d", w), stamp(w, i, 100))
					if i == 20 {
						started.Done()
					}
					if err != nil {
						assert.ErrorIs(t, err, engine.ErrClosed)
						assert.NotErrorIs(t, err, engine.ErrIndeterminate)
						return
					}
					last[w] = i
				}
			})
		}
		for r := range 4 {
			all.Go(func() {
				for i := r; ; i++ {
					key := fmt.Appendf(nil, "%d", i%writers)
					_, ok, err := db.Get(key)
					if err == nil {
						_, err = db.View(key, func(v []byte) error {
							if writer, _, whole := readStamp(v); !whole || writer != i%writers {
								return errors.New("wrong value")
							}
							return nil
						})
					}
					if err != nil {
						assert.ErrorIs(t, err, engine.ErrClosed)
						assert.False(t, ok && err == nil)
						return
					}
				}
			})
		}
		started.Wait()
		var closers sync.WaitGroup
		for range 3 {
			closers.Go(func() { assert.NoError(t, db.Close()) })
		}
		closers.Wait()
		all.Wait()
		before := db.Version()
		db = enginetest.Open(t, opts)
		assert.True(t, db.Stats().Recovery.Clean)
		assert.Equal(t, before, db.Version())
		for w := range writers {
			value, ok, err := db.Get(fmt.Appendf(nil, "%d", w))
			require.NoError(t, err)
			require.True(t, ok)
			_, i, whole := readStamp(value)
			require.True(t, whole)
			require.Equal(t, last[w], i, "writer %d", w)
		}
	}
}

func TestUseAfterClose(t *testing.T) {
	db := enginetest.Open(t, quiet(t))
	set(t, db, "k", "v")
	require.NoError(t, db.Checkpoint(ctx))
	v := set(t, db, "l", "v")
	before := db.Stats()
	require.NoError(t, db.Close())
	require.NoError(t, db.Close(), "twice")
	var b engine.Batch
	for range 2 {
		_, err := db.Set(ctx, []byte("k"), nil)
		assert.ErrorIs(t, err, engine.ErrClosed)
		_, err = db.Delete(ctx, []byte("k"))
		assert.ErrorIs(t, err, engine.ErrClosed)
		_, err = db.Apply(ctx, &b)
		assert.ErrorIs(t, err, engine.ErrClosed)
		b.Set([]byte("k"), nil)
		assert.ErrorIs(t, db.Checkpoint(ctx), engine.ErrClosed)
		value, ok, err := db.Get([]byte("k"))
		assert.ErrorIs(t, err, engine.ErrClosed)
		assert.Nil(t, value)
		assert.False(t, ok)
		value, ok, err = db.AppendGet([]byte("dst"), []byte("k"))
		assert.ErrorIs(t, err, engine.ErrClosed)
		assert.Equal(t, "dst", string(value))
		assert.False(t, ok)
		ok, err = db.View([]byte("k"), func([]byte) error { panic("closed") })
		assert.ErrorIs(t, err, engine.ErrClosed)
		assert.False(t, ok)
		assert.Equal(t, v, db.Version())
		assert.Equal(t, before, db.Stats())
	}
}

// gate holds calls that match until it is opened, and says when the first has come.
type gate struct {
	come chan mmapiotest.Op
	open chan struct{}
}

// hold adds a gate to an injector.
func hold(in *mmapiotest.Injector, match func(mmapiotest.Op) bool) *gate {
	g := &gate{come: make(chan mmapiotest.Op, 1), open: make(chan struct{})}
	in.Add(mmapiotest.Fault{Match: match, ForGood: true, Before: func(op mmapiotest.Op) {
		select {
		case g.come <- op:
		default:
		}
		<-g.open
	}})
	return g
}

// Close gives up a checkpoint that is under way, wherever it stands. Nothing of what was acknowledged is lost, and nothing is left behind.
func TestCloseDuringACheckpoint(t *testing.T) {
	of := func(kind mmapiotest.Kind, pattern string) func(mmapiotest.Op) bool {
		return func(op mmapiotest.Op) bool {
			old, _ := filepath.Match(pattern, op.Name)
			next, _ := filepath.Match(pattern, op.NewName)
			return op.Kind == kind && (old || next)
		}
	}
	for name, match := range map[string]func(mmapiotest.Op) bool{
		"new log":    of(mmapiotest.Rename, "logfile.[0-9]*"),
		"building":   of(mmapiotest.WriteAt, "checkpoint.*.tmp"),
		"syncing":    of(mmapiotest.Sync, "checkpoint.*.tmp"),
		"verifying":  of(mmapiotest.ReadAt, "checkpoint.*.tmp"),
		"renaming":   of(mmapiotest.Rename, "checkpoint.*.tmp"),
		"publishing": of(mmapiotest.Create, format.NewVersionName),
		"published":  of(mmapiotest.Rename, format.VersionName),
	} {
		t.Run(name, func(t *testing.T) {
			opts := quiet(t)
			in := mmapiotest.NewInjector(mmapio.OpenDir)
			opts.OpenDir = in.OpenDir
			db := enginetest.Open(t, opts)
			m := shadow{}
			for i := range 200 {
				k := fmt.Sprintf("key-%d", i)
				m[k] = string(bytesOf(k, 500))
				set(t, db, k, m[k])
			}
			g := hold(in, match)
			checkpointed, closed := make(chan error, 1), make(chan error, 1)
			go func() { checkpointed <- db.Checkpoint(ctx) }()
			<-g.come
			go func() { closed <- db.Close() }()
			requireValue(t, db, "key-1", m["key-1"]) // Close waits, reads go on
			close(g.open)
			require.NoError(t, <-closed)
			if err := <-checkpointed; err != nil {
				require.ErrorIs(t, err, engine.ErrClosed)
			}
			opts.OpenDir = nil
			m.check(t, enginetest.Open(t, opts))
		})
	}
}

// What a View sees stays as it is while it runs: over checkpoints that retire and recycle the file it lies in, and over Close.
func TestViewOutlivesWhatItSees(t *testing.T) {
	for _, where := range []string{"delta", "base"} {
		t.Run(where, func(t *testing.T) {
			opts := quiet(t)
			opts.Sync = engine.SyncNone
			db := enginetest.Open(t, opts)
			want := bytesOf("k", 3000)
			set(t, db, "k", string(want))
			if where == "base" {
				require.NoError(t, db.Checkpoint(ctx))
			}
			inside, leave := make(chan struct{}), make(chan struct{})
			viewed := make(chan error, 1)
			go func() {
				_, err := db.View([]byte("k"), func(value []byte) error {
					close(inside)
					for open := true; open; {
						select {
						case <-leave:
							open = false
						default:
						}
						if string(value) != string(want) {
							return errors.New("it changed under the view")
						}
					}
					return nil
				})
				viewed <- err
			}()
			<-inside
			for round := range 6 {
				for i := range 60 {
					set(t, db, "k", string(bytesOf("other", 3000+round+i)))
				}
				require.NoError(t, db.Checkpoint(ctx))
			}
			require.NoError(t, db.Close())
			collect(t, "", func() bool { return true })
			close(leave)
			require.NoError(t, <-viewed)
		})
	}
}

// Only one database at a time can have a directory open, and Close gives it back.
func TestCloseReleasesTheDirectory(t *testing.T) {
	opts := quiet(t)
	for range 5 {
		db := enginetest.Open(t, opts)
		_, err := engine.Open(opts)
		require.ErrorIs(t, err, engine.ErrLocked)
		require.NoError(t, db.Close())
	}
}
