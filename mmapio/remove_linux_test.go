package mmapio_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/mmapio"
)

// TestRemoveKeepsWhatOthersHave: the room of a removed file is given back little by little, but never what somebody can still read.
func TestRemoveKeepsWhatOthersHave(t *testing.T) {
	data := randomBytes(9<<20 + 5)
	t.Run("nobody", func(t *testing.T) {
		d := openDir(t)
		require.NoError(t, put(t, d, "a", data).Close())
		require.NoError(t, d.Remove("a"))
		require.NoFileExists(t, filepath.Join(d.Path(), "a"))
		require.ErrorIs(t, d.Remove("a"), os.ErrNotExist)
	})
	t.Run("a mapping", func(t *testing.T) {
		d := openDir(t)
		f := put(t, d, "a", data)
		m, err := mmapio.Map(f, int64(len(data)))
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.NoError(t, d.Remove("a"))
		assert.Equal(t, data, m.Bytes())
		runtime.KeepAlive(m)
	})
	t.Run("a descriptor", func(t *testing.T) {
		d := openDir(t)
		require.NoError(t, put(t, d, "a", data).Close())
		f, err := d.Open("a", mmapio.Read)
		require.NoError(t, err)
		defer f.Close()
		require.NoError(t, d.Remove("a"))
		got := make([]byte, len(data))
		_, err = f.ReadAt(got, 0)
		require.NoError(t, err)
		assert.Equal(t, data, got)
	})
	t.Run("a name", func(t *testing.T) {
		d := openDir(t)
		require.NoError(t, put(t, d, "a", data).Close())
		require.NoError(t, os.Link(filepath.Join(d.Path(), "a"), filepath.Join(d.Path(), "b")))
		require.NoError(t, d.Remove("a"))
		assert.Equal(t, data, content(t, d, "b"))
	})
	t.Run("a name for something else", func(t *testing.T) {
		d := openDir(t)
		require.NoError(t, put(t, d, "a", data).Close())
		require.NoError(t, os.Symlink("a", filepath.Join(d.Path(), "b")))
		require.NoError(t, d.Remove("b"))
		assert.Equal(t, data, content(t, d, "a"))
		require.NoError(t, os.Mkdir(filepath.Join(d.Path(), "c"), 0o700))
		require.NoError(t, d.Remove("c"))
	})
}
