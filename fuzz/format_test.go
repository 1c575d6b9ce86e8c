package fuzz_test

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

func FuzzRecord(f *testing.F) {
	for _, r := range []format.Record{
		{Kind: format.KindSet, Seq: 1, Key: []byte("k")},
		{Kind: format.KindSet, Seq: math.MaxUint64, Key: []byte("key"), Value: []byte("value"), Expiry: math.MaxInt64},
		{Kind: format.KindDelete, Seq: 9, Key: make([]byte, 300)},
	} {
		b, _ := format.AppendRecord(nil, &r, salt, offset)
		f.Add(b)
		for _, at := range []int{0, 1, 2, 3, 4, 5, 6, 7, len(b) - 1} { // its lengths, kind and flags, and its end, which may be padding
			for _, value := range []byte{0, 0x7f, 0x80, 0xff} {
				c := append([]byte(nil), b...)
				c[at] = value
				f.Add(c)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(b []byte) {
			r, size, err := format.DecodeRecord(b, salt, offset)
			if err != nil {
				requireOneKind(t, err)
				return
			}
			again, hash := format.AppendRecord(nil, &r, salt, offset)
			require.Equal(t, b[:size], again)
			require.Equal(t, r.Hash, hash)
			require.Equal(t, size, format.RecordLen(len(r.Key), len(r.Value), r.Expiry != 0))
			key, kind := format.RecordKey(b)
			require.Equal(t, r.Key, key)
			require.Equal(t, r.Kind, kind)
			require.Equal(t, again, format.RecordBytes(b))
		}
		bounded(t, len(b), func() {
			format.RecordKey(b)
			require.LessOrEqual(t, len(format.RecordBytes(b)), len(b))
			check(b)
			if len(b) < 4 {
				return
			}
			if end := uint64(binary.LittleEndian.Uint32(b)); end >= format.SumLen && end <= uint64(len(b)) {
				b = append([]byte(nil), b...)
				resum(b[:end], salt, offset)
				check(b)
			}
		})
	})
}

func FuzzEntry(f *testing.F) {
	for _, e := range []format.Entry{
		{Key: []byte("k")},
		{Key: []byte("key"), Value: []byte("value"), SeqDelta: math.MinInt64, Expiry: math.MaxInt64},
		{Key: make([]byte, 200), Value: make([]byte, 300), SeqDelta: 77},
	} {
		f.Add(format.AppendEntry(nil, &e, salt, offset))
	}
	longest := binary.AppendUvarint(nil, math.MaxUint64)
	f.Add(join(longest, longest, longest))
	f.Add(join([]byte{1}, binary.AppendUvarint(nil, math.MaxUint64-1), []byte{0, 'k'}))
	f.Add([]byte{0x81, 0x00, 0, 0, 'k', 0, 0, 0, 0}) // a length that is longer than it need be
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(b []byte) {
			e, size, err := format.DecodeEntry(b, salt, offset)
			if err != nil {
				requireOneKind(t, err)
				return
			}
			require.Equal(t, b[:size], format.AppendEntry(nil, &e, salt, offset))
		}
		bounded(t, len(b), func() {
			check(b)
			if len(b) > 4 { // as an entry that ends where b ends
				b = append([]byte(nil), b...)
				body := len(b) - 4
				binary.LittleEndian.PutUint32(b[body:], uint32(format.Sum(b[:body], salt, offset)))
				check(b)
			}
		})
	})
}

// FuzzFrame decodes a header, the payload that it announces, and what that holds.
func FuzzFrame(f *testing.F) {
	record, _ := format.AppendRecord(nil, &format.Record{Kind: format.KindSet, Seq: 7, Key: []byte("key"), Value: []byte("value")}, salt, offset+format.FrameHeaderLen)
	trailer := (&format.Trailer{Generation: 4, Salt: 77}).Append(nil)
	for _, payload := range [][]byte{record, trailer, nil, join(record, record)} {
		for kind := range format.FrameTrailer + 2 {
			for _, length := range []int{len(payload), 0, 8, math.MaxUint32, 1 << 31, format.MaxPayloadLen} {
				h := format.FrameHeader{Kind: kind, Length: uint32(length), Count: uint32(len(payload) / 32), FirstSeq: 7, Epoch: 1, Index: 2, Time: 3}
				b := make([]byte, format.FrameHeaderLen)
				h.Encode(b, salt, offset)
				f.Add(join(b, payload))
				b[5] = 1 // reserved
				f.Add(join(b, payload))
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, len(b), func() {
			checkFrame(t, b)
			if len(b) >= format.FrameHeaderLen {
				b = append([]byte(nil), b...)
				resum(b[:format.FrameHeaderLen], salt, offset)
				checkFrame(t, b)
			}
		})
	})
}

// checkFrame decodes a frame as far as it can be decoded.
func checkFrame(t *testing.T, b []byte) {
	h, err := format.DecodeFrameHeader(b, salt, offset)
	if err != nil {
		requireOneKind(t, err)
		return
	}
	again := make([]byte, format.FrameHeaderLen)
	h.Encode(again, salt, offset)
	require.Equal(t, b[:format.FrameHeaderLen], again)
	require.LessOrEqual(t, h.Length, uint32(format.MaxPayloadLen))
	require.GreaterOrEqual(t, h.LastSeq()+1, h.FirstSeq)

	payload := b[format.FrameHeaderLen:]
	if uint64(h.Length) > uint64(len(payload)) {
		return
	}
	payload = payload[:h.Length]
	if err := h.CheckPayload(payload, salt, offset); err != nil {
		requireOneKind(t, err)
		h.PayloadSum = format.Sum(payload, salt, offset+format.FrameHeaderLen)
		require.NoError(t, h.CheckPayload(payload, salt, offset))
	}
	if h.Kind != format.FrameTrailer {
		return
	}
	trailer, err := format.DecodeTrailer(payload)
	require.NoError(t, err, "a header of a trailer has its length")
	require.Equal(t, payload, trailer.Append([]byte{}))
}

// fixed is a structure of a fixed size that ends with its checksum.
type fixed struct {
	size         int
	salt, offset uint64
	again        func(b []byte) ([]byte, error) // decodes and encodes
}

const (
	predecessorSalt = 99
	footerFileLen   = 1 << 20
)

var fixedStructures = []fixed{
	{format.VersionFileLen, 0, 0, func(b []byte) ([]byte, error) {
		v, err := format.DecodeVersionFile(b)
		out := make([]byte, format.VersionFileLen)
		v.Encode(out)
		return out, err
	}},
	{format.BlockSize, 0, 0, func(b []byte) ([]byte, error) {
		id, err := format.DecodeLogIdentity(b)
		out := make([]byte, format.BlockSize)
		id.Encode(out)
		return out, err
	}},
	{format.BlockSize, predecessorSalt, format.BlockSize, func(b []byte) ([]byte, error) {
		p, err := format.DecodePredecessor(b, predecessorSalt)
		out := make([]byte, format.BlockSize)
		p.Encode(out, predecessorSalt)
		return out, err
	}},
	{format.CheckpointHeaderLen, 0, 0, func(b []byte) ([]byte, error) {
		h, err := format.DecodeCheckpointHeader(b)
		out := make([]byte, format.CheckpointHeaderLen)
		h.Encode(out)
		return out, err
	}},
	{format.FooterLen, salt, footerFileLen - format.FooterLen, func(b []byte) ([]byte, error) {
		foot, err := format.DecodeFooter(b, salt, footerFileLen)
		foot.FileLen = footerFileLen // which Encode needs; where it decoded, it is that
		out := make([]byte, format.FooterLen)
		foot.Encode(out, salt)
		return out, err
	}},
	{format.BucketLen, salt, offset, func(b []byte) ([]byte, error) {
		k, err := format.DecodeBucket(b, salt, offset)
		out := make([]byte, format.BucketLen)
		k.Encode(out, salt, offset)
		return out, err
	}},
}

// FuzzVersionFile decodes the version file and its kin. Which one says the first argument: the length of a block does not.
func FuzzVersionFile(f *testing.F) {
	encode := func(size int, encode func(b []byte)) []byte {
		b := make([]byte, size)
		encode(b)
		return b
	}
	position := format.Position{Epoch: 2, Seq: 40, Index: 7, Time: 1000, Chain: 99}
	for which, b := range [][]byte{
		encode(format.VersionFileLen, (&format.VersionFile{UUID: format.UUID{1}, Generation: 3, Previous: 2, CheckpointLen: 9000, CheckpointSum: 5, Epoch: 1}).Encode),
		encode(format.BlockSize, (&format.LogIdentity{Align: 512, Generation: 3, Salt: 7, Size: 1 << 20}).Encode),
		encode(format.BlockSize, func(b []byte) {
			(&format.Predecessor{Generation: 2, Salt: 8, End: 1 << 16, Commit: 40, Position: position}).Encode(b, predecessorSalt)
		}),
		encode(format.CheckpointHeaderLen, (&format.CheckpointHeader{Generation: 3, Salt: 7, Position: position}).Encode),
		encode(format.FooterLen, func(b []byte) {
			(&format.Footer{Records: 1, DataLen: 2, Buckets: 1, BucketsAt: 1 << 13, OrderedAt: 1 << 14, DeadlinesAt: 1 << 15,
				Segments: 1, Directory: footerFileLen - format.FooterLen - format.SegmentEntryLen, FileLen: footerFileLen}).Encode(b, salt)
		}),
		encode(format.BucketLen, func(b []byte) { (&format.Bucket{format.NewSlot(1, 5000)}).Encode(b, salt, offset) }),
	} {
		f.Add(uint8(which), b)
		f.Add(uint8(which), b[:len(b)-1])
		for _, at := range []int{8, 12, len(b) - format.SumLen - 1} { // the version, and reserved bytes
			changed := append([]byte(nil), b...)
			changed[at]++
			f.Add(uint8(which), changed)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		s := fixedStructures[int(which)%len(fixedStructures)]
		check := func(b []byte) {
			again, err := s.again(b)
			if err != nil {
				requireOneKind(t, err)
				return
			}
			require.Equal(t, b[:s.size], again)
		}
		bounded(t, len(b)+s.size, func() {
			check(b)
			if len(b) >= s.size {
				b = append([]byte(nil), b...)
				resum(b[:s.size], s.salt, s.offset)
				check(b)
			}
		})
	})
}
