package ckpt_test

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/ckpt"
)

// benchKeys is the number of keys of the benchmarks: 16 bytes each, with values of 128.
const benchKeys = 1_000_000

func benchRecord(key, value []byte, i uint64) ckpt.Record {
	binary.BigEndian.PutUint64(key, i)
	binary.BigEndian.PutUint64(key[8:], i*0x9e3779b97f4a7c15)
	return ckpt.Record{Seq: i + 1, Key: key, Value: value}
}

func benchBuild(b *testing.B) *ckpt.Reader {
	_, f := create(b)
	builder, err := ckpt.NewBuilder(f, header, benchKeys)
	require.NoError(b, err)
	key, value := make([]byte, 16), make([]byte, 128)
	for i := range uint64(benchKeys) {
		if err := builder.Add(benchRecord(key, value, i)); err != nil {
			b.Fatal(err)
		}
	}
	_, err = builder.Finish(epochs)
	require.NoError(b, err)
	r, err := ckpt.Open(f)
	require.NoError(b, err)
	return r
}

// lookups gets random keys in parallel; first is the number of the first key.
func lookups(b *testing.B, first uint64, present bool) {
	r := benchBuild(b)
	for i := range uint64(benchKeys) { // all pages are mapped before the clock starts
		key := benchRecord(make([]byte, 16), nil, i).Key
		_, _, err := get(r, key)
		require.NoError(b, err)
	}
	var goroutines atomic.Uint64
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		rng := rand.New(rand.NewPCG(1, goroutines.Add(1)))
		key := make([]byte, 16)
		for pb.Next() {
			want := benchRecord(key, nil, first+rng.Uint64N(benchKeys))
			got, ok, err := get(r, want.Key)
			if err != nil || ok != present || ok && got.Seq != want.Seq {
				b.Errorf("key %x: %v, %v", key, ok, err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "M/s")
	runtime.KeepAlive(r)
}

func BenchmarkGet(b *testing.B)  { lookups(b, 0, true) }
func BenchmarkMiss(b *testing.B) { lookups(b, benchKeys, false) }

func BenchmarkNext(b *testing.B) {
	r := benchBuild(b)
	c := r.Cursor()
	for b.Loop() {
		if _, ok, err := c.Next(); err != nil {
			b.Fatal(err)
		} else if !ok {
			_, _, _ = c.First()
		}
	}
}

func BenchmarkPrev(b *testing.B) {
	r := benchBuild(b)
	c := r.Cursor()
	for b.Loop() {
		if _, ok, err := c.Prev(); err != nil {
			b.Fatal(err)
		} else if !ok {
			_, _, _ = c.Last()
		}
	}
}

func BenchmarkSeek(b *testing.B) {
	r := benchBuild(b)
	c := r.Cursor()
	rng := rand.New(rand.NewPCG(1, 2))
	key := make([]byte, 16)
	for b.Loop() {
		if _, ok, err := c.SeekGE(benchRecord(key, nil, rng.Uint64N(benchKeys)).Key); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// BenchmarkDue counts what is due of benchKeys deadlines, at any time between the first and the last.
func BenchmarkDue(b *testing.B) {
	_, f := create(b)
	builder, err := ckpt.NewBuilder(f, header, benchKeys)
	require.NoError(b, err)
	key, value := make([]byte, 16), make([]byte, 8)
	for i := range uint64(benchKeys) {
		record := benchRecord(key, value, i)
		record.Expiry = int64(i*7919%benchKeys) + 1
		require.NoError(b, builder.Add(record))
	}
	_, err = builder.Finish(epochs)
	require.NoError(b, err)
	r, err := ckpt.Open(f)
	require.NoError(b, err)
	rng := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		at := rng.Int64N(benchKeys)
		if n, err := r.Due(at); n != uint64(at) || err != nil {
			b.Fatal(n, err)
		}
	}
	runtime.KeepAlive(r)
}

// BenchmarkBuild adds one record per operation, to files that are written to the disk.
func BenchmarkBuild(b *testing.B) {
	_, f := create(b)
	builder, err := ckpt.NewBuilder(f, header, uint64(b.N))
	require.NoError(b, err)
	key, value := make([]byte, 16), make([]byte, 128)
	b.SetBytes(16 + 128)
	b.ReportAllocs()
	for i := range uint64(b.N) {
		if err := builder.Add(benchRecord(key, value, i)); err != nil {
			b.Fatal(err)
		}
	}
	_, err = builder.Finish(epochs)
	require.NoError(b, err)
}

// BenchmarkVerify verifies a whole checkpoint of benchKeys records per operation, from the page cache.
func BenchmarkVerify(b *testing.B) {
	r := benchBuild(b)
	data := r.Mapping().Bytes()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := ckpt.Verify(mapped(data), int64(len(data)), name); err != nil {
			b.Fatal(err)
		}
	}
	runtime.KeepAlive(r)
}

// mapped reads from memory.
type mapped []byte

func (m mapped) ReadAt(p []byte, off int64) (int, error) { return copy(p, m[off:]), nil }
