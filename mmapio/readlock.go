package mmapio

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// LockShared takes the lock of a directory by its file name for one who only reads, until the result is closed. It
// fails at once with ErrLocked while another process holds Lock, and Lock fails while this is held; any number of
// readers may hold it at a time. It writes nothing, so it works on a read-only file system. A missing file is fs.ErrNotExist:
// then there is nothing to lock, and nothing keeps a process from locking the directory meanwhile.
func LockShared(d Dir, name string) (io.Closer, error) {
	path := filepath.Join(d.Path(), name)
	// O_NONBLOCK: a pipe under this name must not be waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	err = retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) })
	if err == nil {
		return lockFile{f}, nil
	}
	defer f.Close()
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return nil, &fs.PathError{Op: "flock", Path: path, Err: err}
	}
	return nil, fmt.Errorf("%w: %s is held by %s", ErrLocked, d.Path(), lockHolder(f))
}

// lockFile is the file of a lock that is held.
type lockFile struct{ *os.File }

// Close releases the lock and closes the file. To close it would not do: a process that another goroutine is just
// starting has a copy of the descriptor until it executes its program, and with it the lock.
func (f lockFile) Close() error {
	err := retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_UN) })
	return errors.Join(err, f.File.Close())
}
