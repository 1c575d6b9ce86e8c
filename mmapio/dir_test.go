package mmapio_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tongpengdl/small-db/mmapio"
)

func TestOpenDir(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "data")
	_, err := mmapio.OpenDir(path, false)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = mmapio.OpenDir(filepath.Join(path, "deeper"), true)
	require.ErrorIs(t, err, fs.ErrNotExist, "only the directory itself is made")

	for _, create := range []bool{true, true, false} {
		d, err := mmapio.OpenDir(path, create)
		require.NoError(t, err)
		assert.Equal(t, path, d.Path())
		require.NoError(t, d.Close())
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.ModeDir|0o700, info.Mode())

	file := filepath.Join(root, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, create := range []bool{true, false} {
		_, err = mmapio.OpenDir(file, create)
		require.ErrorIs(t, err, syscall.ENOTDIR)
	}
}

func TestDirNames(t *testing.T) {
	d := openDir(t)
	put(t, d, "b", []byte("B"))
	put(t, d, "a", []byte("A"))
	put(t, d, "c", nil)
	names, err := d.Names()
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b", "c"}, names)

	require.NoError(t, d.Rename("a", "b"))
	assert.Equal(t, "A", string(content(t, d, "b")))
	require.NoError(t, d.Remove("c"))
	require.NoError(t, d.Sync())
	names, err = d.Names()
	require.NoError(t, err)
	assert.Equal(t, []string{"b"}, names)

	require.ErrorIs(t, d.Remove("c"), fs.ErrNotExist)
	require.ErrorIs(t, d.Rename("c", "d"), fs.ErrNotExist)
	_, err = d.Open("c", mmapio.Read)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestCreateIsExclusive(t *testing.T) {
	d := openDir(t)
	put(t, d, "a", []byte("A"))
	_, err := d.Create("a")
	require.ErrorIs(t, err, fs.ErrExist)
	assert.Equal(t, "A", string(content(t, d, "a")))
	info, err := os.Stat(filepath.Join(d.Path(), "a"))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode())
}

func TestSymlinksAreRefused(t *testing.T) {
	d := openDir(t)
	elsewhere := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(elsewhere, []byte("keep"), 0o600))
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(d.Path(), "link")))
	for _, mode := range []mmapio.Mode{mmapio.Read, mmapio.ReadAround, mmapio.Write, mmapio.WriteDurable} {
		_, err := d.Open("link", mode)
		require.ErrorIs(t, err, syscall.ELOOP, "mode %d", mode)
	}
	_, err := d.Create("link")
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorIs(t, d.Lock("link"), syscall.ELOOP)
	kept, err := os.ReadFile(elsewhere)
	require.NoError(t, err)
	assert.Equal(t, "keep", string(kept))
}

func TestOpenModes(t *testing.T) {
	d := openDir(t)
	put(t, d, "a", []byte("hello"))
	for mode, writes := range map[mmapio.Mode]bool{mmapio.Read: false, mmapio.Write: true, mmapio.WriteDurable: true} {
		f, err := d.Open("a", mode)
		require.NoError(t, err)
		assert.Equal(t, "a", f.Name())
		size, err := f.Size()
		require.NoError(t, err)
		assert.EqualValues(t, 5, size)
		_, err = f.WriteAt([]byte("J"), 0)
		assert.Equal(t, writes, err == nil, "mode %d: %v", mode, err)
		buf := make([]byte, 4)
		_, err = f.ReadAt(buf, 1)
		require.NoError(t, err)
		assert.Equal(t, "ello", string(buf))
		if writes {
			require.NoError(t, f.Flush(0, 5))
			require.NoError(t, f.Sync())
		}
		require.NoError(t, f.Evict())
		require.NoError(t, f.Close())
		require.Error(t, f.Sync(), "it is closed")
	}
	assert.Equal(t, "Jello", string(content(t, d, "a")))
}

func TestFilesOutliveTheirDir(t *testing.T) {
	d, err := mmapio.OpenDir(t.TempDir(), false)
	require.NoError(t, err)
	f := put(t, d, "a", []byte("A"))
	require.NoError(t, d.Close())
	require.NoError(t, f.Sync())
	require.Error(t, d.Sync())
}

func TestSizeOfNoRegularFile(t *testing.T) {
	d := openDir(t)
	require.NoError(t, os.Mkdir(filepath.Join(d.Path(), "sub"), 0o700))
	f, err := d.Open("sub", mmapio.Read)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.Size()
	require.ErrorContains(t, err, "sub is not a regular file")
}

func TestFailuresNameCallAndFile(t *testing.T) {
	d := openDir(t)
	f := put(t, d, "a", []byte("A"))
	require.NoError(t, f.Close())
	path := filepath.Join(d.Path(), "a")
	require.ErrorContains(t, f.Sync(), "fdatasync "+path)
	for op, err := range map[string]error{"sync_file_range": f.Flush(0, 1), "fadvise": f.Evict()} {
		if err != nil { // elsewhere than on Linux they do nothing
			require.ErrorContains(t, err, op+" "+path)
		}
	}
}
