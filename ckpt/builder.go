package ckpt

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// maxWidening bounds how many times the usual number of buckets a hash index may have. At the load
// chosen the usual one holds all keys, unless somebody knows the seed and has chosen them.
const maxWidening = 8

// Builder writes a checkpoint from its first byte to its last, and reads none of them back. Beyond a piece, a
// segment (or one larger record) and the ordered index it takes 16 bytes of memory for each key, and
// 8 for each deadline. One goroutine uses it. After
// an error it only repeats that error; what was written is then worth nothing, and removing it is left to the caller.
type Builder struct {
	out    stream
	header format.CheckpointHeader
	footer format.Footer // Records and DataLen grow, the rest is set by Finish
	seed   format.KeySeed
	hashes *hashes

	segments []format.Segment // those written
	segment  []byte           // the one being filled; it starts at out.offset()
	count    uint32           // of what it holds
	baseSeq  uint64           // of its first record

	ordered   []uint64 // offsets of indexed records
	deadlines []uint64 // of the records that have one; in their order until Finish sorts them
	key       []byte   // the last one
	err       error    // the first one

	interrupted func() error
}

// Summary identifies the checkpoint that a Builder wrote.
type Summary struct {
	Footer    format.Footer
	FooterSum uint64 // the footer's checksum: the last 8 bytes of the file
}

// NewBuilder begins a checkpoint in f, which is new, empty and open for writing, and stays the
// caller's to close. expect is the number of records to come: memory is reserved
// for as many; a different number costs nothing but time.
func NewBuilder(f mmapio.File, h format.CheckpointHeader, expect uint64) (*Builder, error) {
	switch size, err := f.Size(); {
	case err != nil:
		return nil, err
	case size != 0:
		return nil, fmt.Errorf("build checkpoint %s: the file has %d bytes already; create a new one", f.Name(), size)
	}
	return begin(toFile(f), h, expect)
}

// Interrupt sets what says why to give up, or may take its time to say that there is no reason; nil if nothing does. It is asked after each
// segment, and in between in Finish.
func (b *Builder) Interrupt(interrupted func() error) { b.interrupted = interrupted }

func (b *Builder) ask() error {
	if b.interrupted == nil {
		return nil
	}
	return b.interrupted()
}

// NewStreamBuilder begins a checkpoint that goes to w, byte for byte what NewBuilder would write to a
// file: in calls of at most mmapio.PieceSize bytes, each waited for, which w must not keep. Summary says how many bytes it became. The
// receiver verifies them as a whole (Verify) before it relies on any: only then can it know that the last one has come.
func NewStreamBuilder(w io.Writer, h format.CheckpointHeader, expect uint64) (*Builder, error) {
	return begin(toWriter(w, format.CheckpointName(h.Generation)), h, expect)
}

func begin(out stream, h format.CheckpointHeader, expect uint64) (*Builder, error) {
	page := make([]byte, format.CheckpointHeaderLen)
	h.Encode(page)
	if _, err := format.DecodeCheckpointHeader(page); err != nil {
		return nil, fmt.Errorf("build %s: %w", out.name, err)
	}
	b := &Builder{out: out, header: h, hashes: newHashes(expect), segment: make([]byte, 0, format.SegmentSize)}
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	b.seed = format.KeySeed{K0: binary.LittleEndian.Uint64(random[:]), K1: binary.LittleEndian.Uint64(random[8:])}
	return b, b.fail(b.out.write(page))
}

// SetHashSeed replaces the random seed of the hash index, for checkpoints that must be
// reproducible. It must be called before the first Add. Who knows the seed can choose keys that Finish finds no place for.
func (b *Builder) SetHashSeed(seed format.KeySeed) {
	if b.footer.Records > 0 {
		_ = b.fail(errors.New("the seed of the hash index was set after the first record"))
	}
	b.seed = seed
}

// fail remembers err, names the checkpoint in it, and returns it.
func (b *Builder) fail(err error) error {
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("build %s: %w", b.out.name, err)
	}
	return b.err
}

// Add appends the next record. Keys strictly rise (bytes.Compare; else ErrOrder), and sequences
// lie between 1 and that of the header's position. It keeps no reference to r.
func (b *Builder) Add(r Record) error {
	if b.err != nil {
		return b.err
	}
	if err := r.check(b.key, b.header.Position.Seq); err != nil {
		return b.fail(err)
	}
	offset, err := b.append(&r)
	if err != nil {
		return b.fail(err)
	}
	b.index(format.KeyHash(b.seed, r.Key), offset)
	b.key = append(b.key[:0], r.Key...)
	if r.Expiry != 0 {
		b.deadlines = append(b.deadlines, uint64(r.Expiry))
	}
	b.footer.Records++
	b.footer.DataLen += uint64(len(r.Key)) + uint64(len(r.Value))
	return nil
}

// append adds r to the segment, or to a new one if it does not fit, and returns its offset.
func (b *Builder) append(r *Record) (uint64, error) {
	if b.count > 0 && len(b.segment)+len(r.Key)+len(r.Value) > format.SegmentSize {
		if err := b.endSegment(format.SegmentRecords); err != nil {
			return 0, err
		}
	}
	start := len(b.segment)
	b.appendEntry(r)
	if b.count > 1 && len(b.segment) > format.SegmentSize {
		b.segment = b.segment[:start]
		b.count--
		if err := b.endSegment(format.SegmentRecords); err != nil {
			return 0, err
		}
		start = 0
		b.appendEntry(r)
	}
	if end := b.out.offset() + uint64(len(b.segment)); end > format.MaxCheckpointLen {
		return 0, fmt.Errorf("%w: a checkpoint of more than %d bytes", format.ErrLength, uint64(format.MaxCheckpointLen))
	}
	return b.out.offset() + uint64(start), nil
}

func (b *Builder) appendEntry(r *Record) {
	if b.count == 0 {
		b.baseSeq = r.Seq
	}
	e := format.Entry{SeqDelta: int64(r.Seq - b.baseSeq), Expiry: r.Expiry, Key: r.Key, Value: r.Value}
	b.segment = format.AppendEntry(b.segment, &e, b.header.Salt, b.out.offset()+uint64(len(b.segment)))
	b.count++
}

// index enters the record that was appended last into both indexes.
func (b *Builder) index(hash, offset uint64) {
	b.hashes.add(hash, offset)
	if n := len(b.ordered); b.count == 1 || offset-b.ordered[n-1] >= format.OrderedStride {
		b.ordered = append(b.ordered, offset)
	}
}

// endSegment writes the segment and begins the next.
func (b *Builder) endSegment(kind format.SegmentKind) error {
	at := b.out.offset()
	b.segments = append(b.segments, format.Segment{
		Kind: kind, Count: b.count, Offset: at, Length: uint64(len(b.segment)), BaseSeq: b.baseSeq,
		Sum: format.Sum(b.segment, b.header.Salt, at),
	})
	if err := b.out.write(b.segment); err != nil {
		return err
	}
	b.count, b.baseSeq = 0, 0
	if b.segment = b.segment[:0]; cap(b.segment) > 2*format.SegmentSize {
		b.segment = make([]byte, 0, format.SegmentSize) // a large record made it grow
	}
	if err := b.ask(); err != nil {
		return err
	}
	return b.out.align(8)
}

// endPartial ends the segment unless it is empty.
func (b *Builder) endPartial(kind format.SegmentKind) error {
	if b.count == 0 {
		return nil
	}
	return b.endSegment(kind)
}
