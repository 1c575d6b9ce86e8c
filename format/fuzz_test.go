package format_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

// Each target decodes what it is given as it is, and again with the checksum made right, so that the checks after it are
// reached. Nothing panics, and what decodes encodes to the same bytes: one meaning has one form.

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
