package inspect

import (
	"bytes"
	"slices"

	"github.com/tongpengdl/small-db/format"
)

// remnantCursor walks the intact records of a checkpoint in the order of their keys.
type remnantCursor struct {
	m       *remnant
	segment int   // the next one
	offset  int64 // of data, in bytes
	data    []byte
	at      int64  // in data, of the next record
	base    uint64 // sequence that those of data are relative to

	key, value []byte // of the record it stands on; valid until the next step
	seq        uint64
	expiry     int64
	read       uint64 // records up to it
	done       bool   // there is none
	hole       bool   // something before it, after the record before that, cannot be read:
	from, to   int64
}

// next moves to the next record.
func (c *remnantCursor) next() {
	c.hole = false
	for !c.done {
		if c.at >= int64(len(c.data)) {
			c.load()
			continue
		}
		offset := c.offset + c.at
		e, size, err := format.DecodeEntry(c.data[c.at:], c.m.salt, uint64(offset))
		seq, ok := c.m.sequence(c.base, e.SeqDelta)
		if err == nil && ok && bytes.Compare(e.Key, c.key) > 0 {
			c.at += int64(size)
			c.read++
			c.key, c.value, c.seq, c.expiry = append(c.key[:0], e.Key...), e.Value, seq, e.Expiry
			return
		}
		if aligned := format.Align(offset, 8) - c.offset; c.m.blind && aligned > c.at { // perhaps a segment ends
			c.at = aligned
			continue
		}
		next := c.m.hint(offset, c.offset+int64(len(c.data)))
		c.skip(offset, next)
		c.at = next - c.offset
	}
}

// sequence is that of a record; false if a record cannot have it. If the directory is damaged the number only has to be
// possible: then it is the version of a key that may be wrong, and not its value.
func (m *remnant) sequence(base uint64, delta int64) (uint64, bool) {
	seq, highest := base+uint64(delta), m.position.Seq
	switch {
	case m.position.Epoch == 0: // nothing says where the checkpoint stands
		return seq, seq > 0
	case !m.blind && seq > 0 && seq <= highest:
		return seq, true
	case m.proven:
		return 0, false
	}
	return highest, highest > 0
}

// hint is where the next record may begin after an offset, at the latest at end.
func (m *remnant) hint(offset, end int64) int64 {
	i, _ := slices.BinarySearch(m.hints, uint64(offset)+1)
	if i < len(m.hints) && m.hints[i] < uint64(end) {
		return int64(m.hints[i])
	}
	return end
}

// skip notes a part that cannot be read.
func (c *remnantCursor) skip(from, to int64) {
	if !c.hole {
		c.hole, c.from = true, from
	}
	c.to = max(c.from, to)
}

// load reads the next segment.
func (c *remnantCursor) load() {
	starts := int64(format.CheckpointHeaderLen)
	if c.segment > 0 {
		starts = format.Align(c.offset+int64(len(c.data)), 8)
	}
	if c.segment == len(c.m.segments) {
		c.done = true
		if c.m.end == 0 || c.m.blind || c.m.end > format.Align(starts, format.BucketLen) {
			c.skip(min(starts, c.m.src.size), max(starts, c.m.end))
		}
		return
	}
	s := &c.m.segments[c.segment]
	c.segment++
	if s.Offset < starts { // only a damaged directory says so
		c.skip(s.Offset, starts)
		c.offset, c.data, c.at = starts, nil, 0
		return
	}
	if s.Offset > starts {
		c.skip(starts, s.Offset)
	}
	c.offset, c.at, c.base, c.data = s.Offset, 0, s.BaseSeq, nil
	data, err := c.m.src.tolerant(s.Offset, s.Length)
	if err != nil {
		c.skip(s.Offset, s.Offset+s.Length)
		return
	}
	c.data = data
}
