package fuzz_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// shortFile is the beginning of a file: what follows is left from the last time.
type shortFile struct {
	mmapio.File
	size int64
}

func (f shortFile) Size() (int64, error) { return f.size, nil }

func (f shortFile) ReadAt(p []byte, off int64) (int, error) {
	return io.NewSectionReader(f.File, 0, f.size).ReadAt(p, off)
}

var (
	checkpointSeed   = format.KeySeed{K0: 1, K1: 2}
	checkpointHeader = format.CheckpointHeader{
		UUID: format.UUID{1}, Generation: 7, Salt: 0x5a17, Position: format.Position{Epoch: 3, Seq: 1000, Index: 17, Time: 99, Chain: 4},
	}
	checkpointEpochs = []format.EpochStart{{Epoch: 1, FirstSeq: 1}, {Epoch: 3, FirstSeq: 500}}
)

// checkpointRecords are the records that a script asks for, in the order of their keys.
func checkpointRecords(s *tape) []ckpt.Record {
	records := map[string]ckpt.Record{}
	for seq := uint64(1); !s.done() && seq <= 200; seq++ {
		op, _ := s.operation(nil)
		if op.kind == format.KindDelete {
			delete(records, op.key)
			continue
		}
		records[op.key] = ckpt.Record{Seq: seq, Expiry: op.expiry, Key: []byte(op.key), Value: []byte(op.value)}
	}
	sorted := make([]ckpt.Record, 0, len(records))
	for _, key := range slices.Sorted(maps.Keys(records)) {
		sorted = append(sorted, records[key])
	}
	return sorted
}

func buildCheckpoint(t *testing.T, records []ckpt.Record) []byte {
	var out bytes.Buffer
	b, err := ckpt.NewStreamBuilder(&out, checkpointHeader, uint64(len(records)))
	require.NoError(t, err)
	b.SetHashSeed(checkpointSeed)
	for _, r := range records {
		require.NoError(t, b.Add(r))
	}
	_, err = b.Finish(checkpointEpochs)
	require.NoError(t, err)
	return out.Bytes()
}

// resealCheckpoint makes all checksums of b right, which was whole before it was damaged, where they were: of records, units
// of the indexes, segments, directory, footer and header.
func resealCheckpoint(t *testing.T, whole, b []byte) {
	salt, size := checkpointHeader.Salt, uint64(len(whole))
	footer, err := format.DecodeFooter(whole[size-format.FooterLen:], salt, size)
	require.NoError(t, err)
	directory := []byte{}
	for i := range footer.Segments {
		s, err := format.DecodeSegment(whole[footer.Directory+i*format.SegmentEntryLen:], footer.Directory)
		require.NoError(t, err)
		resealSegment(t, whole, b, &s)
		s.Sum = format.Sum(b[s.Offset:s.Offset+s.Length], salt, s.Offset)
		directory = s.Append(directory)
	}
	damaged := b[footer.Directory:][:len(directory)]
	turn(damaged, whole[footer.Directory:], directory)
	footer.DirSum = format.Sum(damaged, salt, footer.Directory)
	foot := make([]byte, format.FooterLen)
	footer.Encode(foot, salt)
	damaged = b[size-format.FooterLen:]
	turn(damaged, whole[size-format.FooterLen:], foot)
	resum(damaged, salt, size-format.FooterLen)
	resum(b[:format.CheckpointHeaderLen], 0, 0)
}

// turn makes damaged, which was made from was, what the same damage makes from is.
func turn(damaged, was, is []byte) {
	for i := range damaged {
		damaged[i] ^= was[i] ^ is[i]
	}
}

// resealSegment makes the checksums within a segment right.
func resealSegment(t *testing.T, whole, b []byte, s *format.Segment) {
	unit := uint64(0)
	switch s.Kind {
	case format.SegmentBuckets:
		unit = format.BucketLen
	case format.SegmentOrdered, format.SegmentDeadlines:
		unit = format.WordBlockLen
	}
	for at := s.Offset; at < s.Offset+s.Length && unit > 0; at += unit {
		resum(b[at:at+unit], checkpointHeader.Salt, at)
	}
	for at := s.Offset; at < s.Offset+s.Length && s.Kind == format.SegmentRecords; {
		_, n, err := format.DecodeEntry(whole[at:], checkpointHeader.Salt, at)
		require.NoError(t, err)
		body := at + uint64(n) - 4
		binary.LittleEndian.PutUint32(b[body:], uint32(format.Sum(b[at:body], checkpointHeader.Salt, at)))
		at += uint64(n)
	}
}

// FuzzCheckpoint damages a checkpoint and reads it. Every record that is read is one that was written, no key that was written is called absent,
// and Verify finds all damage. If its checksums are made right, which only malice does, it is read all the same without a panic or a walk
// without end, and what Verify lets pass is consistent.
func FuzzCheckpoint(f *testing.F) {
	var ops []byte
	for key := range byte(40) {
		ops = append(ops, written(key&asExpiry|asPattern|asLong, string([]byte{'k', key}), "x")...)
		ops[len(ops)-2] = 10 // times 16 bytes
	}
	for i, step := range []int{61, 331} {
		resealed := i == 1
		f.Add([]byte{}, []byte{}, resealed)
		f.Add(ops, []byte{}, resealed)
		for where := 0; where < 17000; where += step {
			f.Add(ops, at(turnBits, where, 1<<(where%8)), resealed)
		}
		for _, d := range [][]byte{
			at(copySector, 4096, 4608), at(copySector, 8192, 4096), at(zeroSector, 5000, 0), at(endThere, 9000, 0), at(endThere, 100, 0),
			at(turnBits, 4096, 0xff), at(turnBits, 4097, 0xff), // lengths of the first record
		} {
			f.Add(ops, d, resealed)
		}
	}
	d, err := mmapio.OpenDir(f.TempDir(), false)
	require.NoError(f, err)
	disk, err := d.Create("checkpoint.7")
	require.NoError(f, err)
	defer func() { require.NoError(f, errors.Join(disk.Close(), d.Close())) }()

	// The builder takes large buffers, and one script is damaged in many ways.
	defer debug.SetGCPercent(debug.SetGCPercent(1000))
	built := map[string][]byte{}
	f.Fuzz(func(t *testing.T, script, damages []byte, resealed bool) {
		records := checkpointRecords(&tape{script})
		whole, ok := built[string(script)]
		if !ok {
			whole = buildCheckpoint(t, records)
			if len(built) == 64 {
				clear(built)
			}
			built[string(script)] = whole
		}
		harm := inflict(damages, whole)
		intact := bytes.Equal(harm.file, whole) && harm.length == len(whole)
		if resealed {
			resealCheckpoint(t, whole, harm.file)
		}
		b := harm.file[:harm.length]
		_, err := disk.WriteAt(b, 0)
		require.NoError(t, err)
		c := checkpointCheck{t, records, shortFile{disk, int64(len(b))}, !resealed}
		bounded(t, len(b), func() {
			err := ckpt.Verify(bytes.NewReader(b), int64(len(b)), "checkpoint.7")
			if intact {
				require.NoError(t, err)
			} else if !resealed {
				require.ErrorIs(t, err, format.ErrCorrupt)
			}
			c.read(intact, err == nil)
		})
	})
}

// checkpointCheck reads a checkpoint that may be damaged.
type checkpointCheck struct {
	t       *testing.T
	records []ckpt.Record // that were written
	file    mmapio.File
	exact   bool // what is read must be what was written
}

// read opens the checkpoint and reads it in every way. Verify may have let it pass.
func (c *checkpointCheck) read(intact, verified bool) {
	r, err := ckpt.Open(c.file)
	if err != nil {
		require.False(c.t, intact || verified, "%v", err)
		requireOneKind(c.t, err)
		return
	}
	forward, err := c.walk((*ckpt.Cursor).First, (*ckpt.Cursor).Next, r.Cursor())
	backward, backErr := c.walk((*ckpt.Cursor).Last, (*ckpt.Cursor).Prev, r.Cursor())
	slices.Reverse(backward)
	for _, rec := range c.records {
		var got ckpt.Record
		ok, err := r.Get(r.Probe(rec.Key), rec.Key, &got)
		if err != nil {
			require.False(c.t, verified, "%v", err)
			requireOneKind(c.t, err)
		} else if c.exact {
			require.True(c.t, ok, "key %q was written", rec.Key)
			require.Equal(c.t, rec, got)
		}
	}
	if due, err := r.Due(dueAt); err == nil && (c.exact || verified) {
		require.EqualValues(c.t, countDue(c.expected(forward)), due)
	} else if err != nil {
		require.False(c.t, verified, "%v", err)
		requireOneKind(c.t, err)
	}
	if verified {
		require.NoError(c.t, errors.Join(err, backErr))
		require.Equal(c.t, forward, backward)
		require.EqualValues(c.t, len(forward), r.Footer().Records)
		length := 0
		for _, rec := range forward {
			length += len(rec.Key) + len(rec.Value)
			var got ckpt.Record
			ok, err := r.Get(r.Probe(rec.Key), rec.Key, &got)
			require.NoError(c.t, err)
			require.True(c.t, ok)
			require.Equal(c.t, rec, got)
		}
		require.EqualValues(c.t, length, r.Footer().DataLen)
		absent := []byte("a key that nobody wrote")
		ok, err := r.Get(r.Probe(absent), absent, new(ckpt.Record))
		require.NoError(c.t, err)
		require.False(c.t, ok)
	}
	if c.exact {
		c.requirePart(forward, err, 0)
		c.requirePart(backward, backErr, len(c.records)-len(backward))
	}
	runtime.KeepAlive(r)
}

// expected is what the checkpoint should hold: what was written, or, of one that malice made, what is read.
func (c *checkpointCheck) expected(read []ckpt.Record) []ckpt.Record {
	if c.exact {
		return c.records
	}
	return read
}

// dueAt is a time that splits the deadlines.
const dueAt = 60

func countDue(records []ckpt.Record) (n int) {
	for _, r := range records {
		if r.Expiry != 0 && r.Expiry <= dueAt {
			n++
		}
	}
	return n
}

type move func(*ckpt.Cursor) (ckpt.Record, bool, error)

// walk returns copies of the records that a cursor meets until it fails or ends.
func (c *checkpointCheck) walk(start, step move, cursor *ckpt.Cursor) (records []ckpt.Record, err error) {
	size, _ := c.file.Size()
	for next := start; ; next = step {
		rec, ok, err := next(cursor)
		if err != nil {
			requireOneKind(c.t, err)
			return records, err
		}
		if !ok {
			return records, nil
		}
		rec.Key, rec.Value = bytes.Clone(rec.Key), bytes.Clone(rec.Value)
		records = append(records, rec)
		require.LessOrEqual(c.t, len(records), int(size)/format.MinEntryLen, "the walk does not end")
	}
}

// requirePart holds that records are those written from place start on, and all if there was no error.
func (c *checkpointCheck) requirePart(records []ckpt.Record, err error, start int) {
	if err == nil {
		require.Len(c.t, records, len(c.records))
	}
	for i := range records {
		require.Equal(c.t, c.records[start+i], records[i])
	}
}
