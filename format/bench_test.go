package format_test

import (
	"testing"

	"github.com/tongpengdl/small-db/format"
)

// The read path: what one lookup decodes, with 16-byte keys and 128-byte values.

var (
	benchKey   = []byte("0123456789abcdef")
	benchValue = make([]byte, 128)
)

func BenchmarkDecodeRecord(b *testing.B) {
	buf, _ := format.AppendRecord(nil, &format.Record{Kind: format.KindSet, Seq: 7, Key: benchKey, Value: benchValue}, 1, 8280)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := format.DecodeRecord(buf, 1, 8280); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecordKey(b *testing.B) {
	buf, _ := format.AppendRecord(nil, &format.Record{Kind: format.KindSet, Seq: 7, Key: benchKey, Value: benchValue}, 1, 8280)
	b.ReportAllocs()
	for b.Loop() {
		if key, _ := format.RecordKey(buf); len(key) != len(benchKey) {
			b.Fatal("wrong key")
		}
	}
}

func BenchmarkDecodeEntry(b *testing.B) {
	buf := format.AppendEntry(nil, &format.Entry{SeqDelta: 1000, Key: benchKey, Value: benchValue}, 1, 4096)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := format.DecodeEntry(buf, 1, 4096); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeBucket(b *testing.B) {
	buf := make([]byte, format.BucketLen)
	(&format.Bucket{1, 2, 3, 4, 5, 6, 7}).Encode(buf, 1, 4096)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := format.DecodeBucket(buf, 1, 4096); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKeyHash(b *testing.B) {
	seed := format.KeySeed{K0: 1, K1: 2}
	var sum uint64
	for b.Loop() {
		sum += format.KeyHash(seed, benchKey)
	}
	if sum == 0 {
		b.Fatal("all hashes were zero")
	}
}

func BenchmarkAppendRecord(b *testing.B) {
	r := format.Record{Kind: format.KindSet, Seq: 7, Key: benchKey, Value: benchValue}
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = format.AppendRecord(buf[:0], &r, 1, 8280)
	}
}
