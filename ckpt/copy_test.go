package ckpt_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What a cursor or a fetch returns is a copy that was verified: it stays right when the mapped bytes change.
func TestCopies(t *testing.T) {
	records := smallSet()
	r, f := build(t, records)
	last := records[len(records)-1]
	c := r.Cursor()
	stood, ok, err := c.Last()
	require.NoError(t, err)
	require.True(t, ok)
	var small [256]byte
	inSmall, out, ok, err := fetch(r, last.Key, small[:0], []byte("before"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "before", string(out))
	behind, out, ok, err := fetch(r, last.Key, small[:0:1], []byte("before"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "before"+string(last.Value), string(out))

	at := int64(r.Footer().BucketsAt) - 64 // within the last record or the padding behind it
	_, err = f.WriteAt(make([]byte, 64), at)
	require.NoError(t, err)
	_, ok, err = get(r, last.Key)
	requireCorrupt(t, err)
	require.False(t, ok)
	require.True(t, same(last, stood))
	require.True(t, same(last, inSmall))
	require.True(t, same(last, behind))
	taken, memory := c.Take(nil)
	require.True(t, same(last, taken))
	require.NotEmpty(t, memory)
	_, _, err = c.Last()
	requireCorrupt(t, err)
	_, out, ok, err = fetch(r, last.Key, nil, []byte("before"))
	requireCorrupt(t, err)
	require.False(t, ok)
	require.Equal(t, "before", string(out))
}

// A cursor whose record was taken goes on, and leaves that alone.
func TestTake(t *testing.T) {
	records := smallSet()
	r, _ := build(t, records)
	c := r.Cursor()
	var buf []byte
	for i, want := range records {
		_, ok, err := c.Next()
		require.NoError(t, err)
		require.True(t, ok)
		got, taken := c.Take(buf)
		buf = taken
		if i+1 < len(records) {
			ahead, ok, err := c.Next()
			require.NoError(t, err)
			require.True(t, ok)
			require.True(t, same(records[i+1], ahead))
			back, ok, err := c.Prev()
			require.NoError(t, err)
			require.True(t, ok)
			require.True(t, same(want, back))
		}
		require.True(t, same(want, got))
	}
}
