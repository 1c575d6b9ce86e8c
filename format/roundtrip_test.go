package format_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

const rounds = 300

func TestRoundTrips(t *testing.T) {
	for seed := range uint64(rounds) {
		for _, s := range structures(newRandom(seed)) {
			got, err := s.decode(s.bytes)
			require.NoError(t, err, "%s, seed %d: %+v", s.name, seed, s.value)
			require.Equal(t, s.value, got, "%s, seed %d", s.name, seed)
			require.Equal(t, s.bytes, s.encode(got), "%s, seed %d", s.name, seed)
		}
	}
}

// TestLayouts holds every encoder to the tables of fields, with random values.
func TestLayouts(t *testing.T) {
	for seed := range uint64(rounds) {
		for _, s := range structures(newRandom(seed)) {
			require.NoError(t, checkFields(s.bytes, s.fields), "%s, seed %d: %+v", s.name, seed, s.value)
		}
	}
}

// TestLayoutsOfParts does both for what is covered by the checksum of something larger.
func TestLayoutsOfParts(t *testing.T) {
	for seed := range uint64(rounds) {
		r := newRandom(seed)
		trailer := format.Trailer{Generation: r.u64(), Salt: r.u64()}
		b := trailer.Append([]byte("before"))[6:]
		require.NoError(t, checkFields(b, trailerFields(trailer)))
		gotTrailer, err := format.DecodeTrailer(b)
		require.NoError(t, err)
		require.Equal(t, trailer, gotTrailer)

		s := format.Segment{
			Kind: format.SegmentKind(1 + r.IntN(5)), Count: uint32(r.u64()), Offset: 8 * r.between(512, 1<<37),
			Length: r.between(0, 1<<20), BaseSeq: r.u64(), Sum: r.u64(),
		}
		b = s.Append([]byte("before"))[6:]
		require.NoError(t, checkFields(b, segmentFields(s)))
		gotSegment, err := format.DecodeSegment(b, s.Offset+s.Length)
		require.NoError(t, err)
		require.Equal(t, s, gotSegment)

		first := format.EpochStart{Epoch: r.between(1, 1<<62), FirstSeq: r.between(1, 1<<63)}
		second := format.EpochStart{Epoch: r.between(first.Epoch+1, 1<<64-1), FirstSeq: r.between(first.FirstSeq, 1<<64-1)}
		b = second.Append(first.Append(nil))
		require.NoError(t, checkFields(b[:16], epochFields(first)))
		require.NoError(t, checkFields(b[16:], epochFields(second)))
		gotEpochs, err := format.DecodeEpochs(b)
		require.NoError(t, err)
		require.Equal(t, []format.EpochStart{first, second}, gotEpochs)
	}
}

// TestPrefixes shows that a decoder takes the size from the bytes and reads nothing past it.
func TestPrefixes(t *testing.T) {
	for seed := range uint64(rounds) {
		s := recordStructure(newRandom(seed))
		rec, size, err := format.DecodeRecord(append(s.bytes[:len(s.bytes):len(s.bytes)], 0xff, 0xff), testSalt, testOffset)
		require.NoError(t, err)
		want := s.value.(format.Record)
		require.Equal(t, len(s.bytes), size)
		require.Equal(t, size, format.RecordLen(len(want.Key), len(want.Value), want.Expiry != 0))
		require.Equal(t, len(rec.Key), cap(rec.Key), "an append to it must not write into the log")
		require.Equal(t, len(rec.Value), cap(rec.Value))
		_, hash := format.AppendRecord(nil, &want, 1, 2)
		require.Equal(t, hash, rec.Hash, "the content hash knows no place")
		key, kind := format.RecordKey(s.bytes)
		require.Equal(t, want.Key, key)
		require.Equal(t, want.Kind, kind)
		require.Equal(t, s.bytes, format.RecordBytes(append(s.bytes[:len(s.bytes):len(s.bytes)], 0xff)))

		s = entryStructure(newRandom(seed))
		e, size, err := format.DecodeEntry(append(s.bytes[:len(s.bytes):len(s.bytes)], 0xff, 0xff), testSalt, testOffset)
		require.NoError(t, err)
		require.Equal(t, len(s.bytes), size)
		require.Equal(t, len(e.Key), cap(e.Key))
		require.Equal(t, len(e.Value), cap(e.Value))
	}
}

// TestBucketInPlace compares the two ways to read a bucket.
func TestBucketInPlace(t *testing.T) {
	for seed := range uint64(rounds) {
		for _, s := range structures(newRandom(seed)) {
			if s.name != "bucket" {
				continue
			}
			require.NoError(t, format.CheckBucket(s.bytes, testSalt, testOffset))
			for i, slot := range s.value.(format.Bucket) {
				require.Equal(t, slot, format.SlotAt(s.bytes, i))
			}
			require.ErrorIs(t, format.CheckBucket(s.bytes, testSalt, testOffset+64), format.ErrChecksum)
			require.ErrorIs(t, format.CheckBucket(s.bytes[:63], testSalt, testOffset), format.ErrLength)
		}
	}
}

// TestLargest encodes and decodes what is as large as the limits allow.
func TestLargest(t *testing.T) {
	key, value := make([]byte, format.MaxKeyLen), make([]byte, format.MaxValueLen)
	r := format.Record{Kind: format.KindSet, Seq: 1<<64 - 1, Expiry: 1<<63 - 1, Key: key, Value: value}
	b, _ := format.AppendRecord(nil, &r, testSalt, testOffset)
	assert.Len(t, b, format.MaxRecordLen)
	assert.LessOrEqual(t, len(b), format.MaxPayloadLen, "it fits into a frame")
	got, _, err := format.DecodeRecord(b, testSalt, testOffset)
	require.NoError(t, err)
	assert.Len(t, got.Value, len(value))
	assert.Len(t, got.Key, len(key))

	e := format.Entry{SeqDelta: -1 << 63, Expiry: 1<<63 - 1, Key: key, Value: value}
	b = format.AppendEntry(b[:0], &e, testSalt, testOffset)
	assert.LessOrEqual(t, len(b), format.MaxEntryLen)
	gotEntry, _, err := format.DecodeEntry(b, testSalt, testOffset)
	require.NoError(t, err)
	assert.Len(t, gotEntry.Value, len(value))
	assert.Equal(t, e.SeqDelta, gotEntry.SeqDelta)

	larger := make([]byte, format.MaxValueLen+1)
	b, _ = format.AppendRecord(b[:0], &format.Record{Kind: format.KindSet, Seq: 1, Key: []byte("k"), Value: larger}, testSalt, testOffset)
	require.Less(t, len(b), format.MaxRecordLen)
	_, _, err = format.DecodeRecord(b, testSalt, testOffset)
	assert.ErrorIs(t, err, format.ErrLength)
	b = format.AppendEntry(b[:0], &format.Entry{Key: []byte("k"), Value: larger}, testSalt, testOffset)
	_, _, err = format.DecodeEntry(b, testSalt, testOffset)
	assert.ErrorIs(t, err, format.ErrLength)
	b = format.AppendEntry(b[:0], &format.Entry{Key: make([]byte, format.MaxKeyLen+1)}, testSalt, testOffset)
	_, _, err = format.DecodeEntry(b, testSalt, testOffset)
	assert.ErrorIs(t, err, format.ErrLength)

	b, _ = format.AppendRecord(b[:0], &format.Record{Kind: format.KindDelete, Key: []byte{0}}, 0, 0)
	assert.Len(t, b, format.MinRecordLen)
	b = format.AppendEntry(b[:0], &format.Entry{Key: []byte{0}}, 0, 0)
	assert.Len(t, b, format.MinEntryLen)
}

func TestAlignAndFrameLen(t *testing.T) {
	for _, c := range []struct {
		payload int
		align   int64
		want    int64
	}{
		{0, 512, 512}, {512 - 88, 512, 512}, {512 - 80, 512, 1024}, {0, 4096, 4096}, {4096, 4096, 8192},
		{format.MaxPayloadLen, 4096, format.MaxPayloadLen + 4096},
	} {
		assert.Equal(t, c.want, format.FrameLen(c.payload, c.align), "%+v", c)
	}
	for n, want := range map[int64]bool{0: false, 1: false, 256: false, 512: true, 513: false, 1024: true, 1536: false, 4096: true, 8192: false, -512: false} {
		assert.Equal(t, want, format.ValidAlign(n), "%d", n)
	}
	for n, want := range map[uint64]uint64{0: 0, 1: 1, 63: 1, 64: 2, 126: 2, 127: 3, 1<<64 - 1: 292805461487453201} {
		assert.Equal(t, want, format.WordBlocks(n), "%d", n)
	}
}
