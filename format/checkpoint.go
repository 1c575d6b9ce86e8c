package format

import (
	"encoding/binary"
	"fmt"
)

const (
	checkpointMagic = "SMDBCKPT"
	footerMagic     = "SMDBFOOT"

	// CheckpointHeaderLen is the size of a checkpoint's header page, in bytes: the offset of its first segment.
	CheckpointHeaderLen = BlockSize
	// FooterLen is the size of a checkpoint's footer, in bytes: its last ones.
	FooterLen = 192
)

// CheckpointHeader is the first page of a checkpoint: what is known before it is built.
type CheckpointHeader struct {
	UUID       UUID
	Generation uint64 // at least 1
	Salt       uint64 // random; seeds every other local checksum of the file
	// Position is where the history stood when the state was frozen: all of it
	// is in the state, and logfile.Generation continues it.
	Position Position
}

// Encode writes the header page to b, which must be CheckpointHeaderLen bytes.
func (h *CheckpointHeader) Encode(b []byte) {
	clear(b[:CheckpointHeaderLen])
	putPrologue(b, checkpointMagic)
	copy(b[16:32], h.UUID[:])
	binary.LittleEndian.PutUint64(b[32:], h.Generation)
	binary.LittleEndian.PutUint64(b[40:], h.Salt)
	h.Position.put(b[48:])
	putSum(b[:CheckpointHeaderLen], 0, 0)
}

// DecodeCheckpointHeader reads and validates the header page from b.
func DecodeCheckpointHeader(b []byte) (CheckpointHeader, error) {
	if err := checkPrologue(b, checkpointMagic, CheckpointHeaderLen, 0, 0); err != nil {
		return CheckpointHeader{}, fmt.Errorf("checkpoint header: %w", err)
	}
	if len(b) < CheckpointHeaderLen {
		return CheckpointHeader{}, fmt.Errorf("checkpoint header: %w: %d bytes", ErrLength, len(b))
	}
	b = b[:CheckpointHeaderLen]
	if err := checkSum(b, 0, 0); err != nil {
		return CheckpointHeader{}, fmt.Errorf("checkpoint header: %w", err)
	}
	if !allZero(b[12:16]) || !allZero(b[88:CheckpointHeaderLen-SumLen]) {
		return CheckpointHeader{}, fmt.Errorf("checkpoint header: %w", errReserved)
	}
	h := CheckpointHeader{
		UUID:       UUID(b[16:32]),
		Generation: binary.LittleEndian.Uint64(b[32:]),
		Salt:       binary.LittleEndian.Uint64(b[40:]),
		Position:   getPosition(b[48:]),
	}
	if h.Generation == 0 || h.Position.Epoch == 0 {
		return CheckpointHeader{}, fmt.Errorf("checkpoint header: %w: generation %d, epoch %d", ErrField, h.Generation, h.Position.Epoch)
	}
	return h, nil
}

// SegmentKind says what a segment of a checkpoint holds.
type SegmentKind uint32

// The kinds of segments, in the order in which they lie in the file.
const (
	SegmentRecords   SegmentKind = 1 // records in key order
	SegmentBuckets   SegmentKind = 2 // buckets of the hash index
	SegmentOrdered   SegmentKind = 3 // word blocks of the ordered index
	SegmentDeadlines SegmentKind = 4 // word blocks of the deadlines
	SegmentEpochs    SegmentKind = 5 // the first sequence of each epoch
)

// Segment is an entry of the segment directory.
type Segment struct {
	Kind    SegmentKind
	Count   uint32 // of records, buckets, word blocks or epochs in it
	Offset  uint64 // in the file, in bytes; a multiple of 8
	Length  uint64 // in bytes, without the padding to the next segment
	BaseSeq uint64 // what the sequences of its records are relative to; 0 for other kinds
	Sum     uint64 // local checksum of the segment at its offset
}

// SegmentEntryLen is the size of an entry of the segment directory, in bytes.
const SegmentEntryLen = 40

// Append appends the entry to dst.
func (s *Segment) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, uint32(s.Kind))
	dst = le.AppendUint32(dst, s.Count)
	dst = le.AppendUint64(dst, s.Offset)
	dst = le.AppendUint64(dst, s.Length)
	dst = le.AppendUint64(dst, s.BaseSeq)
	return le.AppendUint64(dst, s.Sum)
}

// DecodeSegment reads the entry at the start of b, which must hold SegmentEntryLen
// bytes of a verified directory, and checks that the segment lies before end.
func DecodeSegment(b []byte, end uint64) (Segment, error) {
	if len(b) < SegmentEntryLen {
		return Segment{}, fmt.Errorf("segment entry: %w: %d bytes", ErrLength, len(b))
	}
	le := binary.LittleEndian
	s := Segment{
		Kind:    SegmentKind(le.Uint32(b)),
		Count:   le.Uint32(b[4:]),
		Offset:  le.Uint64(b[8:]),
		Length:  le.Uint64(b[16:]),
		BaseSeq: le.Uint64(b[24:]),
		Sum:     le.Uint64(b[32:]),
	}
	switch {
	case s.Kind < SegmentRecords || s.Kind > SegmentEpochs:
		return Segment{}, fmt.Errorf("segment entry: %w: kind %d", ErrField, s.Kind)
	case s.Offset < CheckpointHeaderLen || s.Offset%8 != 0 || s.Offset > end || s.Length > end-s.Offset:
		return Segment{}, fmt.Errorf("segment entry: %w: %d bytes at %d of %d", ErrLength, s.Length, s.Offset, end)
	}
	return s, nil
}

// Footer is the end of a checkpoint: what is known once it has been built.
type Footer struct {
	Records     uint64  // keys in the checkpoint
	DataLen     uint64  // lengths of all keys and values, in bytes
	HashSeed    KeySeed // of the hash index
	Buckets     uint64  // of the hash index; at least 1
	BucketsAt   uint64  // offset of bucket 0, in bytes; a multiple of BucketLen. All buckets are contiguous.
	Entries     uint64  // of the ordered index
	OrderedAt   uint64  // offset of its first block, in bytes. All blocks are contiguous.
	Deadlines   uint64  // records that have one
	DeadlinesAt uint64  // offset of the first block of deadlines, in bytes. All blocks are contiguous.
	Segments    uint64  // entries of the segment directory
	Directory   uint64  // offset of the segment directory, in bytes; it ends where the footer starts
	DirSum      uint64  // local checksum of the directory at its offset
	FileLen     uint64  // of the whole file, in bytes
}

const (
	footerFields = 14                 // numbers in a footer, of 8 bytes each, after the magic
	footerUsed   = 8 + 8*footerFields // where its reserved bytes begin
)

// Encode writes the footer of the checkpoint with this salt to b, which must be FooterLen bytes.
func (f *Footer) Encode(b []byte, salt uint64) {
	clear(b[:FooterLen])
	copy(b, footerMagic)
	le := binary.LittleEndian
	for i, v := range [footerFields]uint64{f.Records, f.DataLen, f.HashSeed.K0, f.HashSeed.K1, f.Buckets, f.BucketsAt,
		f.Entries, f.OrderedAt, f.Deadlines, f.DeadlinesAt, f.Segments, f.Directory, f.DirSum, f.FileLen} {
		le.PutUint64(b[8+8*i:], v)
	}
	putSum(b[:FooterLen], salt, f.FileLen-FooterLen)
}

// DecodeFooter reads and validates the footer of the checkpoint with this salt and
// length from b, its last FooterLen bytes. Every region that it names lies within the file.
func DecodeFooter(b []byte, salt, fileLen uint64) (Footer, error) {
	if len(b) != FooterLen || fileLen < CheckpointHeaderLen+FooterLen || fileLen > MaxCheckpointLen {
		return Footer{}, fmt.Errorf("checkpoint footer: %w: %d bytes in a file of %d", ErrLength, len(b), fileLen)
	}
	if string(b[:8]) != footerMagic {
		return Footer{}, fmt.Errorf("checkpoint footer: %w: want %q, found %q", ErrMagic, footerMagic, b[:8])
	}
	if err := checkSum(b, salt, fileLen-FooterLen); err != nil {
		return Footer{}, fmt.Errorf("checkpoint footer: %w", err)
	}
	if !allZero(b[footerUsed : FooterLen-SumLen]) {
		return Footer{}, fmt.Errorf("checkpoint footer: %w", errReserved)
	}
	var v [footerFields]uint64
	for i := range v {
		v[i] = binary.LittleEndian.Uint64(b[8+8*i:])
	}
	f := Footer{
		Records: v[0], DataLen: v[1], HashSeed: KeySeed{v[2], v[3]}, Buckets: v[4], BucketsAt: v[5],
		Entries: v[6], OrderedAt: v[7], Deadlines: v[8], DeadlinesAt: v[9],
		Segments: v[10], Directory: v[11], DirSum: v[12], FileLen: v[13],
	}
	if err := f.validate(fileLen); err != nil {
		return Footer{}, err
	}
	return f, nil
}

func (f *Footer) validate(fileLen uint64) error {
	end := fileLen - FooterLen
	fits := func(at, n, size uint64) bool { return at >= CheckpointHeaderLen && at <= end && n <= (end-at)/size }
	switch {
	case f.FileLen != fileLen:
		return fmt.Errorf("checkpoint footer: %w: it says %d bytes, the file has %d", ErrLength, f.FileLen, fileLen)
	case f.Buckets == 0 || f.BucketsAt%BucketLen != 0 || !fits(f.BucketsAt, f.Buckets, BucketLen):
		return fmt.Errorf("checkpoint footer: %w: %d buckets at %d", ErrLength, f.Buckets, f.BucketsAt)
	case f.Entries > f.Records || f.OrderedAt%8 != 0 || !fits(f.OrderedAt, WordBlocks(f.Entries), WordBlockLen):
		return fmt.Errorf("checkpoint footer: %w: %d ordered entries at %d", ErrLength, f.Entries, f.OrderedAt)
	case f.Deadlines > f.Records || f.DeadlinesAt%8 != 0 || !fits(f.DeadlinesAt, WordBlocks(f.Deadlines), WordBlockLen):
		return fmt.Errorf("checkpoint footer: %w: %d deadlines at %d", ErrLength, f.Deadlines, f.DeadlinesAt)
	case f.Records > f.Buckets*BucketSlots:
		return fmt.Errorf("checkpoint footer: %w: %d records in %d buckets", ErrField, f.Records, f.Buckets)
	case f.Directory%8 != 0 || !fits(f.Directory, f.Segments, SegmentEntryLen) || f.Directory+f.Segments*SegmentEntryLen != end:
		return fmt.Errorf("checkpoint footer: %w: %d segments at %d", ErrLength, f.Segments, f.Directory)
	}
	return nil
}

// EpochStart says with which operation an epoch begins.
type EpochStart struct{ Epoch, FirstSeq uint64 }

// EpochStartLen is the size of an encoded EpochStart, in bytes.
const EpochStartLen = 16

// Append appends the entry to dst.
func (e EpochStart) Append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, e.Epoch)
	return binary.LittleEndian.AppendUint64(dst, e.FirstSeq)
}

// DecodeEpochs reads the verified bytes of an epochs segment: epochs rise, sequences never fall.
func DecodeEpochs(b []byte) ([]EpochStart, error) {
	if len(b)%EpochStartLen != 0 {
		return nil, fmt.Errorf("epochs: %w: %d bytes", ErrLength, len(b))
	}
	epochs := make([]EpochStart, 0, len(b)/EpochStartLen)
	for ; len(b) > 0; b = b[EpochStartLen:] {
		e := EpochStart{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
		if n := len(epochs); e.Epoch == 0 || n > 0 && (e.Epoch <= epochs[n-1].Epoch || e.FirstSeq < epochs[n-1].FirstSeq) {
			return nil, fmt.Errorf("epochs: %w: epoch %d from %d", ErrField, e.Epoch, e.FirstSeq)
		}
		epochs = append(epochs, e)
	}
	return epochs, nil
}
