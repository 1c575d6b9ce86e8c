package ckpt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

func TestCursorCopy(t *testing.T) {
	records := smallSet()
	r, f := build(t, records)
	c := r.Cursor()
	var buf []byte
	for _, want := range records {
		_, ok, err := c.Next()
		require.NoError(t, err)
		require.True(t, ok)
		got, grown, err := c.Copy(buf)
		require.NoError(t, err)
		require.True(t, same(want, got))
		buf = grown
	}

	// The mapped bytes change after the step that verified them: the copy is what counts.
	got, buf, err := c.Copy(buf)
	require.NoError(t, err)
	at := int64(r.Footer().BucketsAt) - 64 // within the last record or the padding behind it
	_, err = f.WriteAt(make([]byte, 64), at)
	require.NoError(t, err)
	require.True(t, same(records[4], got), "a copy does not change")
	_, _, err = c.Copy(buf)
	require.ErrorIs(t, requireCorrupt(t, err), format.ErrCorrupt)
}
