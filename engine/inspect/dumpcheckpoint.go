package inspect

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/tongpengdl/small-db/format"
)

// Position is a format.Position for people and programs.
type Position struct {
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
	Index uint64 `json:"index"`
	Time  int64  `json:"time"` // in ns since the Unix epoch
	Chain string `json:"chain"`
}

func newPosition(p format.Position) Position {
	return Position{p.Epoch, p.Seq, p.Index, p.Time, hex64(p.Chain)}
}

func hex64(v uint64) string { return fmt.Sprintf("%016x", v) }

// CheckpointInfo is what can be read of a checkpoint. What is damaged is in Damage, and left out elsewhere.
type CheckpointInfo struct {
	Name       string     `json:"name"`
	Size       int64      `json:"size"`
	UUID       string     `json:"uuid,omitempty"`
	Generation uint64     `json:"generation,omitempty"`
	Salt       string     `json:"salt,omitempty"`
	Position   *Position  `json:"position,omitempty"` // nil if the header is damaged
	Keys       uint64     `json:"keys"`
	DataBytes  uint64     `json:"data_bytes"` // of keys and values
	Buckets    uint64     `json:"buckets"`
	Segments   []Segment  `json:"segments"`
	Epochs     []Epoch    `json:"epochs"`
	FirstKey   []byte     `json:"first_key,omitempty"`
	LastKey    []byte     `json:"last_key,omitempty"`
	Damage     []Finding  `json:"damage"`
	complete   bool       // the directory is intact, so Segments are all there are
	sums       []uint64   // of Segments
	footer     *footerRaw // nil if it is damaged
}

type footerRaw struct {
	format.Footer
	salt uint64
}

// Segment is a segment of a checkpoint.
type Segment struct {
	Kind    string `json:"kind"`
	Offset  int64  `json:"offset"` // in bytes
	Length  int64  `json:"length"` // in bytes
	Count   uint32 `json:"count"`  // of its parts
	BaseSeq uint64 `json:"base_seq,omitempty"`
	Intact  bool   `json:"intact"` // its sum was verified
}

// Epoch says with which operation an epoch began.
type Epoch struct {
	Epoch    uint64 `json:"epoch"`
	FirstSeq uint64 `json:"first_seq"`
}

// segmentKinds are the names of the kinds of segments.
var segmentKinds = map[format.SegmentKind]string{
	format.SegmentRecords: "records", format.SegmentBuckets: "buckets", format.SegmentOrdered: "ordered", format.SegmentEpochs: "epochs",
	format.SegmentDeadlines: "deadlines",
}

// DumpCheckpoint reads what can be read of a checkpoint, damaged or not: header, footer, directory, the sum of every segment, the first and
// the last key. It takes memory for the largest segment, which is about 1 MiB or one record. Damage is in the result; the
// error is the context's or that of opening the file.
func DumpCheckpoint(ctx context.Context, path string) (*CheckpointInfo, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return nil, err
	}
	info := scan(&source{ctx: ctx, ra: f, name: baseName(path), size: stat.Size()})
	return info, ctx.Err()
}

// scan reads a checkpoint from its ends inwards, as far as what was read tells where the next part lies.
func scan(src *source) *CheckpointInfo {
	info := &CheckpointInfo{Name: src.name, Size: src.size, Segments: []Segment{}, Epochs: []Epoch{}, Damage: []Finding{}}
	salt, ok := info.scanHeader(src)
	if !ok || !info.scanFooter(src, salt) {
		return info
	}
	info.scanDirectory(src)
	for i := range info.Segments {
		if src.ctx.Err() != nil {
			return info
		}
		info.scanSegment(src, i)
	}
	return info
}

// damaged adds damage.
func (info *CheckpointInfo) damaged(offset int64, err error) {
	info.Damage = append(info.Damage, Finding{File: info.Name, Offset: offset, Severity: Damage, Effect: EffectNone, What: err.Error(), Err: err})
}

// scanHeader returns the salt. If the header is damaged it is the one that stands there, which the footer's sum will prove or not.
func (info *CheckpointInfo) scanHeader(src *source) (salt uint64, ok bool) {
	if src.size < format.CheckpointHeaderLen+format.FooterLen {
		info.damaged(-1, fmt.Errorf("checkpoint: %w: %d bytes", format.ErrLength, src.size))
		return 0, false
	}
	page, err := src.bytes(0, format.CheckpointHeaderLen)
	if err != nil {
		info.damaged(0, err)
		return 0, false
	}
	h, err := format.DecodeCheckpointHeader(page)
	if err != nil {
		info.damaged(0, err)
		return binary.LittleEndian.Uint64(page[checkpointSaltAt:]), true
	}
	position := newPosition(h.Position)
	info.UUID, info.Generation, info.Salt, info.Position = h.UUID.String(), h.Generation, hex64(h.Salt), &position
	return h.Salt, true
}

// checkpointSaltAt is where a checkpoint's header has the salt, in bytes.
const checkpointSaltAt = 40

func (info *CheckpointInfo) scanFooter(src *source, salt uint64) bool {
	at := src.size - format.FooterLen
	page, err := src.bytes(at, format.FooterLen)
	if err != nil {
		info.damaged(at, err)
		return false
	}
	f, err := format.DecodeFooter(page, salt, uint64(src.size))
	if err != nil {
		info.damaged(at, err)
		return false
	}
	info.footer = &footerRaw{f, salt}
	info.Keys, info.DataBytes, info.Buckets = f.Records, f.DataLen, f.Buckets
	return true
}

// scanDirectory reads the segment directory. A damaged one is still followed: each segment has a sum of its own.
func (info *CheckpointInfo) scanDirectory(src *source) {
	f := info.footer
	at, n := int64(f.Directory), int64(f.Footer.Segments)*format.SegmentEntryLen
	directory, err := src.bytes(at, n)
	if err != nil {
		info.damaged(at, err)
		return
	}
	info.complete = format.Sum(directory, f.salt, f.Directory) == f.DirSum
	if !info.complete {
		info.damaged(at, fmt.Errorf("segment directory: %w", format.ErrChecksum))
	}
	directory = bytes.Clone(directory)
	for i := int64(0); i < n; i += format.SegmentEntryLen {
		s, err := format.DecodeSegment(directory[i:], f.Directory)
		if err != nil {
			info.damaged(at+i, err)
			info.complete = false
			continue
		}
		kind := segmentKinds[s.Kind]
		info.Segments = append(info.Segments, Segment{kind, int64(s.Offset), int64(s.Length), s.Count, s.BaseSeq, false})
		info.sums = append(info.sums, s.Sum)
	}
}

// scanSegment verifies the sum of a segment and the zeros after it.
func (info *CheckpointInfo) scanSegment(src *source, i int) {
	s := &info.Segments[i]
	if s.Length > maxSegment {
		info.damaged(s.Offset, fmt.Errorf("segment: %w: %d bytes", format.ErrLength, s.Length))
		return
	}
	data, err := src.bytes(s.Offset, s.Length)
	if err != nil {
		info.damaged(s.Offset, err)
		return
	}
	if got := format.Sum(data, info.footer.salt, uint64(s.Offset)); got != info.sums[i] {
		info.damaged(s.Offset, fmt.Errorf("segment of %d %s: %w: stored %016x, computed %016x", s.Count, s.Kind, format.ErrChecksum, info.sums[i], got))
		return
	}
	s.Intact = true
	switch s.Kind {
	case segmentKinds[format.SegmentRecords]:
		info.scanKeys(data, s)
	case segmentKinds[format.SegmentEpochs]:
		epochs, err := format.DecodeEpochs(data)
		if err != nil {
			info.damaged(s.Offset, err)
		}
		for _, e := range epochs {
			info.Epochs = append(info.Epochs, Epoch{e.Epoch, e.FirstSeq})
		}
	}
	end, next := s.Offset+s.Length, int64(info.footer.Directory)
	if i+1 < len(info.Segments) {
		next = info.Segments[i+1].Offset
	}
	if next < end || next-end > maxPadding {
		return // only a damaged directory says so
	}
	padding, err := src.bytes(end, next-end)
	if err == nil && len(bytes.Trim(padding, "\x00")) > 0 {
		err = fmt.Errorf("%w: padding is not zero", format.ErrField)
	}
	if err != nil {
		info.damaged(end, err)
	}
}

const (
	maxSegment = format.MaxEntryLen   // the longest segment is one record; bytes
	maxPadding = 2 * format.BucketLen // between two segments, in bytes
)

// scanKeys notes the first and the last key of an intact segment of records.
func (info *CheckpointInfo) scanKeys(data []byte, s *Segment) {
	var last []byte
	for at, n := 0, uint32(0); n < s.Count; n++ {
		e, size, err := format.DecodeEntry(data[at:], info.footer.salt, uint64(s.Offset)+uint64(at))
		if err != nil {
			info.damaged(s.Offset+int64(at), err)
			s.Intact = false
			break
		}
		if info.FirstKey == nil {
			info.FirstKey = bytes.Clone(e.Key)
		}
		last = e.Key
		at += size
	}
	if last != nil {
		info.LastKey = bytes.Clone(last)
	}
}

// recordsIntact reports whether the header and every segment of records verify.
func (info *CheckpointInfo) recordsIntact() bool {
	if !info.complete || info.Position == nil {
		return false
	}
	for i := range info.Segments {
		if s := &info.Segments[i]; s.Kind == segmentKinds[format.SegmentRecords] && !s.Intact {
			return false
		}
	}
	return true
}

// segmentAt is the segment that holds offset; nil if none does.
func (info *CheckpointInfo) segmentAt(offset int64) *Segment {
	for i := range info.Segments {
		if s := &info.Segments[i]; offset >= s.Offset && offset < s.Offset+s.Length {
			return s
		}
	}
	return nil
}

// VersionInfo is what version or newVersion says.
type VersionInfo struct {
	UUID          string `json:"uuid"`
	Generation    uint64 `json:"generation"`
	Previous      uint64 `json:"previous"`
	CheckpointLen uint64 `json:"checkpoint_len"`
	CheckpointSum string `json:"checkpoint_sum"`
	Epoch         uint64 `json:"epoch"`
}

// DumpVersion reads version or newVersion. A damaged one is a *format.CorruptionError.
func DumpVersion(path string) (*VersionInfo, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, format.VersionFileLen+1) // one more, to see a file that is too long
	n, err := f.ReadAt(b, 0)
	if n == 0 && err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	v, err := format.DecodeVersionFile(b[:n])
	if err != nil {
		return nil, &format.CorruptionError{File: baseName(path), Offset: 0, Err: err}
	}
	return &VersionInfo{v.UUID.String(), v.Generation, v.Previous, v.CheckpointLen, hex64(v.CheckpointSum), v.Epoch}, nil
}
