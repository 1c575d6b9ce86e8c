package engine_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
)

func init() {
	children["read-only"] = childReadOnly
	children["full at creation"] = childFullAtCreation
	children["full"] = childFull
	children["full at open"] = childFullAtOpen
}

// runMounting runs a child on a directory with mounts of its own, which end with it.
func runMounting(t *testing.T, name string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may mount file systems")
	}
	own := &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	probe := exec.Command("true")
	probe.SysProcAttr = own
	if err := probe.Run(); errors.Is(err, fs.ErrPermission) {
		t.Skipf("root may not make mount namespaces here: %v", err)
	}
	runChild(t, name, t.TempDir(), own)
}

// fill writes keys of 2 KiB until an error, and returns how many were acknowledged in all.
func fill(db *engine.DB, from, to int) (int, error) {
	for i := from; i < to; i++ {
		key := fmt.Appendf(nil, "key-%d", i)
		if _, err := db.Set(ctx, key, bytesOf(string(key), 2048)); err != nil {
			return i, err
		}
	}
	return to, nil
}

// holds checks that exactly the first n keys are there.
func holds(db *engine.DB, n int) error {
	for i := range n + 2 {
		key := fmt.Appendf(nil, "key-%d", i)
		value, ok, err := db.Get(key)
		if err != nil || ok != (i < n) || ok && string(value) != string(bytesOf(string(key), 2048)) {
			return fmt.Errorf("key %d of %d: %t, %w", i, n, ok, err)
		}
	}
	if keys := db.Stats().Keys; keys != uint64(n) {
		return fmt.Errorf("%d keys are counted, %d are there", keys, n)
	}
	return nil
}

// reopened closes a database, opens it again and checks that exactly the first n keys are there.
func reopened(db *engine.DB, opts engine.Options, n int) error {
	if err := db.Close(); err != nil {
		return err
	}
	db, err := engine.Open(opts)
	if err != nil {
		return err
	}
	return errors.Join(holds(db, n), db.Close())
}

// tmpfs mounts a file system of this size, or changes that of one, and returns the options of a database in it.
func tmpfs(dir, size string, flags uintptr) (engine.Options, error) {
	opts := engine.Options{Dir: filepath.Join(dir, "data"), Create: true, LogFileBytes: 256 << 10, DisableBackgroundCheckpoint: true}
	return opts, unix.Mount("tmpfs", dir, "tmpfs", flags, "size="+size)
}

func TestOpenOnAReadOnlyFileSystem(t *testing.T) { runMounting(t, "read-only") }

func childReadOnly(dir string) error {
	opts, err := tmpfs(dir, "8m", 0)
	if err != nil {
		return err
	}
	db, err := engine.Open(opts)
	if err != nil {
		return err
	}
	if _, err := fill(db, 0, 20); err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	err = unix.EBUSY
	for errors.Is(err, unix.EBUSY) { // as long as a log is mapped
		runtime.GC()
		_, err = tmpfs(dir, "8m", unix.MS_REMOUNT|unix.MS_RDONLY)
	}
	if err != nil {
		return err
	}
	missing := opts
	missing.Dir = filepath.Join(dir, "missing")
	for _, o := range []engine.Options{opts, missing} {
		_, err = engine.Open(o)
		if !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), o.Dir) || strings.Contains(err.Error(), "\n") {
			return fmt.Errorf("not one line about a read-only file system: %w", err)
		}
	}
	if _, err := tmpfs(dir, "8m", unix.MS_REMOUNT); err != nil {
		return err
	}
	db, err = engine.Open(opts)
	if err != nil {
		return err
	}
	return errors.Join(holds(db, 20), db.Close())
}

func TestFullDiskAtCreation(t *testing.T) { runMounting(t, "full at creation") }

func childFullAtCreation(dir string) error {
	opts, err := tmpfs(dir, "4k", 0)
	if err != nil {
		return err
	}
	for pages := 2; ; pages++ {
		db, err := engine.Open(opts)
		if err == nil {
			if pages < 16 {
				return fmt.Errorf("a database in %d pages", pages)
			}
			n, err := fill(db, 0, 1)
			return errors.Join(err, reopened(db, opts, n))
		}
		if !errors.Is(err, engine.ErrDiskFull) {
			return fmt.Errorf("with %d pages: %w", pages, err)
		}
		if _, err := tmpfs(dir, fmt.Sprintf("%dk", 4*pages), unix.MS_REMOUNT); err != nil {
			return err
		}
	}
}

func TestFullDisk(t *testing.T) { runMounting(t, "full") }

func childFull(dir string) error {
	opts, err := tmpfs(dir, "4m", 0)
	if err != nil {
		return err
	}
	opts.DisableBackgroundCheckpoint = false // they fail as well, and harm nothing
	opts.CheckpointUpdates = 300
	db, err := engine.Open(opts)
	if err != nil {
		return err
	}
	n := 0
	for size := 8; size <= 16; size += 4 {
		for range 4 { // what fails in the background may make some room again
			n, err = fill(db, n, 1<<20)
			if !errors.Is(err, engine.ErrDiskFull) || errors.Is(err, engine.ErrIndeterminate) {
				return fmt.Errorf("not full after %d: %w", n, err)
			}
		}
		if err := holds(db, n); err != nil {
			return fmt.Errorf("while the disk is full: %w", err)
		}
		if failure := db.Stats().Failure; failure != nil {
			return failure
		}
		// There is room again, and the same process goes on.
		if _, err := tmpfs(dir, fmt.Sprintf("%dm", size), unix.MS_REMOUNT); err != nil {
			return err
		}
		if n, err = fill(db, n, n+10); err != nil {
			return fmt.Errorf("with room again: %w", err)
		}
		if err := holds(db, n); err != nil {
			return err
		}
	}
	if _, err := tmpfs(dir, "64m", unix.MS_REMOUNT); err != nil {
		return err
	}
	if err := db.Checkpoint(ctx); err != nil {
		return err
	}
	return reopened(db, opts, n)
}

func TestFullDiskAtOpen(t *testing.T) { runMounting(t, "full at open") }

// childFullAtOpen opens what an unclean stop left on a disk that has no room for the log that the open wants to make.
func childFullAtOpen(dir string) error {
	opts, err := tmpfs(dir, "16m", 0)
	if err != nil {
		return err
	}
	db, err := engine.Open(opts)
	if err != nil {
		return err
	}
	n, err := fill(db, 0, 100)
	if err != nil {
		return err
	}
	copied := opts
	copied.Dir = filepath.Join(dir, "copy")
	err = fs.ErrNotExist
	for errors.Is(err, fs.ErrNotExist) { // as a kill would leave it, at a moment when no file is being renamed
		err = errors.Join(os.RemoveAll(copied.Dir), os.CopyFS(copied.Dir, os.DirFS(opts.Dir)))
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	for _, name := range []string{format.SpareName, format.SpareName + format.TempSuffix} { // else there is a little room after all
		if err := os.Remove(filepath.Join(copied.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	after, err := engine.Open(copied)
	if err != nil {
		return fmt.Errorf("open for reading: %w", err)
	}
	if err := holds(after, n); err != nil {
		return err
	}
	if _, err := fill(after, n, n+1); !errors.Is(err, engine.ErrDiskFull) {
		return fmt.Errorf("not full: %w", err)
	}
	if err := after.Close(); err != nil {
		return fmt.Errorf("close unwritten: %w", err)
	}
	if after, err = engine.Open(copied); err != nil {
		return fmt.Errorf("open for reading again: %w", err)
	}
	if err := errors.Join(f.Close(), os.Remove(ballast)); err != nil {
		return err
	}
	if n, err = fill(after, n, n+5); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	return reopened(after, copied, n)
}
