package mmapio_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tongpengdl/small-db/mmapio"
)

// openDir opens a new directory.
func openDir(t *testing.T) mmapio.Dir {
	t.Helper()
	return openDirAt(t, t.TempDir())
}

func openDirAt(t *testing.T, path string) mmapio.Dir {
	t.Helper()
	d, err := mmapio.OpenDir(path, false)
	require.NoError(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// randomBytes returns n bytes, the same ones each time.
func randomBytes(n int) []byte {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(rng.Uint32())
	}
	return out
}

// put makes a file with this content and leaves it open.
func put(t *testing.T, d mmapio.Dir, name string, data []byte) mmapio.File {
	t.Helper()
	f, err := d.Create(name)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	n, err := f.WriteAt(data, 0)
	require.NoError(t, err)
	require.Equal(t, len(data), n)
	return f
}

// content is what a file of the directory holds.
func content(t *testing.T, d mmapio.Dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(d.Path(), name))
	require.NoError(t, err)
	return data
}
