package ckpt_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// pipe is a Writer that keeps what it is given, up to limit bytes, and spoils the caller's copy afterwards.
type pipe struct {
	bytes.Buffer
	writes []int
	limit  int
	full   error // what it then returns; nil with a short count
}

func (w *pipe) Write(p []byte) (int, error) {
	w.writes = append(w.writes, len(p))
	n := min(len(p), w.limit-w.Len())
	_, _ = w.Buffer.Write(p[:n])
	clear(p)
	if n < len(p) {
		return n, w.full
	}
	return n, nil
}

// pour builds a checkpoint of records in w.
func pour(w io.Writer, records []ckpt.Record) (ckpt.Summary, error) {
	b, err := ckpt.NewStreamBuilder(w, header, uint64(len(records)))
	if err != nil {
		return ckpt.Summary{}, err
	}
	b.SetHashSeed(seed)
	for _, r := range records {
		if err := b.Add(r); err != nil {
			return ckpt.Summary{}, err
		}
	}
	return b.Finish(epochs)
}

// A stream is what a file is, byte for byte, also where the hash index must be widened.
func TestStreamIsTheFile(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, records := range [][]ckpt.Record{nil, smallSet(), homed(480, 86, 3), sorted(rng, randomSet(rng, 400)), expiring(50_000)} {
		_, f := create(t)
		want, err := fill(f, records, len(records))
		require.NoError(t, err)
		w := &pipe{limit: 1 << 40}
		got, err := pour(w, records)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.True(t, bytes.Equal(contents(t, f), w.Bytes()))
		require.Equal(t, want.Footer.FileLen, uint64(w.Len()))
		for i, n := range w.writes {
			require.Positive(t, n)
			require.LessOrEqual(t, n, mmapio.PieceSize)
			require.True(t, n == mmapio.PieceSize || i == len(w.writes)-1)
		}
	}
}

// A checkpoint that ends with a piece is not followed by an empty one.
func TestStreamOfOnePiece(t *testing.T) {
	w := &pipe{limit: 1 << 40}
	summary, err := pour(w, []ckpt.Record{{Seq: 1, Key: []byte("k"), Value: make([]byte, 257_040)}})
	require.NoError(t, err)
	require.Equal(t, uint64(mmapio.PieceSize), summary.Footer.FileLen)
	require.Equal(t, []int{mmapio.PieceSize}, w.writes)
}

func TestStreamReturnsFailures(t *testing.T) {
	records := numbered(40_000)
	w := &pipe{limit: 1 << 40}
	_, err := pour(w, records)
	require.NoError(t, err)
	length, writes := w.Len(), len(w.writes)
	require.Greater(t, writes, 4)
	for _, limit := range []int{0, 1, mmapio.PieceSize, mmapio.PieceSize + 1, length / 2, length - 1} {
		for full, want := range map[error]error{errDisk: errDisk, nil: io.ErrShortWrite} {
			w := &pipe{limit: limit, full: full}
			_, err := pour(w, records)
			require.ErrorIs(t, err, want, "%d bytes", limit)
			require.ErrorContains(t, err, "build "+name)
			require.Len(t, w.writes, limit/mmapio.PieceSize+1, "nothing is written after a failure")
		}
	}
}

func TestStreamRefusesABadHeader(t *testing.T) {
	w := &pipe{limit: 1 << 40}
	_, err := ckpt.NewStreamBuilder(w, format.CheckpointHeader{Generation: 1}, 1)
	require.ErrorIs(t, err, format.ErrField, "no epoch")
	require.Empty(t, w.writes)
}
