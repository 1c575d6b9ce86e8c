package format_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

// Each target decodes what it is given as it is, and again with the checksum made right, so that the checks after it are
// reached. Nothing panics, and what decodes encodes to the same bytes: one meaning has one form.

func FuzzDecodeRecord(f *testing.F) {
	for _, c := range hostileRecords {
		f.Add(c.b)
	}
	for seed := range uint64(4) {
		f.Add(recordStructure(newRandom(seed)).bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(b []byte) {
			r, size, err := format.DecodeRecord(b, testSalt, testOffset)
			if err != nil {
				require.Equal(t, 1, count(err), "%v is one kind of error", err)
				return
			}
			again, hash := format.AppendRecord(nil, &r, testSalt, testOffset)
			require.Equal(t, b[:size], again)
			require.Equal(t, r.Hash, hash)
		}
		format.RecordKey(b)
		check(b)
		if len(b) < 4 {
			return
		}
		if end := uint64(binary.LittleEndian.Uint32(b)); end >= 8 && end <= uint64(len(b)) {
			b = append([]byte(nil), b...)
			binary.LittleEndian.PutUint64(b[end-8:], local(b[:end-8], testSalt, testOffset))
			check(b)
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	for _, c := range hostileEntries {
		f.Add(c.b)
	}
	for seed := range uint64(4) {
		f.Add(entryStructure(newRandom(seed)).bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(b []byte) {
			e, size, err := format.DecodeEntry(b, testSalt, testOffset)
			if err != nil {
				require.Equal(t, 1, count(err), "%v is one kind of error", err)
				return
			}
			require.Equal(t, b[:size], format.AppendEntry(nil, &e, testSalt, testOffset))
		}
		check(b)
		if len(b) > 4 { // as an entry that ends where b ends
			b = append([]byte(nil), b...)
			body := len(b) - 4
			binary.LittleEndian.PutUint32(b[body:], uint32(local(b[:body], testSalt, testOffset)))
			check(b)
		}
	})
}

func FuzzDecodeFrameHeader(f *testing.F) {
	for seed := range uint64(8) {
		h, b := newRandom(seed).frameHeader(), make([]byte, format.FrameHeaderLen)
		h.Encode(b, testSalt, testOffset)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzSealed(t, b, format.FrameHeaderLen, testSalt, testOffset, func(b []byte) ([]byte, error) {
			h, err := format.DecodeFrameHeader(b, testSalt, testOffset)
			if err != nil {
				return nil, err
			}
			require.LessOrEqual(t, h.Length, uint32(format.MaxPayloadLen))
			require.GreaterOrEqual(t, h.LastSeq()+1, h.FirstSeq)
			return page(format.FrameHeaderLen, func(h *format.FrameHeader, b []byte) { h.Encode(b, testSalt, testOffset) })(h), nil
		})
	})
}

func FuzzDecodeVersionFile(f *testing.F) {
	for seed := range uint64(8) {
		v, b := newRandom(seed).versionFile(), make([]byte, format.VersionFileLen)
		v.Encode(b)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzSealed(t, b, format.VersionFileLen, 0, 0, func(b []byte) ([]byte, error) {
			v, err := format.DecodeVersionFile(b)
			if err != nil {
				return nil, err
			}
			return page(format.VersionFileLen, (*format.VersionFile).Encode)(v), nil
		})
	})
}

func FuzzDecodeFooter(f *testing.F) {
	for seed := range uint64(8) {
		foot, b := newRandom(seed).footer(), make([]byte, format.FooterLen)
		foot.Encode(b, testSalt)
		f.Add(b, foot.FileLen)
	}
	f.Fuzz(func(t *testing.T, b []byte, fileLen uint64) {
		fuzzSealed(t, b, format.FooterLen, testSalt, fileLen-format.FooterLen, func(b []byte) ([]byte, error) {
			foot, err := format.DecodeFooter(b, testSalt, fileLen)
			if err != nil {
				return nil, err
			}
			for at, n := range map[uint64]uint64{
				foot.BucketsAt:   foot.Buckets * format.BucketLen,
				foot.OrderedAt:   format.WordBlocks(foot.Entries) * format.WordBlockLen,
				foot.DeadlinesAt: format.WordBlocks(foot.Deadlines) * format.WordBlockLen,
				foot.Directory:   foot.Segments * format.SegmentEntryLen,
			} {
				require.GreaterOrEqual(t, at, uint64(format.CheckpointHeaderLen))
				require.LessOrEqual(t, n, fileLen)
				require.LessOrEqual(t, at+n, fileLen-format.FooterLen)
			}
			return page(format.FooterLen, func(f *format.Footer, b []byte) { f.Encode(b, testSalt) })(foot), nil
		})
	})
}

// fuzzSealed checks a structure of n bytes that ends with its checksum. again decodes and encodes.
func fuzzSealed(t *testing.T, b []byte, n int, salt, offset uint64, again func([]byte) ([]byte, error)) {
	check := func(b []byte) {
		got, err := again(b)
		if err != nil {
			require.Equal(t, 1, count(err), "%v is one kind of error", err)
			return
		}
		require.Equal(t, b[:n], got)
	}
	check(b)
	if len(b) >= n {
		b = append([]byte(nil), b...)
		binary.LittleEndian.PutUint64(b[n-8:], local(b[:n-8], salt, offset))
		check(b)
	}
}
