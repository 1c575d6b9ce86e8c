package engine_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

func init() { children["lock limit"] = childLockLimit }

const limit = 1 << 20

// limited is a database that may take a mebibyte. It makes no checkpoint by time.
func limited(t testing.TB) engine.Options {
	opts, _ := timed(t)
	opts.DisableBackgroundCheckpoint, opts.CheckpointInterval = false, -1
	opts.MaxMemoryBytes, opts.LogFileBytes = limit, 1<<20
	return opts
}

// fillUp sets keys of n bytes until there is no room, and returns how many there are.
func fillUp(t testing.TB, db *engine.DB, n int) int {
	t.Helper()
	for i := 0; ; i++ {
		key := fmt.Appendf(nil, "key-%d", i)
		if _, err := db.Set(ctx, key, bytesOf(string(key), n)); err != nil {
			require.ErrorIs(t, err, engine.ErrFull)
			require.ErrorContains(t, err, fmt.Sprint(limit))
			require.NotErrorIs(t, err, engine.ErrDiskFull)
			return i
		}
	}
}

// Beyond the limit no set gets in, by whichever way; reads, conditions and deletes go on, and a delete makes room with the next checkpoint.
func TestMemoryLimit(t *testing.T) {
	opts := limited(t)
	opts.DisableBackgroundCheckpoint = true
	db := enginetest.Open(t, opts)
	n := fillUp(t, db, 10_000)
	require.Greater(t, n, limit/10_000*8/10, "the limit was put to use")
	require.LessOrEqual(t, db.Stats().MemoryBytes, uint64(limit))
	before, left, stats := db.Version(), logs(t, opts.Dir), db.Stats()
	key, value := []byte("key-0"), make([]byte, 10_000)
	for name, write := range map[string]func() error{
		"new key":   func() error { _, err := db.Set(ctx, []byte("new"), value); return err },
		"overwrite": func() error { _, err := db.Set(ctx, key, value); return err },
		"until":     func() error { _, err := db.SetUntil(ctx, key, value, after(1e9)); return err },
		"touch":     func() error { _, err := db.Touch(ctx, key, after(1e9)); return err },
		"update": func() error {
			_, err := db.Update(ctx, func(tx *engine.Tx) error { tx.Delete(key); tx.Set([]byte("new"), value); return nil })
			return err
		},
		"batch": func() error {
			b := batch(sets("new", string(value)), ifPresent("key-0"))
			b.Delete(key)
			_, err := db.Apply(ctx, b)
			return err
		},
	} {
		require.ErrorIs(t, write(), engine.ErrFull, name)
	}
	require.Equal(t, before, db.Version())
	require.Equal(t, left, logs(t, opts.Dir))
	require.Equal(t, stats, db.Stats())
	_, err := db.Apply(ctx, batch(ifPresent("key-0")))
	require.NoError(t, err)
	requireValue(t, db, "key-0", string(bytesOf("key-0", 10_000)))
	require.NoError(t, db.Stats().Failure)

	_, err = db.Delete(ctx, key)
	require.NoError(t, err)
	b := batch(ifPresent("key-1"))
	b.Delete([]byte("key-1"))
	b.Delete([]byte("key-2"))
	_, err = db.Apply(ctx, b)
	require.NoError(t, err)
	require.NoError(t, db.Checkpoint(ctx))
	set(t, db, "new", string(value))
	set(t, db, "new", string(value))
	requireAbsent(t, db, "key-0")
	require.EqualValues(t, n-3+1, db.Stats().Keys)
}

// A limit that is smaller than the state is no reason not to open it, and what there is can be made less.
func TestOpenBeyondTheMemoryLimit(t *testing.T) {
	opts := limited(t)
	opts.DisableBackgroundCheckpoint = true
	db := enginetest.Open(t, opts)
	n := fillUp(t, db, 10_000)
	for _, checkpointed := range []bool{false, true} {
		if checkpointed {
			require.NoError(t, db.Checkpoint(ctx))
		}
		for _, small := range []int64{1, limit / 2} {
			opts.MaxMemoryBytes = small
			db = again(t, db, opts)
			require.Greater(t, db.Stats().MemoryBytes, uint64(small))
			require.EqualValues(t, n, db.Stats().Keys)
			for i := range n {
				key := fmt.Sprint("key-", i)
				requireValue(t, db, key, string(bytesOf(key, 10_000)))
			}
			_, err := db.Set(ctx, []byte("new"), nil)
			require.ErrorIs(t, err, engine.ErrFull)
			opts.MaxMemoryBytes = small
			db = killed(t, db, opts)
		}
	}
	for i := range n {
		_, err := db.Delete(ctx, fmt.Appendf(nil, "key-%d", i))
		require.NoError(t, err)
	}
	require.NoError(t, db.Checkpoint(ctx))
	set(t, db, "new", strings.Repeat("x", 10_000))
}

// keepTrying sets a key until it is accepted.
func keepTrying(t *testing.T, db *engine.DB, key string, value []byte) {
	t.Helper()
	for started := time.Now(); ; time.Sleep(time.Millisecond) {
		_, err := db.Set(ctx, []byte(key), value)
		if err == nil {
			return
		}
		require.ErrorIs(t, err, engine.ErrFull)
		require.Less(t, time.Since(started), stuck, "it stays full: %+v", db.Stats())
	}
}

// stuck is how long a database without anything to do may stay full until it counts as full for good.
const stuck = 5 * time.Second

// Who only overwrites never runs out of room for long: checkpoints come by themselves.
func TestOverwritingStaysWithinTheMemoryLimit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ keys, value, times int }{
		"few small": {4, 10, 2000}, "few large": {3, 60_000, 300}, "half of it": {50, 10_000, 400}, "most of it": {85, 10_000, 200}, "nearly all": {18, 50_000, 60},
		"all but room for one more": {19, 50_000, 60},
	} {
		t.Run(name, func(t *testing.T) {
			opts := limited(t)
			db := enginetest.Open(t, opts)
			for i := range c.times {
				key := fmt.Sprint("key", i%c.keys)
				keepTrying(t, db, key, bytesOf(fmt.Sprint(i), c.value))
			}
			require.EqualValues(t, c.keys, db.Stats().Keys)
		})
	}
}

// Where only a part of what is there is deleted, the room comes by itself.
func TestDeletesMakeRoom(t *testing.T) {
	opts := limited(t)
	db := enginetest.Open(t, opts)
	n := fillUp(t, db, 10_000)
	require.NoError(t, db.Checkpoint(ctx))
	_, err := db.Set(ctx, []byte("new"), make([]byte, 300_000))
	require.ErrorIs(t, err, engine.ErrFull)
	var b engine.Batch
	for i := range n - 5 {
		b.Delete(fmt.Appendf(nil, "key-%d", i))
	}
	_, err = db.Apply(ctx, &b)
	require.NoError(t, err)
	require.EqualValues(t, 5, db.Stats().Keys)
	keepTrying(t, db, "new", make([]byte, 300_000))
}

// A cache whose keys have all expired is not full.
func TestDueKeysMakeRoom(t *testing.T) {
	for _, way := range []string{"asked for", "by itself"} {
		t.Run(way, func(t *testing.T) {
			opts := limited(t)
			clock := new(fakeClock)
			opts.Now = clock.now
			db := enginetest.Open(t, opts)
			for i := 0; ; i++ {
				key := fmt.Appendf(nil, "key-%d", i)
				if _, err := db.SetUntil(ctx, key, bytesOf(string(key), 10_000), after(1000)); err != nil {
					require.ErrorIs(t, err, engine.ErrFull)
					break
				}
			}
			require.NoError(t, db.Checkpoint(ctx))
			clock.ns.Store(1000)
			require.Zero(t, db.Stats().Keys)
			if way == "asked for" {
				require.NoError(t, db.Checkpoint(ctx))
			}
			keepTrying(t, db, "new", make([]byte, 300_000))
		})
	}
}

// Any number of writers go beyond the limit by no more than what one group brings along.
func TestMemoryLimitUnderManyWriters(t *testing.T) {
	const writers, size = 32, 3000
	opts := limited(t)
	opts.FrameAlign = format.BlockSize
	opts.DisableBackgroundCheckpoint = true // a reader of Stats that a checkpoint overtakes may add up what never was there together
	db := enginetest.Open(t, opts)
	var highest, refused atomic.Uint64
	var callers sync.WaitGroup
	for w := range writers {
		callers.Go(func() {
			for i := range 100 {
				key := fmt.Appendf(nil, "%d-%d", w, i%20)
				_, err := db.Set(ctx, key, bytesOf(string(key), size))
				if errors.Is(err, engine.ErrFull) {
					refused.Add(1) // deletes would be accepted, and take some room themselves
					continue
				}
				if !assert.NoError(t, err) {
					return
				}
				for now := db.Stats().MemoryBytes; ; {
					if old := highest.Load(); old >= now || highest.CompareAndSwap(old, now) {
						break
					}
				}
			}
		})
	}
	callers.Wait()
	require.Less(t, highest.Load(), uint64(limit+writers*(size+1000)+format.BlockSize))
	require.Positive(t, refused.Load())
}

// A set that does not fit is refused alone: those that happen to share its group do fit.
func TestWhatDoesNotFitIsRefusedAlone(t *testing.T) {
	opts := limited(t)
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts.OpenDir, opts.DisableBackgroundCheckpoint = in.OpenDir, true
	db := enginetest.Open(t, opts)
	g := hold(in, func(op mmapiotest.Op) bool {
		return op.Kind == mmapiotest.WriteAt && strings.HasPrefix(op.Name, "logfile.")
	})
	var callers sync.WaitGroup
	callers.Go(func() { set(t, db, "holds the pipeline", "") })
	<-g.come
	for i := range 10 {
		callers.Go(func() {
			_, err := db.Set(ctx, fmt.Appendf(nil, "small-%d", i), make([]byte, 100))
			assert.NoError(t, err)
		})
	}
	callers.Go(func() {
		_, err := db.Set(ctx, []byte("large"), make([]byte, 2*limit))
		assert.ErrorIs(t, err, engine.ErrFull)
	})
	time.Sleep(10 * time.Millisecond) // so that they mostly come into one group; the outcome is right in any
	close(g.open)
	callers.Wait()
	require.EqualValues(t, 11, db.Stats().Keys)
}

// What is said to be taken has to do with what is there.
func TestMemoryBytes(t *testing.T) {
	opts := limited(t)
	opts.DisableBackgroundCheckpoint, opts.MaxMemoryBytes = true, 0
	db := enginetest.Open(t, opts)
	size := func() int64 {
		info, err := os.Stat(filepath.Join(opts.Dir, format.CheckpointName(db.Stats().Generation)))
		require.NoError(t, err)
		return info.Size()
	}
	require.EqualValues(t, size(), db.Stats().MemoryBytes)
	for i := range 100 {
		before := db.Stats().MemoryBytes
		set(t, db, fmt.Sprint(i), string(make([]byte, 5000)))
		grown := db.Stats().MemoryBytes - before
		require.Greater(t, grown, uint64(5000))
		require.Less(t, grown, uint64(5000+format.MinFrameAlign+200))
	}
	before := db.Stats().MemoryBytes
	db = again(t, db, opts)
	require.InDelta(t, before, db.Stats().MemoryBytes, 2*format.MinFrameAlign, "the trailer may count")
	db = killed(t, db, opts)
	require.InDelta(t, before, db.Stats().MemoryBytes, 2*format.MinFrameAlign)
	require.NoError(t, db.Checkpoint(ctx))
	require.EqualValues(t, size(), db.Stats().MemoryBytes)
	require.Greater(t, size(), int64(500_000))
	_, err := db.Delete(ctx, []byte("1"))
	require.NoError(t, err)
	require.Greater(t, db.Stats().MemoryBytes, uint64(size()))
	require.NoError(t, db.Close())
	require.Greater(t, db.Stats().MemoryBytes, uint64(size()), "after Close as before")
}

// large is a closed database with a base of some MiB, in this generation.
func large(t *testing.T) (opts engine.Options, generation uint64) {
	opts, _ = timed(t)
	opts.LogFileBytes = 8 << 20
	db, err := engine.Open(opts)
	require.NoError(t, err)
	var b engine.Batch
	for i := range 50 {
		key := fmt.Appendf(nil, "key-%d", i)
		b.Set(key, bytesOf(string(key), 100_000))
	}
	_, err = db.Apply(ctx, &b)
	require.NoError(t, err)
	require.NoError(t, db.Checkpoint(ctx))
	require.NoError(t, db.Close())
	return opts, db.Stats().Generation
}

func TestWarmUp(t *testing.T) {
	opts, _ := large(t)
	for _, mode := range []engine.WarmUpMode{engine.WarmUpOff, engine.WarmUpWait} {
		opts.WarmUp = mode
		db := enginetest.Open(t, opts)
		require.True(t, db.Stats().Warm)
		require.NoError(t, db.Close())
	}
	opts.WarmUp = engine.WarmUpBackground
	db := enginetest.Open(t, opts)
	set(t, db, "k", "v")
	require.NoError(t, db.Checkpoint(ctx), "while it goes on, or not")
	eventually(t, "warm", func() bool { return db.Stats().Warm })
	requireValue(t, db, "key-7", string(bytesOf("key-7", 100_000)))
	for range 20 {
		db = again(t, db, opts) // closes while it goes on, or not
	}
	for _, bad := range []engine.WarmUpMode{-1, engine.WarmUpWait + 1} {
		opts.WarmUp = bad
		_, err := engine.Open(opts)
		require.ErrorContains(t, err, "WarmUp")
	}
}

// What cannot be read is for those to meet who ask for it: neither the warm-up nor the lock dies of it.
func TestWarmUpOfWhatCannotBeRead(t *testing.T) {
	opts, generation := large(t)
	checkpoint := filepath.Join(opts.Dir, format.CheckpointName(generation))
	whole, err := os.ReadFile(checkpoint)
	require.NoError(t, err)
	for _, mode := range []engine.WarmUpMode{engine.WarmUpWait, engine.WarmUpBackground} {
		for _, keep := range []int64{0, 1 << 20} {
			in := mmapiotest.NewInjector(mmapio.OpenDir, mmapiotest.Fault{
				Match: func(op mmapiotest.Op) bool {
					return op.Kind == mmapiotest.Open && op.Name == format.LogName(generation)
				},
				Before: func(mmapiotest.Op) { assert.NoError(t, os.Truncate(checkpoint, keep)) }, // it is mapped by now
			})
			opts.OpenDir, opts.WarmUp = in.OpenDir, mode
			db, err := engine.Open(opts)
			require.NoError(t, err)
			require.Equal(t, 1, in.Hits())
			eventually(t, "warm", func() bool { return db.Stats().Warm })
			_, _, err = db.Get([]byte("key-40"))
			require.ErrorIs(t, err, engine.ErrCorrupt)
			set(t, db, "k", "v")
			requireValue(t, db, "k", "v")
			require.NoError(t, db.Close())
			require.NoError(t, os.WriteFile(checkpoint, whole, 0o600))
		}
	}
	opts.OpenDir = nil
	db := enginetest.Open(t, opts)
	require.NoError(t, holdsLarge(db))
}

func holdsLarge(db *engine.DB) error {
	for i := range 50 {
		key := fmt.Sprint("key-", i)
		if value, ok, err := db.Get([]byte(key)); err != nil || !ok || string(value) != string(bytesOf(key, 100_000)) {
			return fmt.Errorf("%s: %t, %w", key, ok, err)
		}
	}
	return nil
}

func TestLockMemory(t *testing.T) {
	opts, _ := large(t)
	opts.LockMemory = true
	db, err := engine.Open(opts)
	if errorsIsAny(err, unix.ENOMEM, unix.EPERM, unix.EAGAIN) {
		t.Skipf("this process may not lock memory: %v", err)
	}
	require.NoError(t, err)
	require.NoError(t, holdsLarge(db))
	set(t, db, "k", strings.Repeat("v", 1000))
	require.NoError(t, db.Checkpoint(ctx))
	require.NoError(t, db.Close())
}

// Where the limit of the process does not allow to lock, Open says so, and leaves the directory to be opened without.
func TestLockMemoryBeyondTheLimit(t *testing.T) {
	root, err := os.MkdirTemp("", "lock") // t.TempDir is closed to others
	require.NoError(t, err)
	defer os.RemoveAll(root)
	require.NoError(t, os.Chmod(root, 0o777))
	runChild(t, "lock limit", root, nil)
}

func childLockLimit(root string) error {
	if os.Getuid() == 0 { // whom no limit binds
		const nobody = 65534
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
			return err
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 16 << 10, Max: 16 << 10}); err != nil {
		return err
	}
	opts := engine.Options{Dir: filepath.Join(root, "data"), Create: true, LogFileBytes: 256 << 10, DisableBackgroundCheckpoint: true}
	db, err := engine.Open(opts)
	if err != nil {
		return err
	}
	_, err = db.Set(ctx, []byte("k"), bytesOf("k", 100_000))
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	locked := opts
	locked.LockMemory = true
	for range 2 {
		_, err = engine.Open(locked)
		if !errorsIsAny(err, unix.ENOMEM, unix.EPERM) || !strings.Contains(err.Error(), "ulimit -l") ||
			!strings.Contains(err.Error(), opts.Dir) || strings.Contains(err.Error(), "\n") {
			return fmt.Errorf("not one line about the limit: %w", err)
		}
	}
	locked.Dir = filepath.Join(root, "new")
	if _, err = engine.Open(locked); !errorsIsAny(err, unix.ENOMEM, unix.EPERM) {
		return fmt.Errorf("a new database: %w", err)
	}
	db, err = engine.Open(opts)
	if err != nil {
		return err
	}
	if !db.Stats().Recovery.Clean {
		return errors.New("an open that failed has left it unclean")
	}
	value, ok, err := db.Get([]byte("k"))
	if !ok || string(value) != string(bytesOf("k", 100_000)) {
		err = errors.Join(err, errors.New("the value is not there"))
	}
	return errors.Join(err, db.Close())
}
