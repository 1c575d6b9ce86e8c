package ckpt_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// smallSet is a few records of all kinds: seven fill no bucket, the padding before the buckets is not empty.
func smallSet() []ckpt.Record {
	return []ckpt.Record{
		{Seq: 40, Key: []byte("a"), Value: []byte("first")},
		{Seq: 2, Key: []byte("ab"), Expiry: 1 << 60, Value: []byte("expires")},
		{Seq: 300, Key: []byte("b")},
		{Seq: 41, Key: bytes.Repeat([]byte("long"), 20), Value: bytes.Repeat([]byte("value"), 40)},
		{Seq: 1 << 40, Key: []byte{255}, Value: []byte{0}},
	}
}

// smallCheckpoint returns the bytes of a checkpoint of smallSet and its outline.
func smallCheckpoint(t *testing.T) ([]byte, ckpt.Summary) {
	_, f := create(t)
	summary, err := fill(f, smallSet(), 5)
	require.NoError(t, err)
	return contents(t, f), summary
}

// checkDamaged reads all of a damaged checkpoint. It returns an error if any answer is neither exact
// nor a corruption error; exact, if all are exact.
func checkDamaged(f mmapio.File, records []ckpt.Record) (exact bool, err error) {
	r, err := ckpt.Open(f)
	if err != nil {
		return false, unlessCorrupt(err)
	}
	exact = true
	for _, check := range []func(*ckpt.Reader, []ckpt.Record) error{checkGets, checkWalks, checkBack, checkDue} {
		err := guarded(func() error { return check(r, records) })
		if unlessCorrupt(err) != nil {
			return false, err
		}
		exact = exact && err == nil
	}
	runtime.KeepAlive(r)
	return exact, nil
}

func unlessCorrupt(err error) error {
	if errors.Is(err, format.ErrCorrupt) {
		return nil
	}
	return err
}

// checkBack walks back and seeks, which a walk forth does not get to when it fails early.
func checkBack(r *ckpt.Reader, records []ckpt.Record) error {
	c := r.Cursor()
	got, ok, err := c.Last()
	for i := len(records) - 1; i >= -1; i-- {
		if err := expect(records, i, got, ok, err); err != nil {
			if unlessCorrupt(err) != nil {
				return err
			}
			break
		}
		got, ok, err = c.Prev()
	}
	errs := []error{err}
	for i, want := range records {
		got, ok, err := c.SeekGE(want.Key)
		errs = append(errs, expect(records, i, got, ok, err))
		got, ok, err = c.SeekLT(want.Key)
		errs = append(errs, expect(records, i-1, got, ok, err))
	}
	for _, err := range errs { // a wrong answer counts even after damage was found
		if err != nil && !errors.Is(err, format.ErrCorrupt) {
			return err
		}
	}
	return errors.Join(errs...)
}

// Every bit of a checkpoint, flipped: reads are exact or fail, and Verify finds it.
func TestEveryFlippedBit(t *testing.T) {
	whole, summary := smallCheckpoint(t)
	records := smallSet()
	f := stored(t, whole)
	require.NoError(t, verify(f))
	require.NoError(t, ckpt.VerifySums(bytes.NewReader(whole), int64(len(whole)), name))
	exact, err := checkDamaged(f, records)
	require.NoError(t, err)
	require.True(t, exact)
	unseen := 0 // flips that no read came across
	for at, original := range whole {
		for bit := range 8 {
			whole[at] = original ^ 1<<bit
			c := requireCorrupt(t, ckpt.Verify(bytes.NewReader(whole), int64(len(whole)), name), "bit %d of byte %d", bit, at)
			require.LessOrEqual(t, c.Offset, int64(at))
			c = requireCorrupt(t, ckpt.VerifySums(bytes.NewReader(whole), int64(len(whole)), name), "sums: bit %d of byte %d", bit, at)
			require.LessOrEqual(t, c.Offset, int64(at))

			_, err := f.WriteAt(whole[at:at+1], int64(at))
			require.NoError(t, err)
			exact, err := checkDamaged(f, records)
			require.NoError(t, err, "bit %d of byte %d", bit, at)
			if exact {
				unseen++
				require.GreaterOrEqual(t, at, format.CheckpointHeaderLen)
				require.Less(t, uint64(at), summary.Footer.BucketsAt, "only padding may be unseen")
			}
			if at%128 == 0 && bit == 0 {
				runtime.GC() // unmaps
			}
		}
		whole[at] = original
		_, err := f.WriteAt(whole[at:at+1], int64(at))
		require.NoError(t, err)
	}
	assert.Less(t, unseen, 64*8)
	assert.Positive(t, unseen, "the padding was flipped too")
}

func TestEveryLength(t *testing.T) {
	whole, _ := smallCheckpoint(t)
	f := stored(t, whole)
	for size := len(whole) - 1; size >= 0; size-- {
		requireCorrupt(t, ckpt.Verify(bytes.NewReader(whole[:size]), int64(size), name), "%d bytes", size)
		requireCorrupt(t, ckpt.Verify(bytes.NewReader(whole[:size]), int64(len(whole)), name), "%d bytes, said to be whole", size)
		if size%8 == 0 {
			short := stored(t, whole[:size])
			_, err := ckpt.Open(short)
			requireCorrupt(t, err, "%d bytes", size)
			require.NoError(t, short.Close())
		}
	}
	_, err := f.WriteAt([]byte{0}, int64(len(whole)))
	require.NoError(t, err)
	_, err = ckpt.Open(f)
	requireCorrupt(t, err, "a byte too many")
}

func TestForeignFiles(t *testing.T) {
	whole, _ := smallCheckpoint(t)
	newer := bytes.Clone(whole)
	newer[8]++
	resum(newer[:format.CheckpointHeaderLen], 0, 0)
	for _, row := range []struct {
		what  string
		bytes []byte
		want  error
	}{
		{"empty", nil, format.ErrLength},
		{"zeros", make([]byte, len(whole)), format.ErrMagic},
		{"other magic", append([]byte("SMDBLOG!"), whole[8:]...), format.ErrMagic},
		{"newer version", newer, format.ErrVersion},
		{"newer version with another end", append(bytes.Clone(newer), 1, 2, 3), format.ErrVersion},
		{"newer version, header only", newer[:format.CheckpointHeaderLen], format.ErrVersion},
		{"header only", whole[:format.CheckpointHeaderLen], format.ErrLength},
		{"no end", append(bytes.Clone(whole), make([]byte, 300)...), format.ErrMagic},
	} {
		f := stored(t, row.bytes)
		_, err := ckpt.Open(f)
		requireCorrupt(t, err, row.what)
		require.ErrorIs(t, err, row.want, row.what)
		require.ErrorIs(t, verify(f), row.want, row.what)
	}
}

// Damage is found in a large checkpoint too, in each kind of segment and between them.
func TestVerifyFindsDamageInManySegments(t *testing.T) {
	_, f := create(t)
	records := expiring(60_000)
	records[30_000].Value = make([]byte, format.SegmentSize)
	_, err := fill(f, records, len(records))
	require.NoError(t, err)
	whole := contents(t, f)
	x := newForge(t, whole)
	require.Len(t, x.segments, 7) // three of records
	for i, s := range x.segments {
		next := x.footer.Directory
		if i+1 < len(x.segments) {
			next = x.segments[i+1].Offset
		}
		for _, at := range []uint64{s.Offset, s.Offset + s.Length/2, s.Offset + s.Length - 1, next - 1} {
			whole[at] ^= 0x10
			c := requireCorrupt(t, ckpt.Verify(bytes.NewReader(whole), int64(len(whole)), name), "segment %d, byte %d", i, at)
			assert.LessOrEqual(t, c.Offset, int64(at))
			assert.GreaterOrEqual(t, c.Offset, int64(s.Offset))
			whole[at] ^= 0x10
		}
	}
	require.NoError(t, ckpt.Verify(bytes.NewReader(whole), int64(len(whole)), name))
}

var errRead = errors.New("input/output error")

// failing is a ReaderAt that fails from an offset on.
type failing struct {
	b  []byte
	at int64
}

func (x failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > x.at {
		return 0, errRead
	}
	return copy(p, x.b[off:]), nil
}

// A read that fails is not damage.
func TestVerifyReturnsReadErrors(t *testing.T) {
	whole, summary := smallCheckpoint(t)
	for _, at := range []uint64{0, 4096, summary.Footer.BucketsAt, summary.Footer.DeadlinesAt, summary.Footer.FileLen - 1} {
		err := ckpt.Verify(failing{whole, int64(at)}, int64(len(whole)), name)
		require.ErrorIs(t, err, errRead)
		require.ErrorContains(t, err, fmt.Sprintf("read %s at offset", name))
		require.NotErrorIs(t, err, format.ErrCorrupt)
	}
}

// The engine verifies around the page cache.
func TestVerifyAroundThePageCache(t *testing.T) {
	d, f := create(t)
	_, err := fill(f, numbered(30_000), 30_000)
	require.NoError(t, err)
	around, err := mmapio.OpenAround(d, name)
	require.NoError(t, err)
	defer around.Close()
	require.NoError(t, ckpt.Verify(around, around.Size(), name))
}
