package inspect

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/tongpengdl/small-db/format"
)

// remnant is a checkpoint of which something is saved.
type remnant struct {
	name     string
	src      *source
	salt     uint64
	position format.Position
	proven   bool // the segment directory is: what segments say of sequences, and that there are no others, can be relied on
	blind    bool // there is no directory: records are read one after the other from the first on, and their sequences are not known
	segments []Segment
	end      int64    // where the records end at the latest, in bytes; 0 if that is not known
	hints    []uint64 // where records begin, rising: to go on behind damage
	epochs   []format.EpochStart

	verified bool // all of it is intact
	records  uint64
	holes    []Hole
	unplaced bool // its position is at least the one given
	needed   bool // it holds what no log and no other checkpoint does
}

// complete reports whether every record can be read.
func (m *remnant) complete() bool { return len(m.holes) == 0 }

// versioned reports whether the sequences of its records are proven.
func (m *remnant) versioned() bool { return m.verified || m.proven }

// whole reports whether every record can be read, and with its sequence.
func (m *remnant) whole() bool { return m.complete() && m.versioned() }

// examine finds out what of a checkpoint can be saved, if it belongs here.
func (r *Repair) examine(p *checkpoint) error {
	src, closeIt := r.c.open(p.name, p.size, aboutCheckpoint, p.generation)
	if src == nil {
		return r.ctx.Err()
	}
	r.closers = append(r.closers, closeIt)
	src.count = nil
	m := &remnant{name: p.name, src: src, verified: p.reader != nil}
	if err := m.read(r.c, p.generation); err != nil {
		if r.ctx.Err() == nil {
			r.refuse(p.name, err.Error())
		}
		return r.ctx.Err()
	}
	if m.verified {
		m.records, m.epochs = p.reader.Footer().Records, p.reader.Epochs()
	} else if err := m.survey(); err != nil {
		return err
	}
	r.remnants = append(r.remnants, m)
	return nil
}

// read reads the ends of a checkpoint. The error says why nothing of it is saved.
func (m *remnant) read(c *checker, generation uint64) error {
	page, err := m.src.bytes(0, min(m.src.size, format.CheckpointHeaderLen))
	if err != nil {
		return err
	}
	if len(page) < format.CheckpointHeaderLen {
		return fmt.Errorf("checkpoint: %w: %d bytes", format.ErrLength, len(page))
	}
	header, headerErr := decodeHeader(page)
	uuid := format.UUID(page[checkpointUUIDAt : checkpointUUIDAt+len(format.UUID{})])
	m.salt = binary.LittleEndian.Uint64(page[checkpointSaltAt:])
	info := &CheckpointInfo{Name: m.name, Size: m.src.size}
	footer := m.src.size >= format.CheckpointHeaderLen+format.FooterLen && info.scanFooter(m.src, m.salt)
	named, other := false, false
	if v := c.pointer; footer && v != nil && !c.rebuilt && v.Generation == generation {
		sum, err := m.src.bytes(m.src.size-format.SumLen, format.SumLen)
		named = err == nil && v.CheckpointSum == binary.LittleEndian.Uint64(sum) && v.CheckpointLen == uint64(m.src.size)
		other = !named
	}
	switch {
	case headerErr == nil && uuid != c.uuid:
		return fmt.Errorf("it belongs to database %v, not to %v", uuid, c.uuid)
	case headerErr != nil && uuid != c.uuid && !named:
		return fmt.Errorf("nothing intact says that it belongs to database %v: %w", c.uuid, headerErr)
	case headerErr == nil && header.Generation != generation:
		return fmt.Errorf("it is %s", format.CheckpointName(header.Generation))
	case other:
		return errors.New("it is not the checkpoint that the version file names")
	}
	m.position = header.Position
	if err := m.place(c.logs[generation], c.uuid, headerErr == nil, named); err != nil {
		return err
	}
	if headerErr != nil && m.position.Epoch == 0 {
		m.position = c.startOf(c.logs[generation])
	}
	m.readDirectory(info, footer)
	if m.position.Epoch == 0 && m.blind {
		return fmt.Errorf("neither its header nor its directory can be read: %w", headerErr)
	}
	return nil
}

// decodeHeader is format.DecodeCheckpointHeader, but lets damage pass that is only in bytes that are always zero: with zeros there, the checksum proves
// all the others.
func decodeHeader(page []byte) (format.CheckpointHeader, error) {
	h, err := format.DecodeCheckpointHeader(page)
	if err == nil {
		return h, nil
	}
	zeroed := bytes.Clone(page)
	clear(zeroed[checkpointZerosAt : format.CheckpointHeaderLen-format.SumLen])
	if h, zeroedErr := format.DecodeCheckpointHeader(zeroed); zeroedErr == nil {
		return h, nil
	}
	return h, err
}

// checkpointZerosAt is where the header of a checkpoint has nothing but zeros up to its checksum, in bytes.
const checkpointZerosAt = 88

// checkpointUUIDAt is where a checkpoint's header has the UUID, in bytes.
const checkpointUUIDAt = 16

// place holds the position of a checkpoint against the log that goes on from it, or takes it from there if the header is damaged.
func (m *remnant) place(l *log, uuid format.UUID, headed, named bool) error {
	if l == nil || l.beforeErr != nil || !l.identified() || l.id.UUID != uuid || l.id.Generation != l.generation {
		return nil
	}
	starts := m.position
	starts.Epoch = max(starts.Epoch, l.before.Position.Epoch)
	switch {
	case !headed:
		m.position = l.before.Position
	case starts == l.before.Position:
	case named:
		l.stranger = true
	default:
		return fmt.Errorf("it stands at %v, but %s continues %v", m.position, l.name, l.before.Position)
	}
	return nil
}

// startOf is where a log starts by its first frame, for want of anything better; the zero value if nothing says so.
func (c *checker) startOf(l *log) (at format.Position) {
	if l == nil || !l.identified() || l.id.UUID != c.uuid || l.id.Generation != l.generation {
		return at
	}
	src, closeIt := c.open(l.name, l.size, aboutLog, l.generation)
	if src == nil {
		return at
	}
	defer closeIt()
	src.count = nil
	if h, err := newWalker(src, &l.id).header(format.LogHeaderSize); err == nil {
		at = format.Position{Epoch: h.Epoch, Seq: h.FirstSeq - 1, Index: h.Index - 1}
	}
	return at
}

// readDirectory finds the segments. A damaged directory is followed as far as its entries make sense: what they lead to has checksums of its own.
// Of one that is verified, only the segments of records are needed.
func (m *remnant) readDirectory(info *CheckpointInfo, footer bool) {
	if !footer {
		info.footer = &footerRaw{salt: m.salt}
		if !info.findDirectory(m.src) {
			m.blind = true
			m.segments = []Segment{{Kind: segmentKinds[format.SegmentRecords], Offset: format.CheckpointHeaderLen, Length: m.src.size - format.CheckpointHeaderLen}}
			return
		}
	}
	info.scanDirectory(m.src)
	m.proven = footer && info.complete
	if footer {
		m.end = int64(info.footer.BucketsAt)
	}
	for i := range info.Segments {
		if m.src.ctx.Err() != nil {
			return
		}
		m.useSegment(&info.Segments[i], info.sums[i])
	}
	slices.Sort(m.hints)
}

// useSegment takes what a segment is good for. What the directory says of its kind may be damaged: where records end, a bucket proves.
func (m *remnant) useSegment(s *Segment, sum uint64) {
	switch kind := s.Kind; {
	case kind == segmentKinds[format.SegmentRecords]:
		m.segments = append(m.segments, *s)
	case kind == segmentKinds[format.SegmentBuckets]:
		if m.end == 0 && m.isBucket(s.Offset) {
			m.end = s.Offset
		}
		if !m.verified {
			m.addHints(s)
		}
	case kind == segmentKinds[format.SegmentEpochs] && !m.verified && s.Length <= maxSegment:
		data, err := m.src.bytes(s.Offset, s.Length)
		if err == nil && format.Sum(data, m.salt, uint64(s.Offset)) == sum {
			m.epochs, _ = format.DecodeEpochs(data) // nil if it is damaged
		}
	}
}

// isBucket reports whether an intact bucket lies at an offset.
func (m *remnant) isBucket(offset int64) bool {
	b, err := m.src.bytes(offset, format.BucketLen)
	return err == nil && format.CheckBucket(b, m.salt, uint64(offset)) == nil
}

// findDirectory finds the directory of a checkpoint whose footer is damaged: it ends where the footer begins, and begins where the segment ends
// that its last entry names.
func (info *CheckpointInfo) findDirectory(src *source) bool {
	end := src.size - format.FooterLen
	if end < format.CheckpointHeaderLen+format.SegmentEntryLen {
		return false
	}
	b, err := src.bytes(end-format.SegmentEntryLen, format.SegmentEntryLen)
	if err != nil {
		return false
	}
	last, err := format.DecodeSegment(b, uint64(end))
	if err != nil || last.Kind != format.SegmentEpochs {
		return false
	}
	at := format.Align(int64(last.Offset+last.Length), 8)
	if at >= end || (end-at)%format.SegmentEntryLen != 0 {
		return false
	}
	f := info.footer
	f.Directory, f.Footer.Segments = uint64(at), uint64(end-at)/format.SegmentEntryLen
	return true
}

// pieceLen is how much of a long range is read at a time, in bytes.
const pieceLen = format.SegmentSize

// addHints takes the offsets of records from a segment of buckets, as far as the buckets are intact.
func (m *remnant) addHints(s *Segment) {
	for at := int64(0); at < s.Length; at += pieceLen {
		data, err := m.src.tolerant(s.Offset+at, min(pieceLen, s.Length-at))
		if err != nil {
			return
		}
		for i := 0; i+format.BucketLen <= len(data); i += format.BucketLen {
			bucket, err := format.DecodeBucket(data[i:], m.salt, uint64(s.Offset+at)+uint64(i))
			if err != nil {
				continue
			}
			for _, slot := range bucket {
				if slot != 0 {
					m.hints = append(m.hints, slot.Offset())
				}
			}
		}
	}
}

// survey reads all records once, and notes where there are none.
func (m *remnant) survey() error {
	unplaced := m.position.Epoch == 0
	var highest uint64
	var after []byte
	c := &remnantCursor{m: m}
	for {
		c.next()
		if err := m.src.ctx.Err(); err != nil {
			return err
		}
		if c.hole {
			h := Hole{File: m.name, Offset: c.from, Bytes: c.to - c.from, After: after}
			if !c.done {
				h.Before = bytes.Clone(c.key)
			}
			m.holes = append(m.holes, h)
		}
		if c.done {
			break
		}
		m.records++
		highest = max(highest, c.seq)
		after = bytes.Clone(c.key)
	}
	if unplaced { // it is at least that
		m.unplaced = true
		m.position = format.Position{Epoch: 1, Seq: highest}
	}
	m.position.Epoch = max(1, m.position.Epoch)
	return nil
}

// tolerant is bytes, but leaves zeros where single blocks cannot be read.
func (s *source) tolerant(off, n int64) ([]byte, error) {
	b, err := s.bytes(off, n)
	var disk *readError
	if !errors.As(err, &disk) {
		return b, err
	}
	out := make([]byte, n)
	for at := int64(0); at < n; {
		size := min(n-at, format.BlockSize-(off+at)%format.BlockSize)
		if part := out[at : at+size]; s.ctx.Err() == nil {
			if got, _ := s.ReadAt(part, off+at); int64(got) < size {
				clear(part)
			}
		}
		at += size
	}
	return out, s.ctx.Err()
}
