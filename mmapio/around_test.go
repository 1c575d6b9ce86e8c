package mmapio_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// places are directories on different file systems.
func places(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{"disk": t.TempDir()}
	if path, err := os.MkdirTemp("/dev/shm", "mmapio"); err == nil { // where there is one
		t.Cleanup(func() { _ = os.RemoveAll(path) })
		out["tmpfs"] = path
	}
	return out
}

func TestAroundReadsAsFilesDo(t *testing.T) {
	for place, path := range places(t) {
		for _, size := range []int{0, 1, 4095, 4096, 4097, mmapio.PieceSize + 3*4096, 3*mmapio.PieceSize + 777} {
			d := openDirAt(t, path)
			f := put(t, d, "a", randomBytes(size))
			a, err := mmapio.OpenAround(d, "a")
			require.NoError(t, err)
			assert.EqualValues(t, size, a.Size())
			same(t, place, a, f, 0, size)
			same(t, place, a, f, 0, size+1)
			same(t, place, a, f, int64(size), 1)
			same(t, place, a, f, int64(size)+5000, 10)
			same(t, place, a, f, int64(size), 0)
			rng := rand.New(rand.NewPCG(1, uint64(size)))
			for range 50 {
				same(t, place, a, f, rng.Int64N(int64(size)+4096), rng.IntN(10_000))
			}
			for range 10 {
				same(t, place, a, f, rng.Int64N(int64(size)+1), rng.IntN(size+4096))
			}
			require.NoError(t, a.Close())
			require.NoError(t, d.Remove("a"))
		}
	}
}

// same compares one read with that through the page cache.
func same(t *testing.T, place string, a *mmapio.Around, f mmapio.File, off int64, n int) {
	t.Helper()
	got, want := make([]byte, n), make([]byte, n)
	m, err := a.ReadAt(got, off)
	wantM, wantErr := f.ReadAt(want, off)
	require.Equal(t, wantErr, err, "%s: %d bytes at %d", place, n, off)
	require.Equal(t, wantM, m, "%s: %d bytes at %d", place, n, off)
	require.True(t, bytes.Equal(want, got), "%s: %d bytes at %d", place, n, off)
}

// A file system may refuse direct reads.
func TestAroundWithoutDirectReads(t *testing.T) {
	in := mmapiotest.NewInjector(mmapio.OpenDir, mmapiotest.Fault{
		Match: func(op mmapiotest.Op) bool { return op.Mode == mmapio.ReadAround }, ForGood: true, Err: syscall.EINVAL,
	})
	rec := mmapiotest.NewRecorderOver(in.OpenDir)
	d, err := rec.OpenDir(t.TempDir(), false)
	require.NoError(t, err)
	f := put(t, d, "a", randomBytes(10_000))
	a, err := mmapio.OpenAround(d, "a")
	require.NoError(t, err)
	tr := rec.Trace()
	assert.Equal(t, mmapiotest.Evict, tr[len(tr)-1].Kind, "the next best")
	same(t, "disk", a, f, 77, 5000)
	require.NoError(t, a.Close())
}

func TestAroundFails(t *testing.T) {
	_, err := mmapio.OpenAround(openDir(t), "a")
	require.ErrorIs(t, err, fs.ErrNotExist)

	eio := errors.New("EIO")
	in := mmapiotest.NewInjector(mmapio.OpenDir, mmapiotest.Fault{
		Match: func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.ReadAt }, Nth: 2, Err: eio,
	})
	d, err := in.OpenDir(t.TempDir(), false)
	require.NoError(t, err)
	data := randomBytes(3 * mmapio.PieceSize)
	put(t, d, "a", data)
	a, err := mmapio.OpenAround(d, "a")
	require.NoError(t, err)
	buf := make([]byte, len(data))
	n, err := a.ReadAt(buf, 0)
	require.ErrorIs(t, err, eio)
	assert.Equal(t, data[:n], buf[:n], "what came before the error")
	require.NoError(t, a.Close())

	in.Add(mmapiotest.Fault{Match: func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.Size }, Err: eio})
	_, err = mmapio.OpenAround(d, "a")
	require.ErrorIs(t, err, eio)
}
