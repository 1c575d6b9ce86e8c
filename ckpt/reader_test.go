package ckpt_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// randomSet draws n keys with values; some of both are of extreme lengths.
// get looks a key up.
func get(r *ckpt.Reader, key []byte) (record ckpt.Record, ok bool, err error) {
	ok, err = r.Get(r.Probe(key), key, &record)
	return record, ok, err
}

// fetch is get of a copy.
func fetch(r *ckpt.Reader, key, small, dst []byte) (record ckpt.Record, out []byte, ok bool, err error) {
	return r.Fetch(r.Probe(key), key, small, dst)
}

func randomSet(rng *rand.Rand, n int) map[string][]byte {
	m := make(map[string][]byte, n)
	for len(m) < n {
		keyLen, valueLen := 1+rng.IntN(20), rng.IntN(300)
		switch rng.IntN(100) {
		case 0:
			keyLen = format.MaxKeyLen - rng.IntN(2)
		case 1, 2, 3:
			keyLen = 1
		case 4:
			valueLen = rng.IntN(3 * format.OrderedStride)
		case 5, 6, 7, 8, 9:
			valueLen = 0
		}
		if rng.IntN(500) == 0 {
			valueLen = format.SegmentSize + rng.IntN(format.SegmentSize)
		}
		key := make([]byte, keyLen)
		for i := range key {
			key[i] = byte(rng.IntN(256)) >> (rng.IntN(2) * 6)
		}
		m[string(key)] = make([]byte, valueLen)
		for i := range m[string(key)] {
			m[string(key)][i] = byte(i + valueLen)
		}
	}
	return m
}

// requireExact fails unless the checkpoint holds these records and no others.
func requireExact(t *testing.T, r *ckpt.Reader, f mmapio.File, records []ckpt.Record) {
	t.Helper()
	require.NoError(t, verify(f))
	require.NoError(t, checkGets(r, records))
	require.NoError(t, checkWalks(r, records))
	require.NoError(t, checkDue(r, records))
	runtime.KeepAlive(r)
}

// checkGets looks all records up, and keys that are not there. It returns the first wrong
// answer or, if there is none, the first damage met.
func checkGets(r *ckpt.Reader, records []ckpt.Record) (damage error) {
	present := make(map[string]bool, len(records))
	for _, want := range records {
		present[string(want.Key)] = true
		got, ok, err := get(r, want.Key)
		switch {
		case errors.Is(err, format.ErrCorrupt):
			damage = cmp.Or(damage, err)
		case err != nil || !ok || !same(want, got):
			return fmt.Errorf("get %.20q: found %v, seq %d: %w", want.Key, ok, got.Seq, cmp.Or(err, errWrong))
		}
	}
	absent := [][]byte{nil, {0}, {255, 255, 255}, make([]byte, format.MaxKeyLen+1)}
	for _, want := range records {
		absent = append(absent, append(want.Key[:len(want.Key):len(want.Key)], 0), want.Key[:len(want.Key)-1])
	}
	for _, key := range absent {
		if present[string(key)] {
			continue
		}
		_, ok, err := get(r, key)
		switch {
		case errors.Is(err, format.ErrCorrupt):
			damage = cmp.Or(damage, err)
		case err != nil || ok:
			return fmt.Errorf("get absent %.20q: found %v: %w", key, ok, cmp.Or(err, errWrong))
		}
	}
	return damage
}

var errWrong = errors.New("wrong answer")

func TestReaderAgainstMap(t *testing.T) {
	for _, n := range []int{0, 1, 2, 5, 6, 7, 8, 9, 11, 12, 61, 64, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			for round := range uint64(3) {
				rng := rand.New(rand.NewPCG(round, uint64(n)))
				records := sorted(rng, randomSet(rng, n))
				r, f := build(t, records)
				requireExact(t, r, f, records)
				assert.Equal(t, uint64(n), r.Footer().Records)
				assert.Equal(t, header, r.Header())
				assert.Equal(t, epochs, r.Epochs())
			}
		})
	}
}

func TestReaderOfManyRecords(t *testing.T) {
	records := numbered(100_000)
	r, f := build(t, records)
	requireExact(t, r, f, records)
	footer := r.Footer()
	load := float64(footer.Records) / float64(footer.Buckets*format.BucketSlots)
	assert.InDelta(t, 0.8, load, 0.001)
	assert.Equal(t, int64(footer.FileLen), int64(len(r.Mapping().Bytes())))
	assert.Greater(t, footer.Segments, uint64(5))
}

func TestSegmentsOfLargeRecords(t *testing.T) {
	exact := format.SegmentSize - (1 + 3 + 1 + 1 + 4) // lengths, delta, key and checksum of a record of SegmentSize
	for _, size := range []int{exact - 1, exact, exact + 1, 3 * format.SegmentSize} {
		records := []ckpt.Record{
			{Seq: 9, Key: []byte("a"), Value: make([]byte, 10)},
			{Seq: 8, Key: []byte("b"), Value: make([]byte, size)},
			{Seq: 7, Key: []byte("c"), Value: make([]byte, 10)},
			{Seq: 6, Key: []byte("d")},
		}
		r, f := build(t, records)
		requireExact(t, r, f, records)
		assert.Equal(t, uint64(3+3), r.Footer().Segments, "size %d", size)
		assert.Equal(t, uint64(3), r.Footer().Entries)
	}
}

func TestReaderAllocatesNothing(t *testing.T) {
	records := expiring(2000)
	r, _ := build(t, records)
	c := r.Cursor()
	for range 300 { // makes the buffer for going back
		_, _, err := c.SeekLT(records[1500].Key)
		require.NoError(t, err)
	}
	absent := []byte("absent")
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		if _, ok, err := get(r, records[77].Key); !ok || err != nil {
			t.Fatal("lost")
		}
		if _, ok, err := get(r, absent); ok || err != nil {
			t.Fatal("found")
		}
		if due, err := r.Due(15_000); due == 0 || err != nil {
			t.Fatal("not due")
		}
		_, _, _ = c.SeekGE(records[1000].Key)
		_, _, _ = c.Next()
		_, _, _ = c.Prev()
		_, _, _ = c.Last()
		_, _, _ = c.Prev()
	}))
}

func TestReaderInManyGoroutines(t *testing.T) {
	records := numbered(3000)
	r, _ := build(t, records)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			assert.NoError(t, checkGets(r, records))
			assert.NoError(t, checkWalks(r, records))
		})
	}
	wait.Wait()
}

func TestReaderOutlivesItsFile(t *testing.T) {
	d, f := create(t)
	records := numbered(100)
	_, err := fill(f, records, 100)
	require.NoError(t, err)
	again, err := d.Open(name, mmapio.Read)
	require.NoError(t, err)
	r, err := ckpt.Open(again)
	require.NoError(t, err)
	require.NoError(t, again.Close())
	require.NoError(t, d.Remove(name))
	require.NoError(t, checkGets(r, records))
}

func TestFaultIsAnError(t *testing.T) {
	d, f := create(t)
	records := expiring(5000)
	_, err := fill(f, records, len(records))
	require.NoError(t, err)
	r, err := ckpt.Open(f)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(filepath.Join(d.Path(), name), format.CheckpointHeaderLen))

	c := r.Cursor()
	for what, read := range map[string]func() error{
		"get":  func() error { _, _, err := get(r, records[0].Key); return err },
		"next": func() error { _, _, err := c.Next(); return err },
		"last": func() error { _, _, err := c.Last(); return err },
		"seek": func() error { _, _, err := c.SeekGE(records[9].Key); return err },
		"due":  func() error { _, err := r.Due(1); return err },
	} {
		err := guarded(read)
		require.ErrorIs(t, err, mmapio.ErrFault, what)
		require.ErrorContains(t, err, name, what)
	}
	requireCorrupt(t, verify(f))
	runtime.KeepAlive(r)
}
