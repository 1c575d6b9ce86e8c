package logrecord_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/logrecord"
)

// operation is what a test writes and expects back.
type operation struct {
	kind       format.Kind
	key, value string
	expiry     int64
}

// file is a log in memory with what was written to it.
type file struct {
	id     format.LogIdentity
	start  format.Position
	data   []byte
	groups [][]operation
	ends   []int64 // offset just past each group
	framer *logrecord.Framer
}

func newFile(size int64, align uint32) *file {
	f := &file{
		id:    format.LogIdentity{Align: align, UUID: format.UUID{1}, Generation: 3, Salt: 0xfeedface, Size: size},
		start: format.Position{Epoch: 2, Seq: 41, Index: 7, Time: 1000, Chain: 99},
		data:  make([]byte, size),
	}
	f.framer = logrecord.NewFramer(f.id.Salt, int64(align), format.LogHeaderSize, f.start)
	return f
}

// write appends a frame with these operations.
func (f *file) write(now int64, ops ...operation) {
	f.framer.Begin(2, f.framer.Position().Seq, now)
	for _, op := range ops {
		f.framer.Add(&format.Record{Kind: op.kind, Key: []byte(op.key), Value: []byte(op.value), Expiry: op.expiry})
	}
	copy(f.data[f.framer.Offset():], f.framer.End())
	f.framer.Advance()
	f.groups = append(f.groups, ops)
	f.ends = append(f.ends, f.framer.Offset())
}

func (f *file) seal(salt uint64) {
	copy(f.data[f.framer.Offset():], f.framer.Trailer(format.Trailer{Generation: 4, Salt: salt}, 0))
}

// read returns the groups up to the first error, and the error.
func (f *file) read(end int64) (groups [][]operation, trailer *format.Trailer, r *logrecord.Reader, err error) {
	r = logrecord.NewReader(bytes.NewReader(f.data), f.id, f.start, end)
	for {
		frame, err := r.Next()
		if err != nil {
			return groups, trailer, r, err
		}
		if frame.Header.Kind == format.FrameTrailer {
			trailer = &frame.Trailer
			continue
		}
		var ops []operation
		for _, rec := range frame.Records {
			ops = append(ops, operation{rec.Kind, string(rec.Key), string(rec.Value), rec.Expiry})
			again, _, err := format.DecodeRecord(f.data[rec.Offset:], f.id.Salt, uint64(rec.Offset))
			if err != nil || again.Seq != rec.Seq {
				return groups, trailer, r, fmt.Errorf("record %d is not at %d: %w", rec.Seq, rec.Offset, err)
			}
		}
		groups = append(groups, ops)
	}
}

// fill writes n groups of random operations.
func (f *file) fill(rng *rand.Rand, n int) {
	for i := range n {
		var ops []operation
		for range 1 + rng.IntN(4) {
			key := fmt.Sprintf("key-%d", rng.IntN(20))
			if rng.IntN(4) == 0 {
				ops = append(ops, operation{kind: format.KindDelete, key: key})
				continue
			}
			value := make([]byte, rng.IntN(3000))
			for j := range value {
				value[j] = byte(rng.Uint32())
			}
			ops = append(ops, operation{format.KindSet, key, string(value), int64(rng.IntN(2)) * 12345})
		}
		f.write(int64(1000+i), ops...)
	}
}

func TestReadsBackWhatWasFramed(t *testing.T) {
	for _, align := range []uint32{512, 1024, 4096} {
		for seed := range uint64(20) {
			f := newFile(1<<20, align)
			f.fill(rand.New(rand.NewPCG(seed, 1)), 30)
			end := f.framer.Offset()

			groups, _, r, err := f.read(end)
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, f.groups, groups)
			require.Equal(t, f.framer.Position(), r.Position())

			f.seal(77)
			groups, trailer, r, err := f.read(0)
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, f.groups, groups)
			require.Equal(t, &format.Trailer{Generation: 4, Salt: 77}, trailer)
			require.Equal(t, end, r.Offset())
			_, err = r.Next()
			require.ErrorIs(t, err, io.EOF, "a sealed log stays at its end")
		}
	}
}

func TestFramesArePaddedToTheAlignment(t *testing.T) {
	f := newFile(1<<16, 512)
	f.write(1, operation{format.KindSet, "k", "v", 0})
	require.EqualValues(t, format.LogHeaderSize+512, f.framer.Offset())
	f.write(1, operation{format.KindSet, "k", string(make([]byte, 512)), 0})
	require.EqualValues(t, format.LogHeaderSize+3*512, f.framer.Offset())
}

func TestEngineTimeNeverDecreases(t *testing.T) {
	f := newFile(1<<16, 512)
	for _, now := range []int64{2000, 500, 3000, 1} {
		f.write(now, operation{format.KindSet, "k", "v", 0})
	}
	r := logrecord.NewReader(bytes.NewReader(f.data), f.id, f.start, f.framer.Offset())
	for _, want := range []int64{2000, 2000, 3000, 3000} {
		frame, err := r.Next()
		require.NoError(t, err)
		assert.Equal(t, want, frame.Header.Time)
	}
}

// TestAlteredFrames breaks one frame in every way and asks how the log ends.
func TestAlteredFrames(t *testing.T) {
	const frames = 6
	stale := newFile(1<<17, 4096) // what the file held in its former life
	stale.id.Salt = 0xdead
	stale.framer = logrecord.NewFramer(0xdead, 4096, format.LogHeaderSize, stale.start)
	stale.fill(rand.New(rand.NewPCG(5, 5)), 12)

	damage := []struct {
		name    string
		corrupt func(f *file, from, to int64)
	}{
		{"zeros", func(f *file, from, to int64) { clear(f.data[from:to]) }},
		{"ones", func(f *file, from, to int64) { copy(f.data[from:to], bytes.Repeat([]byte{0xff}, int(to-from))) }},
		{"first sector lost", func(f *file, from, _ int64) { clear(f.data[from : from+512]) }},
		{"bit of the length", func(f *file, from, _ int64) { f.data[from+9] ^= 0x80 }},
		{"bit of a record", func(f *file, from, _ int64) { f.data[from+format.FrameHeaderLen+20] ^= 1 }},
		{"stale bytes", func(f *file, from, to int64) { copy(f.data[from:to], stale.data[from:to]) }},
		{"an earlier frame", func(f *file, from, to int64) { copy(f.data[from:to], f.data[format.LogHeaderSize:]) }},
	}
	for _, d := range damage {
		for bad := range frames {
			t.Run(fmt.Sprintf("%s/frame=%d", d.name, bad), func(t *testing.T) {
				f := newFile(1<<17, 4096)
				f.fill(rand.New(rand.NewPCG(9, 9)), frames)
				from, to := int64(format.LogHeaderSize), f.ends[bad]
				if bad > 0 {
					from = f.ends[bad-1]
				}
				if d.name == "an earlier frame" && bad == 0 {
					from, to = f.ends[0], f.ends[1]
					bad = 1
				}
				d.corrupt(f, from, to)

				groups, _, r, err := f.read(0)
				assert.Equal(t, f.groups[:bad], append([][]operation{}, groups...))
				assert.Equal(t, from, r.Offset())
				if bad == frames-1 {
					var torn *logrecord.TornError
					require.ErrorAs(t, err, &torn, "nothing proves that the last frame was durable")
					assert.Equal(t, from, torn.Offset)
				} else {
					requireDamage(t, err, from, r.Position().Seq+1)
				}

				_, _, _, err = f.read(f.framer.Offset())
				requireDamage(t, err, from, r.Position().Seq+1) // the successor proves it

				f.seal(1)
				_, _, _, err = f.read(0)
				requireDamage(t, err, from, r.Position().Seq+1) // so does the trailer
			})
		}
	}
}

func requireDamage(t *testing.T, err error, offset int64, firstSeq uint64) {
	t.Helper()
	var damage *logrecord.DamageError
	require.ErrorAs(t, err, &damage)
	assert.Equal(t, offset, damage.Offset)
	assert.Equal(t, firstSeq, damage.FirstSeq)
	assert.NotEmpty(t, damage.Proof)
}

func TestTornAtEveryLength(t *testing.T) {
	f := newFile(1<<16, 512)
	f.write(1, operation{format.KindSet, "a", "1", 0})
	f.write(1, operation{format.KindSet, "b", string(bytes.Repeat([]byte("x"), 1200)), 0})
	whole := bytes.Clone(f.data)
	from, used := f.ends[0], int64(format.FrameHeaderLen+format.RecordLen(1, 1200, false))
	for n := range used {
		copy(f.data, whole)
		clear(f.data[from+n : f.ends[1]])
		groups, _, _, err := f.read(0)
		if bytes.Equal(f.data, whole) {
			continue // the bytes that were cut off are zeros anyway
		}
		var torn *logrecord.TornError
		require.ErrorAs(t, err, &torn, "cut at %d", n)
		require.Equal(t, f.groups[:1], groups)
	}
}

// TestSourceErrorIsNotJudged: what cannot be read is neither torn nor corrupt.
func TestSourceErrorIsNotJudged(t *testing.T) {
	f := newFile(1<<16, 4096)
	f.fill(rand.New(rand.NewPCG(1, 2)), 3)
	failure := errors.New("input/output error")
	for limit := int64(0); limit < 1<<16; limit += 4096 {
		r := logrecord.NewReader(failingSource{f.data, limit, failure}, f.id, f.start, 0)
		var err error
		for err == nil {
			_, err = r.Next()
		}
		require.ErrorIs(t, err, failure)
	}
}

// failingSource fails for bytes beyond limit.
type failingSource struct {
	data  []byte
	limit int64
	err   error
}

func (s failingSource) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > s.limit {
		return 0, s.err
	}
	return copy(p, s.data[off:]), nil
}

// TestFrameWithinAValue: a value may hold a whole frame of this very log, at any
// place; it is never taken for one.
func TestFrameWithinAValue(t *testing.T) {
	for shift := 0; shift < 4096; shift += 8 {
		f := newFile(1<<17, 4096)
		f.write(1, operation{format.KindSet, "a", "1", 0})
		first := string(f.data[format.LogHeaderSize:f.ends[0]])
		f.write(1, operation{format.KindSet, "b", string(make([]byte, shift)) + first + first, 0})
		f.write(1, operation{format.KindSet, "c", "3", 0})
		// Lose the frame that holds the copies, and the one after it.
		clear(f.data[f.ends[0] : f.ends[0]+512])
		clear(f.data[f.ends[1]:f.ends[2]])
		groups, _, _, err := f.read(0)
		var torn *logrecord.TornError
		require.ErrorAs(t, err, &torn)
		require.Equal(t, f.groups[:1], groups)
	}
}

// TestRandomDamage: whatever happens to the bytes, what is read is a prefix of what was written.
func TestRandomDamage(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	f := newFile(1<<17, 512)
	f.fill(rng, 20)
	whole := bytes.Clone(f.data)
	for range 5000 {
		copy(f.data, whole)
		for range 1 + rng.IntN(3) {
			at := format.LogHeaderSize + rng.IntN(int(f.framer.Offset())-format.LogHeaderSize)
			f.data[at] ^= 1 << rng.IntN(8)
		}
		groups, _, _, err := f.read(0)
		require.Error(t, err)
		require.LessOrEqual(t, len(groups), len(f.groups))
		require.Equal(t, f.groups[:len(groups)], append([][]operation{}, groups...))
	}
}

// TestLargeFrames crosses the reader's window.
func TestLargeFrames(t *testing.T) {
	f := newFile(8<<20, 4096)
	for _, n := range []int{100, 300 << 10, 5, 3 << 20, 7} {
		f.write(1, operation{format.KindSet, "k", string(bytes.Repeat([]byte{byte(n)}, n)), 0})
	}
	groups, _, _, err := f.read(f.framer.Offset())
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, f.groups, groups)
}
