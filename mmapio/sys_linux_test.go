package mmapio_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tongpengdl/small-db/mmapio"
	"golang.org/x/sys/unix"
)

func TestOpenFlags(t *testing.T) {
	d := openDir(t)
	put(t, d, "a", nil)
	const mask = unix.O_ACCMODE | unix.O_DSYNC | unix.O_SYNC | unix.O_DIRECT | unix.O_NOFOLLOW | unix.O_APPEND
	for mode, want := range map[mmapio.Mode]int{
		mmapio.Read:         unix.O_RDONLY,
		mmapio.ReadAround:   unix.O_RDONLY | unix.O_DIRECT,
		mmapio.Write:        unix.O_RDWR,
		mmapio.WriteDurable: unix.O_RDWR | unix.O_DSYNC,
	} {
		f, err := d.Open("a", mode)
		require.NoError(t, err)
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
		require.NoError(t, err)
		assert.Equal(t, want|unix.O_NOFOLLOW, flags&mask, "mode %d", mode)
		flags, err = unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		require.NoError(t, err)
		assert.Equal(t, unix.FD_CLOEXEC, flags, "no other process inherits it")
		require.NoError(t, f.Close())
	}
}

// resident is the number of pages of mapped bytes that are in the page cache.
func resident(t *testing.T, p []byte) (n int) {
	t.Helper()
	pages := make([]byte, len(p)/os.Getpagesize())
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), uintptr(unsafe.Pointer(&pages[0])))
	require.Zero(t, errno)
	for _, b := range pages {
		n += int(b & 1)
	}
	return n
}

// Around really asks the disk: it leaves nothing in the page cache.
func TestAroundLeavesThePageCacheAlone(t *testing.T) {
	d := openDir(t)
	var fs unix.Statfs_t
	require.NoError(t, unix.Statfs(d.Path(), &fs))
	if fs.Type == unix.TMPFS_MAGIC {
		t.Skip("the temporary directory is a tmpfs, which is nothing but page cache")
	}
	f := put(t, d, "a", randomBytes(64<<10))
	require.NoError(t, f.Sync())
	m, err := mmapio.Map(f, 64<<10)
	require.NoError(t, err)
	require.NotZero(t, resident(t, m.Bytes()))
	require.NoError(t, f.Evict())
	require.Zero(t, resident(t, m.Bytes()), "evicted")
	a, err := mmapio.OpenAround(d, "a")
	require.NoError(t, err)
	_, err = a.ReadAt(make([]byte, 64<<10), 0)
	require.NoError(t, err)
	assert.Zero(t, resident(t, m.Bytes()))
	require.NoError(t, a.Close())
	runtime.KeepAlive(m)
}

// mapped says whether the process maps this file.
func mapped(t *testing.T, path string) bool {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	return strings.Contains(string(maps), path)
}

func TestMappedFileIsUnmappedWhenGarbage(t *testing.T) {
	d := openDir(t)
	path := filepath.Join(d.Path(), "a")
	f := put(t, d, "a", randomBytes(pageSize))
	m, err := mmapio.Map(f, pageSize)
	require.NoError(t, err)
	for range 3 {
		runtime.GC()
	}
	require.True(t, mapped(t, path))
	runtime.KeepAlive(m)
	m = nil
	eventually(t, func() bool { return !mapped(t, path) })
}
