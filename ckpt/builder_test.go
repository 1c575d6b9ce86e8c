package ckpt_test

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// script is a File that notes what a Builder does with it, and fails one call if told to.
type script struct {
	mmapio.File
	calls  []call
	failAt int // number of the call that fails; -1 for none
}

type call struct {
	op     string
	off, n int64
}

var errDisk = errors.New("no space left on device")

func (s *script) note(op string, off, n int64) error {
	s.calls = append(s.calls, call{op, off, n})
	if len(s.calls)-1 == s.failAt {
		return errDisk
	}
	return nil
}

func (s *script) WriteAt(p []byte, off int64) (int, error) {
	if err := s.note("write", off, int64(len(p))); err != nil {
		return 0, err
	}
	return s.File.WriteAt(p, off)
}

func (s *script) Flush(off, n int64) error { return s.note("flush", off, n) }
func (s *script) Sync() error              { return s.note("sync", 0, 0) }

// ReadAt is not for a Builder: it could not do so with a stream.
func (s *script) ReadAt([]byte, int64) (int, error) { return 0, errDisk }

func TestBuilderWritesInPieces(t *testing.T) {
	_, f := create(t)
	s := &script{File: f, failAt: -1}
	summary, err := fill(s, numbered(30_000), 30_000)
	require.NoError(t, err)
	end := int64(0)
	last := len(s.calls) - 1
	for i := 0; i < last; i += 2 {
		write, flush := s.calls[i], s.calls[i+1]
		require.Equal(t, call{"write", end, write.n}, write)
		require.Equal(t, call{"flush", end, write.n}, flush)
		end += write.n
		require.LessOrEqual(t, write.n, int64(mmapio.PieceSize))
		if i+2 < last {
			require.Zero(t, end%mmapio.PieceSize)
		}
	}
	assert.Equal(t, call{op: "sync"}, s.calls[last])
	assert.Equal(t, int64(summary.Footer.FileLen), end)
	assert.Greater(t, last, 6)
}

func TestBuilderReturnsFailures(t *testing.T) {
	records := numbered(20_000)
	_, f := create(t)
	s := &script{File: f, failAt: -1}
	_, err := fill(s, records, len(records))
	require.NoError(t, err)
	for failAt := range s.calls {
		_, f := create(t)
		s := &script{File: f, failAt: failAt}
		b, err := ckpt.NewBuilder(s, header, 0)
		require.NoError(t, err)
		for _, r := range records {
			if err = b.Add(r); err != nil {
				require.Equal(t, err, b.Add(r), "it stays failed")
				break
			}
		}
		_, finish := b.Finish(epochs)
		require.ErrorIs(t, finish, errDisk, "call %d", failAt)
		require.ErrorContains(t, finish, name)
		if err != nil {
			require.Equal(t, err, finish)
		}
		require.Len(t, s.calls, failAt+1, "nothing is done after a failure")
	}
}

func TestBuilderRefuses(t *testing.T) {
	good := ckpt.Record{Seq: 5, Key: []byte("m"), Value: []byte("v")}
	for _, row := range []struct {
		what string
		r    ckpt.Record
		want error
	}{
		{"the same key", good, ckpt.ErrOrder},
		{"a lesser key", ckpt.Record{Seq: 5, Key: []byte("lzzz")}, ckpt.ErrOrder},
		{"a prefix", ckpt.Record{Seq: 5, Key: []byte("")}, format.ErrLength},
		{"a long key", ckpt.Record{Seq: 5, Key: append([]byte("z"), make([]byte, format.MaxKeyLen)...)}, format.ErrLength},
		{"a long value", ckpt.Record{Seq: 5, Key: []byte("z"), Value: make([]byte, format.MaxValueLen+1)}, format.ErrLength},
		{"no sequence", ckpt.Record{Key: []byte("z")}, format.ErrField},
		{"a sequence past the position", ckpt.Record{Seq: header.Position.Seq + 1, Key: []byte("z")}, format.ErrField},
		{"a negative deadline", ckpt.Record{Seq: 5, Expiry: -1, Key: []byte("z")}, format.ErrField},
	} {
		t.Run(row.what, func(t *testing.T) {
			_, f := create(t)
			b, err := ckpt.NewBuilder(f, header, 2)
			require.NoError(t, err)
			require.NoError(t, b.Add(good))
			err = b.Add(row.r)
			require.ErrorIs(t, err, row.want)
			require.ErrorContains(t, err, name)
			require.ErrorIs(t, b.Add(ckpt.Record{Seq: 5, Key: []byte("zz")}), row.want)
			_, err = b.Finish(nil)
			require.ErrorIs(t, err, row.want)
		})
	}
}

func TestBuilderMisuse(t *testing.T) {
	_, f := create(t)
	_, err := fill(f, numbered(1), 1)
	require.NoError(t, err)
	_, err = ckpt.NewBuilder(f, header, 1)
	require.ErrorContains(t, err, "create a new one", "the file is not empty")

	_, f = create(t)
	_, err = ckpt.NewBuilder(f, format.CheckpointHeader{Generation: 1}, 1)
	require.ErrorIs(t, err, format.ErrField, "no epoch")

	_, f = create(t)
	b, err := ckpt.NewBuilder(f, header, 1)
	require.NoError(t, err)
	require.NoError(t, b.Add(numbered(1)[0]))
	b.SetHashSeed(seed)
	_, err = b.Finish(epochs)
	require.ErrorContains(t, err, "after the first record")

	_, f = create(t)
	b, err = ckpt.NewBuilder(f, header, 1)
	require.NoError(t, err)
	_, err = b.Finish([]format.EpochStart{{Epoch: 2, FirstSeq: 9}, {Epoch: 1, FirstSeq: 10}})
	require.ErrorIs(t, err, format.ErrField, "epochs fall")

	_, f = create(t)
	b, err = ckpt.NewBuilder(f, header, 1)
	require.NoError(t, err)
	_, err = b.Finish(epochs)
	require.NoError(t, err)
	require.Error(t, b.Add(numbered(1)[0]))
	_, err = b.Finish(epochs)
	require.ErrorContains(t, err, "finished")

	_, f = create(t)
	_, err = ckpt.NewBuilder(closed{f}, header, 1)
	require.ErrorIs(t, err, fs.ErrClosed)
}

// closed is a File whose size cannot be told.
type closed struct{ mmapio.File }

func (closed) Size() (int64, error) { return 0, fs.ErrClosed }

func TestSummary(t *testing.T) {
	_, f := create(t)
	summary, err := fill(f, numbered(300), 300)
	require.NoError(t, err)
	r, err := ckpt.Open(f)
	require.NoError(t, err)
	assert.Equal(t, summary.Footer, r.Footer())
	assert.Equal(t, summary.FooterSum, r.FooterSum())
	assert.Equal(t, seed, summary.Footer.HashSeed)
	assert.Equal(t, uint64(300*12+10*7+90*8+200*9), summary.Footer.DataLen)
	b := contents(t, f)
	assert.Equal(t, summary.Footer.FileLen, uint64(len(b)))
	footer, err := format.DecodeFooter(b[len(b)-format.FooterLen:], header.Salt, uint64(len(b)))
	require.NoError(t, err)
	assert.Equal(t, summary.Footer, footer)
	assert.Equal(t, summary.FooterSum, format.Sum(b[len(b)-format.FooterLen:len(b)-8], header.Salt, uint64(len(b)-format.FooterLen)))
}

// The bytes depend on header, seed, records and epochs, not on the number announced.
func TestExpectIsOnlyAHint(t *testing.T) {
	records := numbered(5000)
	var want []byte
	for _, expect := range []int{5000, 0, 1, 4000, 80_000} {
		_, f := create(t)
		_, err := fill(f, records, expect)
		require.NoError(t, err)
		if want == nil {
			want = contents(t, f)
		}
		require.Equal(t, want, contents(t, f), "expect %d", expect)
	}
}

func TestSeedsDiffer(t *testing.T) {
	seeds := map[format.KeySeed]bool{}
	for range 5 {
		_, f := create(t)
		b, err := ckpt.NewBuilder(f, header, 0)
		require.NoError(t, err)
		summary, err := b.Finish(nil)
		require.NoError(t, err)
		seeds[summary.Footer.HashSeed] = true
	}
	assert.Len(t, seeds, 5)
}

// homed returns n records whose keys belong into the same one of the buckets under seed.
func homed(n int, buckets, bucket uint64) []ckpt.Record {
	var records []ckpt.Record
	for i := 0; len(records) < n; i++ {
		key := fmt.Appendf(nil, "%012d", i)
		if format.BucketOf(format.KeyHash(seed, key), buckets) == bucket {
			records = append(records, ckpt.Record{Seq: uint64(i) + 1, Key: key, Value: key[6:]})
		}
	}
	return records
}

// Keys chosen for one seed leave no place for all of them, so there are more buckets.
func TestBuilderWidens(t *testing.T) {
	const buckets = 86 // of 480 keys
	for bucket := range uint64(buckets) {
		if bucket%17 > 0 {
			continue
		}
		records := homed(480, buckets, bucket)
		r, f := build(t, records)
		require.Contains(t, []uint64{2 * buckets, 4 * buckets, 8 * buckets}, r.Footer().Buckets)
		require.Equal(t, seed, r.Footer().HashSeed)
		requireExact(t, r, f, records)
	}
}

// No number of buckets helps where more keys than a lookup reads share a home in the largest index; another seed does.
func TestBuilderGivesUpASeed(t *testing.T) {
	const keys, buckets = 452, 81 // so few that they would fit into 16 times as many
	records := homed(keys, 8*buckets, 5)
	_, f := create(t)
	_, err := fill(f, records, len(records))
	require.ErrorContains(t, err, "648 buckets has no place for 452 keys under its seed")
	require.ErrorContains(t, err, name)

	_, f = create(t)
	b, err := ckpt.NewBuilder(f, header, keys)
	require.NoError(t, err)
	for _, r := range records {
		require.NoError(t, b.Add(r))
	}
	_, err = b.Finish(epochs)
	require.NoError(t, err)
	r, err := ckpt.Open(f)
	require.NoError(t, err)
	require.Equal(t, uint64(buckets), r.Footer().Buckets)
	requireExact(t, r, f, records)
}

// The longest chain of full buckets that a lookup follows holds 64 of them; no more buckets are needed.
func TestLongestProbe(t *testing.T) {
	const longest = format.MaxProbe * format.BucketSlots
	buckets := uint64((longest*5 + 27) / 28)
	for bucket := range buckets {
		if bucket%13 > 0 {
			continue
		}
		records := homed(longest, buckets, bucket)
		r, f := build(t, records)
		require.Equal(t, buckets, r.Footer().Buckets)
		require.Equal(t, seed, r.Footer().HashSeed)
		requireExact(t, r, f, records)
	}
}

func TestBuilderMemory(t *testing.T) {
	const n = 400_000
	_, f := create(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b, err := ckpt.NewBuilder(&script{File: f, failAt: -1}, header, n)
	require.NoError(t, err)
	key := make([]byte, 8)
	for i := range n {
		key[4], key[5], key[6], key[7] = byte(i>>24), byte(i>>16), byte(i>>8), byte(i)
		require.NoError(t, b.Add(ckpt.Record{Seq: 1, Key: key}))
	}
	runtime.ReadMemStats(&after)
	perKey := float64(after.TotalAlloc-before.TotalAlloc-format.SegmentSize-mmapio.PieceSize) / n
	assert.Less(t, perKey, 20.0, "bytes allocated for each key")
	assert.Less(t, after.HeapObjects-before.HeapObjects, uint64(2000), "no objects for keys")
	_, err = b.Finish(epochs)
	require.NoError(t, err)
}

// TestBuilderIsInterrupted: whoever wants a builder to give up is asked all the way, and is told so.
func TestBuilderIsInterrupted(t *testing.T) {
	const n = 30_000
	build := func(stopAt int) (asked int, err error) {
		_, f := create(t)
		b, err := ckpt.NewBuilder(f, header, n)
		require.NoError(t, err)
		b.Interrupt(func() error {
			if asked++; asked == stopAt {
				return errDisk
			}
			return nil
		})
		for _, rec := range numbered(n) {
			if err := b.Add(rec); err != nil {
				return asked, err
			}
		}
		_, err = b.Finish(epochs)
		return asked, err
	}
	all, err := build(-1)
	require.NoError(t, err)
	require.Greater(t, all, 256, "the hashes are sorted in so many runs")
	for _, at := range []int{1, 2, 100, all - 1, all} {
		asked, err := build(at)
		require.ErrorIs(t, err, errDisk, at)
		require.Equal(t, at, asked, "it is not asked again")
	}
}
