package logrecord_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

// TestFrameOfAnotherHistory puts a frame into a log that is intact in itself and was written at this very place, with the right sequence,
// index, epoch and time, but after another frame. Only the chain tells that it does not continue this history.
func TestFrameOfAnotherHistory(t *testing.T) {
	write := func(first string) *file {
		f := newFile(1<<16, 512)
		f.write(2000, operation{format.KindSet, "a", first, 0})
		f.write(2001, operation{format.KindSet, "b", "2", 0})
		return f
	}
	ours, theirs := write("1"), write("0")
	require.Equal(t, ours.ends, theirs.ends)
	from, to := ours.ends[0], ours.ends[1]
	copy(ours.data[from:to], theirs.data[from:to])
	for _, end := range []int64{0, to} {
		groups, _, r, err := ours.read(end)
		requireDamage(t, err, from, r.Position().Seq+1)
		assert.Equal(t, ours.groups[:1], groups)
	}

	theirs.seal(1)
	ours = write("1")
	copy(ours.data[to:], theirs.data[to:])
	_, trailer, _, err := ours.read(0)
	requireDamage(t, err, to, ours.framer.Position().Seq+1)
	assert.Nil(t, trailer, "a trailer ends the history that it was written after")
}

// TestEveryBitOfAFrame changes one bit of a sealed log after the other: of headers, records and trailer none is without a checksum.
func TestEveryBitOfAFrame(t *testing.T) {
	f := newFile(1<<14, 512)
	f.write(2000, operation{format.KindSet, "a", "value", 5}, operation{kind: format.KindDelete, key: "bc"})
	f.write(2001, operation{format.KindSet, "d", "", 0})
	f.seal(77)
	_, _, _, err := f.read(0)
	require.ErrorIs(t, err, io.EOF)
	flipped, from := 0, int64(format.LogHeaderSize)
	for _, payload := range []int{
		format.RecordLen(1, 5, true) + format.RecordLen(2, 0, false), format.RecordLen(1, 0, false), format.TrailerLen,
	} {
		end := from + format.FrameHeaderLen + int64(payload)
		for at := from; at < end; at++ {
			for bit := range 8 {
				f.data[at] ^= 1 << bit
				_, _, r, err := f.read(0)
				require.NotErrorIs(t, err, io.EOF, "bit %d of byte %d", bit, at)
				require.Equal(t, from, r.Offset())
				f.data[at] ^= 1 << bit
				flipped++
			}
		}
		from = format.Align(end, 512)
	}
	t.Logf("%d bits flipped, all found", flipped)
}

// TestFrameLongerThanItsLog: a header may be intact and its length still lead out of the log. Nothing of that length is read or allocated.
func TestFrameLongerThanItsLog(t *testing.T) {
	for _, length := range []uint32{1<<16 - format.LogHeaderSize - format.FrameHeaderLen + 8, 1 << 20, format.MaxPayloadLen} {
		f := newFile(1<<16, 512)
		f.write(2000, operation{format.KindSet, "a", "1", 0})
		const at = format.LogHeaderSize
		h, err := format.DecodeFrameHeader(f.data[at:], f.id.Salt, at)
		require.NoError(t, err)
		h.Length = length
		h.Encode(f.data[at:], f.id.Salt, at)
		for _, end := range []int64{0, f.ends[0]} {
			_, _, _, err = f.read(end)
			requireDamage(t, err, at, 42)
			require.ErrorIs(t, err, format.ErrLength)
		}
	}
}
