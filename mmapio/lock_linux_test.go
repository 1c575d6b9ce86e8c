package mmapio_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tongpengdl/small-db/mmapio"
)

// A process that another goroutine is just starting has copies of all descriptors until it executes its program. The lock does not
// wait for that: who has closed a directory may open it again at once.
func TestLockIsReleasedBesideAFork(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared=%t", shared), func(t *testing.T) {
			path := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(path, "LOCK"), nil, 0o600))
			d, err := mmapio.OpenDir(path, false)
			require.NoError(t, err)
			var lock io.Closer = d
			if shared {
				lock, err = mmapio.LockShared(d, "LOCK")
			} else {
				err = d.Lock("LOCK")
			}
			require.NoError(t, err)
			copied := copyDescriptor(t, filepath.Join(path, "LOCK"))
			defer unix.Close(copied)
			require.NoError(t, lock.Close())

			next, err := mmapio.OpenDir(path, false)
			require.NoError(t, err)
			require.NoError(t, next.Lock("LOCK"))
			require.NoError(t, next.Close())
		})
	}
}

// copyDescriptor copies the descriptor of a file that this process has open.
func copyDescriptor(t *testing.T, path string) int {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err == nil && target == path {
			fd, err := strconv.Atoi(e.Name())
			require.NoError(t, err)
			copied, err := unix.Dup(fd)
			require.NoError(t, err)
			return copied
		}
	}
	require.Fail(t, "it is not open", path)
	return -1
}
