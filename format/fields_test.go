package format_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

// put writes v over n bytes at an offset of an intact structure, makes its checksum right again, and decodes it.
func put(s structure, at, n int, v uint64) error {
	return decodeChanged(s, func(b []byte) []byte {
		var full [8]byte
		binary.LittleEndian.PutUint64(full[:], v)
		copy(b[at:at+n], full[:])
		return reseal(s, b)
	})
}

// foot is the footer that fieldRows speak of; it ends where the regions of the file may end at the latest.
var (
	foot = drawn("footer").value.(format.Footer)
	end  = foot.FileLen - format.FooterLen
)

var fieldRows = []struct {
	structure, field string
	value            uint64
	want             error // nil: the value is fine
}{
	{"version file", "generation", 0, format.ErrField},
	{"version file", "previous", drawn("version file").value.(format.VersionFile).Generation, format.ErrField},
	{"version file", "previous", 0, nil},
	{"version file", "checkpoint length", format.MaxCheckpointLen + 1, format.ErrField},
	{"version file", "checkpoint length", 1<<64 - 1, format.ErrField},
	{"version file", "epoch", 0, format.ErrField},
	{"block 0", "alignment", 0, format.ErrField},
	{"block 0", "alignment", 256, format.ErrField},
	{"block 0", "alignment", 1536, format.ErrField},
	{"block 0", "alignment", 8192, format.ErrField},
	{"block 0", "alignment", 1<<32 - 512, format.ErrField},
	{"block 0", "generation", 0, format.ErrField},
	{"block 0", "size", 4096, format.ErrField},
	{"block 0", "size", 8192 + 512, format.ErrField},
	{"block 0", "size", 8192, nil},
	{"block 0", "size", format.MaxLogLen, nil},
	{"block 0", "size", format.MaxLogLen + 4096, format.ErrField},
	{"block 0", "size", 1 << 63, format.ErrField},
	{"block 1", "end", 1 << 63, format.ErrField},
	{"block 1", "end", format.MaxLogLen + 1, format.ErrField},
	{"block 1", "commit", drawn("block 1").value.(format.Predecessor).Position.Seq, nil},
	{"block 1", "epoch", 0, format.ErrField},
	{"header page", "generation", 0, format.ErrField},
	{"header page", "epoch", 0, format.ErrField},
	{"frame header", "kind", 0, format.ErrField},
	{"frame header", "kind", 5, format.ErrField},
	{"frame header", "kind", 2, format.ErrField},     // an empty frame with operations
	{"frame header", "kind", 3, format.ErrField},     // so a configuration
	{"frame header", "length", 60, format.ErrLength}, // no multiple of 8
	{"frame header", "length", 56, format.ErrLength}, // too short for two records
	{"frame header", "length", 1 << 31, format.ErrLength},
	{"frame header", "length", 1<<32 - 8, format.ErrLength},
	{"frame header", "length", format.MaxPayloadLen, nil},
	{"frame header", "length", format.MaxPayloadLen + 8, format.ErrLength},
	{"frame header", "count", 0, format.ErrField},
	{"frame header", "count", 3, format.ErrLength},
	{"frame header", "count", 1 << 27, format.ErrLength}, // times 32 it is 0 in 32 bits
	{"frame header", "count", 1<<32 - 1, format.ErrLength},
	{"frame header", "first seq", 0, format.ErrField},
	{"frame header", "first seq", 1<<64 - 1, format.ErrField}, // the next one would be 1 again
	{"frame header", "first seq", 1<<64 - 3, nil},
	{"frame header", "epoch", 0, format.ErrField},
	{"footer", "file length", foot.FileLen + 8, format.ErrLength},
	{"footer", "records", foot.Buckets*format.BucketSlots + 1, format.ErrField},
	{"footer", "records", 1<<64 - 1, format.ErrField},
	{"footer", "buckets", 0, format.ErrLength},
	{"footer", "buckets", 1<<64 - 1, format.ErrLength},
	{"footer", "buckets", 1 << 58, format.ErrLength}, // times 64 it is 0
	{"footer", "buckets at", foot.BucketsAt + 8, format.ErrLength},
	{"footer", "buckets at", 0, format.ErrLength},
	{"footer", "buckets at", end + 64, format.ErrLength},
	{"footer", "buckets at", 1<<64 - 64, format.ErrLength},
	{"footer", "entries", foot.Records + 1, format.ErrLength},
	{"footer", "entries", 1<<64 - 1, format.ErrLength},
	{"footer", "ordered at", foot.OrderedAt + 4, format.ErrLength},
	{"footer", "ordered at", 0, format.ErrLength},
	{"footer", "ordered at", 1<<64 - 8, format.ErrLength},
	{"footer", "deadlines", 0, nil},
	{"footer", "deadlines", foot.Records + 1, format.ErrLength},
	{"footer", "deadlines", 1<<64 - 1, format.ErrLength},
	{"footer", "deadlines at", foot.DeadlinesAt + 4, format.ErrLength},
	{"footer", "deadlines at", 0, format.ErrLength},
	{"footer", "deadlines at", format.CheckpointHeaderLen - 8, format.ErrLength},
	{"footer", "deadlines at", end, format.ErrLength},
	{"footer", "deadlines at", 1<<64 - 8, format.ErrLength},
	{"footer", "segments", foot.Segments + 1, format.ErrLength},
	{"footer", "segments", foot.Segments - 1, format.ErrLength},
	{"footer", "segments", 1<<64 - 1, format.ErrLength},
	{"footer", "segments", foot.Segments + 1<<61, format.ErrLength}, // times 40 it is the right length
	{"footer", "directory at", foot.Directory + 4, format.ErrLength},
	{"footer", "directory at", end, format.ErrLength},
	{"footer", "directory at", 0, format.ErrLength},
	{"footer", "directory at", 1<<64 - 8, format.ErrLength},
}

// TestFields gives single fields values that no writer writes, under a right checksum.
func TestFields(t *testing.T) {
	for _, row := range fieldRows {
		s := drawn(row.structure)
		if row.structure == "frame header" {
			s = frameOfTwo()
		}
		f := fieldNamed(t, s, row.field)
		err := put(s, f.at, f.size, row.value)
		if row.want == nil {
			assert.NoError(t, err, "%s: %s = %d", row.structure, row.field, row.value)
			continue
		}
		assert.ErrorIs(t, err, row.want, "%s: %s = %d", row.structure, row.field, row.value)
		assert.Equal(t, 1, count(err), "%v", err)
	}
}

// frameOfTwo is the header of a frame of two operations.
func frameOfTwo() structure {
	h := format.FrameHeader{Kind: format.FrameOperations, Length: 64, Count: 2, FirstSeq: 5, Epoch: 1}
	return of("frame header", h, page(format.FrameHeaderLen, func(h *format.FrameHeader, b []byte) { h.Encode(b, testSalt, testOffset) }),
		func(b []byte) (format.FrameHeader, error) { return format.DecodeFrameHeader(b, testSalt, testOffset) },
		func(b []byte, h format.FrameHeader) []field { return frameFields(b, h, testSalt, testOffset) })
}

// drawn is a structure by its name.
func drawn(name string) structure {
	for _, s := range structures(newRandom(9)) {
		if s.name == name {
			return s
		}
	}
	panic("there is no structure " + name)
}

func fieldNamed(t *testing.T, s structure, name string) field {
	for _, f := range s.fields {
		if f.name == name {
			return f
		}
	}
	require.Failf(t, "no such field", "%s: %s", s.name, name)
	return field{}
}

func TestFrameHeaderValidate(t *testing.T) {
	for _, c := range []struct {
		h    format.FrameHeader
		want error
	}{
		{format.FrameHeader{Kind: format.FrameEmpty, FirstSeq: 1, Epoch: 1}, nil},
		{format.FrameHeader{Kind: format.FrameEmpty, Length: 8, FirstSeq: 1, Epoch: 1}, format.ErrLength},
		{format.FrameHeader{Kind: format.FrameConfiguration, FirstSeq: 1, Epoch: 1}, nil},
		{format.FrameHeader{Kind: format.FrameConfiguration, Length: 24, FirstSeq: 1, Epoch: 1}, nil},
		{format.FrameHeader{Kind: format.FrameTrailer, Length: 16, FirstSeq: 1, Epoch: 1}, nil},
		{format.FrameHeader{Kind: format.FrameTrailer, Length: 24, FirstSeq: 1, Epoch: 1}, format.ErrLength},
		{format.FrameHeader{Kind: format.FrameTrailer, Length: 16, Count: 1, FirstSeq: 1, Epoch: 1}, format.ErrField},
	} {
		err := c.h.Validate()
		assert.ErrorIs(t, err, c.want, "%+v", c.h)
		assert.Equal(t, c.want == nil, err == nil, "%+v: %v", c.h, err)
	}
	h := format.FrameHeader{FirstSeq: 7, Count: 3}
	assert.Equal(t, uint64(9), h.LastSeq())
	h.Count = 0
	assert.Equal(t, uint64(6), h.LastSeq(), "of the operation before")
}

func TestPredecessorCommit(t *testing.T) {
	b := make([]byte, format.BlockSize)
	p := format.Predecessor{Commit: 5, Position: format.Position{Epoch: 1, Seq: 5}}
	p.Encode(b, testSalt)
	_, err := format.DecodePredecessor(b, testSalt)
	require.NoError(t, err)
	p.Commit++
	p.Encode(b, testSalt)
	_, err = format.DecodePredecessor(b, testSalt)
	require.ErrorIs(t, err, format.ErrField, "what is not written cannot be committed")
}

func TestCheckPayload(t *testing.T) {
	payload := newRandom(1).data(400, 400)
	h := format.FrameHeader{PayloadSum: format.Sum(payload, testSalt, testOffset+format.FrameHeaderLen)}
	require.NoError(t, h.CheckPayload(payload, testSalt, testOffset))
	require.ErrorIs(t, h.CheckPayload(payload[:399], testSalt, testOffset), format.ErrChecksum)
	require.ErrorIs(t, h.CheckPayload(payload, testSalt, testOffset+512), format.ErrChecksum)
	require.ErrorIs(t, h.CheckPayload(payload, testSalt+1, testOffset), format.ErrChecksum)
	for bit := range 8 * len(payload) {
		require.ErrorIs(t, h.CheckPayload(decodeFlipped(payload, bit), testSalt, testOffset), format.ErrChecksum)
	}
}

func TestFooterFileLength(t *testing.T) {
	f := newRandom(1).footer()
	b := make([]byte, format.FooterLen)
	for fileLen, want := range map[uint64]error{
		f.FileLen: nil, f.FileLen + 8: format.ErrChecksum, 0: format.ErrLength, format.FooterLen: format.ErrLength,
		format.BlockSize + format.FooterLen - 1: format.ErrLength, format.MaxCheckpointLen + 1: format.ErrLength, 1<<64 - 1: format.ErrLength,
	} {
		f.Encode(b, testSalt)
		_, err := format.DecodeFooter(b, testSalt, fileLen)
		assert.ErrorIs(t, err, want, "%d", fileLen)
	}
}

// TestFooterCounts: neither index has more words than there are records, also where there is space for them.
func TestFooterCounts(t *testing.T) {
	f := format.Footer{Records: 2, Buckets: 1, BucketsAt: 8192, OrderedAt: 4096, DeadlinesAt: 4096, Directory: 16384, FileLen: 16384 + format.FooterLen}
	for _, c := range []struct {
		entries, deadlines uint64
		want               error
	}{
		{0, 0, nil}, {2, 2, nil}, {3, 0, format.ErrLength}, {0, 3, format.ErrLength},
	} {
		f.Entries, f.Deadlines = c.entries, c.deadlines
		b := make([]byte, format.FooterLen)
		f.Encode(b, testSalt)
		_, err := format.DecodeFooter(b, testSalt, f.FileLen)
		assert.ErrorIs(t, err, c.want, "%+v", c)
		assert.Equal(t, c.want == nil, err == nil, "%+v", c)
	}
}

func TestSegmentBounds(t *testing.T) {
	const end = 1 << 20 // of the file
	for _, c := range []struct {
		s    format.Segment
		want error
	}{
		{format.Segment{Kind: format.SegmentRecords, Offset: 4096, Length: end - 4096}, nil},
		{format.Segment{Kind: format.SegmentEpochs, Offset: end}, nil},
		{format.Segment{Kind: 0, Offset: 4096}, format.ErrField},
		{format.Segment{Kind: 6, Offset: 4096}, format.ErrField},
		{format.Segment{Kind: format.SegmentRecords, Offset: 4088}, format.ErrLength},
		{format.Segment{Kind: format.SegmentRecords, Offset: 4100}, format.ErrLength},
		{format.Segment{Kind: format.SegmentRecords, Offset: end + 8}, format.ErrLength},
		{format.Segment{Kind: format.SegmentRecords, Offset: 4096, Length: end - 4095}, format.ErrLength},
		{format.Segment{Kind: format.SegmentRecords, Offset: 4096, Length: 1<<64 - 4096}, format.ErrLength},
		{format.Segment{Kind: format.SegmentRecords, Offset: 1<<64 - 8, Length: 16}, format.ErrLength},
	} {
		_, err := format.DecodeSegment(c.s.Append(nil), end)
		assert.ErrorIs(t, err, c.want, "%+v", c.s)
		assert.Equal(t, c.want == nil, err == nil, "%+v", c.s)
	}
}

func TestEpochOrder(t *testing.T) {
	for _, c := range []struct {
		epochs []format.EpochStart
		want   error
	}{
		{nil, nil},
		{[]format.EpochStart{{Epoch: 1, FirstSeq: 1}, {Epoch: 2, FirstSeq: 1}}, nil},
		{[]format.EpochStart{{Epoch: 0, FirstSeq: 1}}, format.ErrField},
		{[]format.EpochStart{{Epoch: 2, FirstSeq: 1}, {Epoch: 2, FirstSeq: 5}}, format.ErrField},
		{[]format.EpochStart{{Epoch: 2, FirstSeq: 5}, {Epoch: 1, FirstSeq: 6}}, format.ErrField},
		{[]format.EpochStart{{Epoch: 1, FirstSeq: 5}, {Epoch: 2, FirstSeq: 4}}, format.ErrField},
	} {
		var b []byte
		for _, e := range c.epochs {
			b = e.Append(b)
		}
		_, err := format.DecodeEpochs(b)
		assert.ErrorIs(t, err, c.want, "%+v", c.epochs)
		assert.Equal(t, c.want == nil, err == nil, "%+v", c.epochs)
	}
}
