package format_test

import (
	"encoding/binary"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

// hostileRecord is a record of 64 bytes with these fields and a right checksum where its length says that it
// lies, if it can lie there.
func hostileRecord(length uint32, keyLen uint16, kind, flags byte, expiry uint64) []byte {
	b := make([]byte, 64)
	binary.LittleEndian.PutUint32(b, length)
	binary.LittleEndian.PutUint16(b[4:], keyLen)
	b[6], b[7] = kind, flags
	binary.LittleEndian.PutUint64(b[16:], expiry)
	if end := int64(length); end >= 8 && end <= 64 {
		binary.LittleEndian.PutUint64(b[end-8:], local(b[:end-8], testSalt, testOffset))
	}
	return b
}

var hostileRecords = []struct {
	what string
	b    []byte
	want error
}{
	{"a good one", hostileRecord(33, 4, 1, 0, 0), nil},
	{"a good one that ends the buffer", hostileRecord(64, 4, 1, 0, 0), nil},
	{"a deadline", hostileRecord(41, 4, 1, 1, 1), nil},
	{"no length", hostileRecord(0, 4, 1, 0, 0), format.ErrLength},
	{"length of a header", hostileRecord(16, 0, 1, 0, 0), format.ErrLength},
	{"length without a key", hostileRecord(24, 0, 1, 0, 0), format.ErrLength},
	{"key length past the value", hostileRecord(33, 10, 1, 0, 0), format.ErrLength},
	{"key length past the buffer", hostileRecord(33, math.MaxUint16, 1, 0, 0), format.ErrLength},
	{"no key", hostileRecord(33, 0, 1, 0, 0), format.ErrLength},
	{"a deadline takes the key's place", hostileRecord(25, 1, 1, 1, 0), format.ErrLength},
	{"length past the buffer", hostileRecord(65, 4, 1, 0, 0), format.ErrLength},
	{"largest length", hostileRecord(format.MaxRecordLen, 4, 1, 0, 0), format.ErrLength},
	{"length past the limit", hostileRecord(format.MaxRecordLen+1, 4, 1, 0, 0), format.ErrLength},
	{"length 2^31 - 1", hostileRecord(math.MaxInt32, 4, 1, 0, 0), format.ErrLength},
	{"length 2^31", hostileRecord(1<<31, 4, 1, 0, 0), format.ErrLength},
	{"length 2^32 - 1", hostileRecord(math.MaxUint32, math.MaxUint16, 1, 1, 0), format.ErrLength},
	{"length 2^32 - 7", hostileRecord(math.MaxUint32-7, 4, 1, 0, 0), format.ErrLength},
	{"kind 0", hostileRecord(33, 4, 0, 0, 0), format.ErrField},
	{"kind 3", hostileRecord(33, 4, 3, 0, 0), format.ErrField},
	{"kind 255", hostileRecord(33, 4, 255, 0, 0), format.ErrField},
	{"flag 2", hostileRecord(33, 4, 1, 2, 0), format.ErrField},
	{"flag 128", hostileRecord(33, 4, 1, 128, 0), format.ErrField},
	{"all flags", hostileRecord(41, 4, 1, 255, 1), format.ErrField},
	{"deadline 0", hostileRecord(41, 4, 1, 1, 0), format.ErrField},
	{"deadline before 1970", hostileRecord(41, 4, 1, 1, 1<<63), format.ErrField},
	{"delete with a value", hostileRecord(33, 4, 2, 0, 0), format.ErrField},
	{"delete with a deadline", hostileRecord(36, 4, 2, 1, 1), format.ErrField},
	{"delete", hostileRecord(28, 4, 2, 0, 0), nil},
}

func TestHostileRecords(t *testing.T) {
	for _, c := range hostileRecords {
		_, size, err := format.DecodeRecord(c.b, testSalt, testOffset)
		assert.ErrorIs(t, err, c.want, c.what)
		assert.Equal(t, c.want == nil, err == nil, "%s: %v", c.what, err)
		key, _ := format.RecordKey(c.b)
		assert.Equal(t, key == nil, c.want == format.ErrLength, "%s: the key by itself needs good lengths", c.what)
		_, sizeOfCopy, errOfCopy := format.DecodeRecord(slices.Clone(format.RecordBytes(c.b)), testSalt, testOffset)
		assert.Equal(t, size, sizeOfCopy, c.what)
		assert.ErrorIs(t, errOfCopy, c.want, c.what)
		if c.want == format.ErrLength {
			assert.Len(t, format.RecordBytes(c.b), format.MinRecordLen, "%s: a bad length copies little", c.what)
		}
		if err != nil {
			assert.Zero(t, size)
		}
	}
	for n := range format.MinRecordLen {
		assert.Len(t, format.RecordBytes(make([]byte, n)), n)
		key, kind := format.RecordKey(make([]byte, n))
		assert.Nil(t, key)
		assert.Zero(t, kind)
	}
}

// TestRecordFieldsAfterChecksum: a record with bad fields and a bad checksum has changed; nothing wrote it so.
func TestRecordFieldsAfterChecksum(t *testing.T) {
	for _, c := range hostileRecords {
		if length := binary.LittleEndian.Uint32(c.b); c.want == format.ErrField {
			b := slices.Clone(c.b)
			b[length-1] ^= 1
			_, _, err := format.DecodeRecord(b, testSalt, testOffset)
			assert.ErrorIs(t, err, format.ErrChecksum, c.what)
		}
	}
}

// TestPadding: it is the one part of a record that its checksum leaves out.
func TestPadding(t *testing.T) {
	for n := range 16 {
		value := make([]byte, n)
		b, _ := format.AppendRecord(nil, &format.Record{Kind: format.KindSet, Seq: 1, Key: []byte("k"), Value: value}, testSalt, testOffset)
		length := int(binary.LittleEndian.Uint32(b))
		for at := length; at < len(b); at++ {
			changed := slices.Clone(b)
			changed[at] = 1
			_, _, err := format.DecodeRecord(changed, testSalt, testOffset)
			require.ErrorIs(t, err, format.ErrField, "byte %d of %d", at, len(b))
		}
		_, _, err := format.DecodeRecord(append(b, 0xff), testSalt, testOffset)
		require.NoError(t, err, "what follows is another record's")
	}
}

// hostileEntry is these varints, then 32 bytes of which the entry takes the first n as deadline, key and value, with a right checksum.
func hostileEntry(varints []byte, n int) []byte {
	body := append(slices.Clone(varints), slices.Repeat([]byte{1}, 32)...)[:len(varints)+n]
	return binary.LittleEndian.AppendUint32(body, uint32(local(body, testSalt, testOffset)))
}

var (
	varint64 = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01} // 2^64 - 1
	varint65 = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02} // past 64 bits
)

var hostileEntries = []struct {
	what string
	b    []byte
	want error
}{
	{"a good one", hostileEntry([]byte{1, 2, 0}, 2), nil},
	{"seq delta of 10 bytes", hostileEntry(append([]byte{1, 2}, varint64...), 2), nil},
	{"a deadline", hostileEntry([]byte{1, 3, 0}, 10), nil},
	{"a deadline before 1970", hostileEntry(append([]byte{1, 1, 0}, 0, 0, 0, 0, 0, 0, 0, 0x80), 1), format.ErrField},
	{"deadline 0", hostileEntry(append([]byte{1, 1, 0}, 0, 0, 0, 0, 0, 0, 0, 0), 1), format.ErrField},
	{"no key", hostileEntry([]byte{0, 2, 0}, 1), format.ErrLength},
	{"key of 65,536 bytes", hostileEntry([]byte{0x80, 0x80, 4, 2, 0}, 2), format.ErrLength},
	{"key of 65,535 bytes in a few", hostileEntry([]byte{0xff, 0xff, 3, 2, 0}, 2), format.ErrLength},
	{"key of 2^64 - 1 bytes", hostileEntry(append(slices.Clone(varint64), 2, 0), 2), format.ErrLength},
	{"key length past 64 bits", hostileEntry(append(slices.Clone(varint65), 2, 0), 2), format.ErrLength},
	{"key length without end", hostileEntry(slices.Repeat([]byte{0x80}, 40), 2), format.ErrLength},
	{"value of 2^63 - 1 bytes", hostileEntry(append(append([]byte{1}, varint64...), 0), 2), format.ErrLength},
	{"value one too large", hostileEntry(append(binary.AppendUvarint([]byte{1}, 2*(format.MaxValueLen+1)), 0), 2), format.ErrLength},
	{"largest value in a few bytes", hostileEntry(append(binary.AppendUvarint([]byte{1}, 2*format.MaxValueLen), 0), 2), format.ErrLength},
	{"value length past 64 bits", hostileEntry(append(append([]byte{1}, varint65...), 0), 2), format.ErrLength},
	{"seq delta past 64 bits", hostileEntry(append([]byte{1, 2}, varint65...), 2), format.ErrLength},
	{"seq delta cut off", []byte{1, 2, 0x80}, format.ErrLength},
	{"key length in two bytes for one", hostileEntry([]byte{0x81, 0, 2, 0}, 2), format.ErrLength},
	{"value length in two bytes for one", hostileEntry([]byte{1, 0x82, 0, 0}, 2), format.ErrLength},
	{"seq delta in two bytes for one", hostileEntry([]byte{1, 2, 0x80, 0}, 2), format.ErrLength},
	{"seq delta in ten bytes for one", hostileEntry(append([]byte{1, 2}, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0), 2), format.ErrLength},
}

func TestHostileEntries(t *testing.T) {
	for _, c := range hostileEntries {
		_, size, err := format.DecodeEntry(c.b, testSalt, testOffset)
		assert.ErrorIs(t, err, c.want, c.what)
		assert.Equal(t, c.want == nil, err == nil, "%s: %v", c.what, err)
		if err != nil {
			assert.Zero(t, size)
			continue
		}
		b := slices.Clone(c.b)
		b[len(b)-1] ^= 1
		_, _, err = format.DecodeEntry(b, testSalt, testOffset)
		assert.ErrorIs(t, err, format.ErrChecksum, c.what)
	}
	b := slices.Clone(hostileEntries[4].b)
	b[len(b)-1] ^= 1
	_, _, err := format.DecodeEntry(b, testSalt, testOffset)
	assert.ErrorIs(t, err, format.ErrChecksum, "the deadline is looked at after the checksum")
}

// TestDecodersDoNotAllocate: neither for what is right nor, whatever lengths it claims, for what is wrong,
// beyond the error itself.
func TestDecodersDoNotAllocate(t *testing.T) {
	for _, s := range []structure{recordStructure(newRandom(1)), entryStructure(newRandom(1))} {
		decode := func() { _, _, _ = format.DecodeRecord(s.bytes, testSalt, testOffset) }
		if s.name != "record" {
			decode = func() { _, _, _ = format.DecodeEntry(s.bytes, testSalt, testOffset) }
		}
		_, err := s.decode(s.bytes)
		require.NoError(t, err)
		assert.Zero(t, testing.AllocsPerRun(100, decode), s.name)
	}
	header := format.FrameHeader{Kind: format.FrameEmpty, FirstSeq: 1, Epoch: 1}
	b := make([]byte, format.FrameHeaderLen)
	header.Encode(b, 1, 2)
	assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = format.DecodeFrameHeader(b, 1, 2) }))
	bucket := make([]byte, format.BucketLen)
	new(format.Bucket).Encode(bucket, 1, 2)
	assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = format.DecodeBucket(bucket, 1, 2) }))
	block := make([]byte, format.WordBlockLen)
	new(format.WordBlock).Encode(block, 1, 2)
	assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = format.DecodeWordBlock(block, 1, 2) }))
	assert.Zero(t, testing.AllocsPerRun(100, func() { _ = format.KeyHash(sampleSeed, block) }))
	assert.Zero(t, testing.AllocsPerRun(100, func() { format.RecordKey(hostileRecords[0].b) }))

	const enough = 2 << 10 // for an error and its text, per decoding
	for _, c := range hostileRecords {
		assert.Less(t, allocated(func() { _, _, _ = format.DecodeRecord(c.b, testSalt, testOffset) }), uint64(enough), c.what)
	}
	for _, c := range hostileEntries {
		assert.Less(t, allocated(func() { _, _, _ = format.DecodeEntry(c.b, testSalt, testOffset) }), uint64(enough), c.what)
	}
}

// allocated is how many bytes one call of f allocates, at the least of some.
func allocated(f func()) uint64 {
	least := uint64(math.MaxUint64)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}
