package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

func init() {
	children["full at each step"] = childFullAtEachStep
	children["file size limit"] = childFileSizeLimit
}

// A disk that becomes full before each call of a workload that changes it, and has room again later.
func TestFullDiskAtEachStep(t *testing.T) {
	seed := enginetest.Seed(t, 1)
	require.NoError(t, os.Setenv(fillSeedVariable, fmt.Sprint(seed)))
	defer os.Unsetenv(fillSeedVariable)
	runMounting(t, "full at each step")
	t.Logf("seed %d: %d fill points, no violation", seed, fillPoints())
}

const fillSeedVariable = "SMALLDB_ENGINE_TEST_SEED"

func fillPoints() int { return enginetest.Times(60, 2000) }

// fullRun is one run of the workload on a file system that is full from one of its calls on.
type fullRun struct {
	rng     *rand.Rand
	mount   string
	opts    engine.Options
	in      *mmapiotest.Injector // makes the disk full
	dead    *mmapiotest.Injector // over it: nothing reaches it any more
	db      *engine.DB
	want    shadow // acknowledged
	full    atomic.Bool
	refused int
	steps   int
}

func childFullAtEachStep(dir string) error {
	seed, err := strconv.ParseUint(os.Getenv(fillSeedVariable), 10, 64)
	if err != nil {
		return err
	}
	sizes := []string{"640k", "1m", "2m", "4m", "512k", "384k"}
	calls := map[string]int{} // of the workload, by size
	points, hit, refused := 0, 0, 0
	for n := 0; points < fillPoints(); n++ {
		size := sizes[n%len(sizes)]
		r := &fullRun{rng: rand.New(rand.NewPCG(seed, uint64(n))), mount: dir, want: shadow{}}
		if _, err := tmpfs(dir, size, 0); err != nil {
			return err
		}
		r.opts = engine.Options{Dir: filepath.Join(dir, "data"), Create: true, LogFileBytes: 64 << 10, DisableBackgroundCheckpoint: n%3 > 0, CheckpointUpdates: 20}
		nth := 1 << 30 // the first run of each size counts
		if all, known := calls[size]; known {
			nth = 1 + r.rng.IntN(all)
		}
		err := r.run(nth)
		if err != nil {
			return fmt.Errorf("run %d, %s, full from call %d on: %w", n, size, nth, err)
		}
		calls[size] = max(calls[size], r.in.Calls())
		if r.full.Load() {
			points++
		}
		refused += min(1, r.refused)
		if err := unmount(dir); err != nil {
			return err
		}
		hit += r.refused
	}
	if refused < points/3 {
		return fmt.Errorf("only %d of %d full disks were noticed", refused, points)
	}
	fmt.Printf("%d fill points, %d of them met by a write, %d writes refused\n", points, refused, hit)
	return nil
}

// unmount waits until nothing of a file system is mapped any more.
func unmount(dir string) error {
	err := error(unix.EBUSY)
	for errors.Is(err, unix.EBUSY) {
		runtime.GC()
		err = unix.Unmount(dir, 0)
	}
	return err
}

// fill puts a file in all the room that is left.
func (r *fullRun) fill() error {
	r.full.Store(true)
	f, err := os.OpenFile(filepath.Join(r.mount, "ballast"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if errors.Is(err, unix.ENOSPC) { // not even for that
		return nil
	}
	piece := make([]byte, 64<<10)
	for err == nil {
		if _, err = f.Write(piece); errors.Is(err, unix.ENOSPC) && len(piece) > 4096 {
			piece, err = piece[:len(piece)/2], nil
		}
	}
	if f != nil {
		err = errors.Join(err, f.Close())
	}
	if errors.Is(err, unix.ENOSPC) {
		return nil
	}
	return err
}

// free makes room again: without the ballast, which may not have found any, and with a little more than the workload takes.
func (r *fullRun) free() error {
	if err := os.Remove(filepath.Join(r.mount, "ballast")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, err := tmpfs(r.mount, "12m", unix.MS_REMOUNT)
	return err
}

// run performs the workload, with the disk full from the nth call on.
func (r *fullRun) run(nth int) error {
	var failure atomic.Pointer[error] // of the filling, which may be done in another goroutine
	filled := func() error {
		if err := failure.Load(); err != nil {
			return *err
		}
		return nil
	}
	r.in = mmapiotest.NewInjector(mmapio.OpenDir, mmapiotest.Fault{Nth: nth, Before: func(mmapiotest.Op) {
		if err := r.fill(); err != nil {
			failure.Store(&err)
		}
	}})
	r.dead = mmapiotest.NewInjector(r.in.OpenDir)
	r.opts.OpenDir = r.dead.OpenDir
	steps := []func() error{r.open, r.writes, r.writes, r.checkpoint, r.writes, r.reopen, r.backup, r.kill, r.writes, r.checkpoint, r.writes}
	for i, step := range steps {
		r.steps = i
		if err := errors.Join(step(), filled()); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		if r.db == nil { // the creation or a restore found no room
			if err := errors.Join(r.free(), r.open()); err != nil {
				return fmt.Errorf("step %d, with room again: %w", i, err)
			}
		}
	}
	if !r.full.Load() && nth < 1<<30 {
		return r.db.Close()
	}
	return errors.Join(r.end(), filled())
}

// end finds the disk full, and then with room.
func (r *fullRun) end() error {
	if err := r.fill(); err != nil {
		return err
	}
	if err := r.reads(); err != nil {
		return fmt.Errorf("full: %w", err)
	}
	if r.rng.IntN(2) == 0 { // closed and opened while it is full
		if err := r.reopen(); err != nil {
			return fmt.Errorf("full: %w", err)
		}
	}
	if err := r.writes(); err != nil {
		return fmt.Errorf("full: %w", err)
	}
	if err := r.free(); err != nil {
		return err
	}
	before := r.refused
	if err := r.writes(); err != nil || r.refused > before {
		return fmt.Errorf("with room again: %d writes refused, %w", r.refused-before, err)
	}
	if err := errors.Join(r.checkpoint(), r.reads(), r.reopen(), r.db.Close()); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	return nil
}

func (r *fullRun) open() error {
	db, err := engine.Open(r.opts)
	if err == nil {
		r.db = db
		return r.reads()
	}
	if len(r.want) == 0 && errors.Is(err, engine.ErrDiskFull) { // a creation may fail
		return nil
	}
	return fmt.Errorf("open: %w", err)
}

// writes writes some values, large and small, until all are in or the disk is full.
func (r *fullRun) writes() error {
	for range 8 {
		key := fmt.Sprintf("key-%d", r.rng.IntN(12))
		value := bytesOf(key+fmt.Sprint(r.rng.Uint32()), r.rng.IntN(9000))
		_, err := r.db.Set(ctx, []byte(key), value)
		switch {
		case err == nil:
			r.want[key] = string(value)
		case !errors.Is(err, engine.ErrDiskFull) || errors.Is(err, engine.ErrIndeterminate) || errors.Is(err, engine.ErrPoisoned):
			return fmt.Errorf("write: %w", err)
		default:
			r.refused++
			if err := r.reads(); err != nil {
				return fmt.Errorf("after a refused write: %w", err)
			}
		}
	}
	return r.reads()
}

// reads reads everything in all ways.
func (r *fullRun) reads() error {
	if failure := r.db.Stats().Failure; failure != nil {
		return failure
	}
	return sameState(r.db, r.want)
}

func (r *fullRun) checkpoint() error {
	err := r.db.Checkpoint(ctx)
	if err != nil && !errors.Is(err, engine.ErrDiskFull) {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return r.reads()
}

// backup takes a copy, and restores it on the same disk, or finds no room for it.
func (r *fullRun) backup() error {
	var copied bytes.Buffer
	if _, err := r.db.Backup(ctx, &copied); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	opts := r.opts
	opts.Dir = filepath.Join(r.mount, "restored")
	switch err := engine.Restore(opts, &copied); {
	case err == nil:
		db, err := engine.Open(opts)
		if err != nil {
			return fmt.Errorf("open the restored one: %w", err)
		}
		if err := errors.Join(sameState(db, r.want), db.Close()); err != nil {
			return fmt.Errorf("restored: %w", err)
		}
	case !errors.Is(err, engine.ErrDiskFull):
		return fmt.Errorf("restore: %w", err)
	default:
		if _, err := engine.Open(engine.Options{Dir: opts.Dir}); !errors.Is(err, engine.ErrNoDatabase) {
			return fmt.Errorf("a restore that failed has left a database: %w", err)
		}
	}
	return os.RemoveAll(opts.Dir)
}

func (r *fullRun) reopen() error {
	if err := r.db.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return r.open()
}

// kill ends the process, as far as the files can tell, and opens what it leaves.
func (r *fullRun) kill() error {
	r.dead.Add(mmapiotest.Fault{ForGood: true, Err: errDead})
	err := r.db.Close()
	r.dead.Clear()
	if err != nil && !errors.Is(err, errDead) { // without a live log there was nothing to do
		return fmt.Errorf("close: %w", err)
	}
	return r.open()
}

var errDead = errors.New("the process has ended")

// Whichever call of a checkpoint finds no room, the error is that of a full disk, and the next attempt succeeds.
func TestCheckpointThatFindsNoRoom(t *testing.T) {
	failed := 0
	for nth := 1; ; nth++ {
		in := mmapiotest.NewInjector(mmapio.OpenDir)
		opts := quiet(t)
		opts.Dir, opts.OpenDir = inMemory(t), in.OpenDir
		db := enginetest.Open(t, opts)
		set(t, db, "k", "v")
		in.Add(mmapiotest.Fault{Match: func(op mmapiotest.Op) bool { return op.Kind.Mutates() && !toTheLog(op) }, Nth: nth, Err: unix.ENOSPC})
		err := db.Checkpoint(ctx)
		hit := in.Hits() > 0
		in.Clear()
		if err != nil {
			require.ErrorIs(t, err, engine.ErrDiskFull, "call %d", nth)
			require.ErrorIs(t, db.Stats().CheckpointFailure, engine.ErrDiskFull)
			failed++
		}
		require.NoError(t, db.Checkpoint(ctx), "call %d", nth)
		requireValue(t, db, "k", "v")
		if !hit {
			break
		}
	}
	t.Logf("%d calls failed", failed)
	require.Greater(t, failed, 8)
}

// A limit on the size of files (ulimit -f, LimitFSIZE) is met where the next file is made: what needs it fails, definitely, and the rest
// goes on.
func TestFileSizeLimit(t *testing.T) { runChild(t, "file size limit", t.TempDir(), nil) }

func childFileSizeLimit(dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	opts := engine.Options{Dir: filepath.Join(dir, "data"), Create: true, LogFileBytes: 256 << 10, DisableBackgroundCheckpoint: true}
	db, err := engine.Open(opts)
	if err != nil {
		return err
	}
	n, err := fill(db, 0, 20)
	if err != nil {
		return err
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	limited := old
	limited.Cur = uint64(opts.LogFileBytes)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limited); err != nil {
		return err
	}
	if n, err = fill(db, n, 400); err != nil {
		return fmt.Errorf("logs are within the limit: %w", err)
	}
	if err := db.Checkpoint(ctx); !errors.Is(err, unix.EFBIG) {
		return fmt.Errorf("the checkpoint is not: %w", err)
	}
	if n, err = fill(db, n, n+20); err != nil {
		return fmt.Errorf("a checkpoint that failed stops nobody: %w", err)
	}
	if err := errors.Join(db.Stats().Failure, holds(db, n), db.Close()); err != nil {
		return err
	}
	larger := opts
	larger.LogFileBytes *= 2
	if db, err = engine.Open(larger); err != nil {
		return fmt.Errorf("an open that needs no file: %w", err)
	}
	for range 3 {
		_, err := fill(db, n, n+1)
		if !errors.Is(err, unix.EFBIG) || errorsIsAny(err, engine.ErrIndeterminate, engine.ErrPoisoned) {
			return fmt.Errorf("a log beyond the limit: not a definite error: %w", err)
		}
		if err := errors.Join(db.Stats().Failure, holds(db, n)); err != nil {
			return err
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	if n, err = fill(db, n, n+200); err != nil {
		return fmt.Errorf("without the limit: %w", err)
	}
	return errors.Join(db.Checkpoint(ctx), reopened(db, larger, n))
}
