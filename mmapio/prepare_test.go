package mmapio_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

func TestPrepare(t *testing.T) {
	for _, size := range []int64{0, 1, 4096, mmapio.PieceSize, 3*mmapio.PieceSize + 5} {
		d := openDir(t)
		require.NoError(t, mmapio.Prepare(d, "log", size, nil))
		names, err := d.Names()
		require.NoError(t, err)
		require.Equal(t, []string{"log"}, names)
		data := content(t, d, "log")
		assert.Len(t, data, int(size))
		assert.Empty(t, bytes.Trim(data, "\x00"))
		info, err := os.Stat(filepath.Join(d.Path(), "log"))
		require.NoError(t, err)
		assert.GreaterOrEqual(t, info.Sys().(*syscall.Stat_t).Blocks*512, size, "zeros are written, not skipped")
	}
}

func TestPrepareReplacesNothing(t *testing.T) {
	d := openDir(t)
	put(t, d, "log", []byte("whose?"))
	require.ErrorIs(t, mmapio.Prepare(d, "log", 10, nil), fs.ErrExist)
	assert.Equal(t, "whose?", string(content(t, d, "log")))
}

// Whichever call fails, Prepare does.
func TestPrepareFails(t *testing.T) {
	const size = mmapio.PieceSize + 1
	full := errors.New("full")
	for nth := 1; ; nth++ {
		in := mmapiotest.NewInjector(mmapio.OpenDir, mmapiotest.Fault{Nth: nth, Err: full, Short: true})
		d, err := in.OpenDir(t.TempDir(), false)
		require.NoError(t, err)
		err = mmapio.Prepare(d, "log", size, nil)
		if in.Hits() == 0 {
			require.NoError(t, err)
			assert.Equal(t, 5, in.Calls(), "create, twice write and flush")
			break
		}
		require.ErrorIs(t, err, full)
		names, err := d.Names()
		require.NoError(t, err)
		assert.Equal(t, nth == 1, len(names) == 0, "what was made stays")
	}
}

// A long write never has more than one piece under way.
func TestWritePieces(t *testing.T) {
	rec := mmapiotest.NewRecorder()
	d, err := rec.OpenDir(t.TempDir(), false)
	require.NoError(t, err)
	f, err := d.Create("a")
	require.NoError(t, err)
	data := randomBytes(2*mmapio.PieceSize + 100)
	require.NoError(t, mmapio.WritePieces(f, data, 50))
	require.NoError(t, f.Close())
	assert.Equal(t, append(make([]byte, 50), data...), content(t, d, "a"))
	type call struct {
		kind     mmapiotest.Kind
		off, len int64
	}
	var calls []call
	for _, op := range rec.Trace() {
		if op.Kind == mmapiotest.WriteAt || op.Kind == mmapiotest.Flush {
			calls = append(calls, call{op.Kind, op.Off, op.Len})
		}
	}
	const piece = mmapio.PieceSize
	assert.Equal(t, []call{
		{mmapiotest.WriteAt, 50, piece}, {mmapiotest.Flush, 50, piece},
		{mmapiotest.WriteAt, 50 + piece, piece}, {mmapiotest.Flush, 50 + piece, piece},
		{mmapiotest.WriteAt, 50 + 2*piece, 100}, {mmapiotest.Flush, 50 + 2*piece, 100},
	}, calls)
	require.NoError(t, mmapio.WritePieces(f, nil, 0), "nothing to write, nothing to fail")
}
