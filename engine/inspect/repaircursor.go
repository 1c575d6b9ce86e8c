package inspect

import (
	"bytes"
	"errors"
	"slices"

	"github.com/tongpengdl/small-db/format"
)

// remnantCursor walks the intact records of a checkpoint in the order of their keys. It holds a segment in memory, or pieces of
// one that is longer than any can be.
type remnantCursor struct {
	m       *remnant
	segment int    // the next one
	at, end int64  // of the next record, and of the segment; in bytes of the file
	base    uint64 // sequence that those of the segment are relative to

	data   []byte // bytes of the file
	dataAt int64  // where they begin

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
		if c.at >= c.end {
			c.load()
			continue
		}
		e, size, err := c.decode()
		seq, ok := c.m.sequence(c.base, e.SeqDelta)
		if err == nil && ok && bytes.Compare(e.Key, c.key) > 0 {
			c.at += int64(size)
			c.read++
			c.key, c.value, c.seq, c.expiry = append(c.key[:0], e.Key...), e.Value, seq, e.Expiry
			return
		}
		if aligned := format.Align(c.at, 8); c.m.blind && aligned > c.at { // perhaps a segment ends
			c.at = aligned
			continue
		}
		next := c.m.hint(c.at, c.end)
		c.skip(c.at, next)
		c.at = next
	}
}

// decode reads the record at c.at, with as much of what follows as it takes.
func (c *remnantCursor) decode() (e format.Entry, size int, err error) {
	for _, least := range []int64{1, pieceLen, format.MaxEntryLen} {
		n := min(least, c.end-c.at)
		if have := c.dataAt + int64(len(c.data)) - c.at; c.at < c.dataAt || have < n {
			if err := c.fetch(n); err != nil {
				return e, 0, err
			}
		}
		b := c.data[c.at-c.dataAt:]
		e, size, err = format.DecodeEntry(b, c.m.salt, uint64(c.at))
		if err == nil || !errors.Is(err, format.ErrLength) || int64(len(b)) == c.end-c.at {
			break
		}
	}
	return e, size, err
}

// fetch reads n bytes or more from c.at on: the rest of the segment, if it is no longer than one can be.
func (c *remnantCursor) fetch(n int64) error {
	if rest := c.end - c.at; rest <= maxSegment {
		n = rest
	} else {
		n = min(rest, max(n, pieceLen))
	}
	data, err := c.m.src.tolerant(c.at, n)
	c.data, c.dataAt = data, c.at
	return err
}

// sequence is that of a record; false if a record cannot have it. If the directory is damaged the number only has to be
// possible: then it is the version of a key that may be wrong, and not its value, and nobody is told it.
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

// load goes to the next segment.
func (c *remnantCursor) load() {
	ends := max(c.end, format.CheckpointHeaderLen)
	starts := format.Align(ends, 8)
	if c.segment == len(c.m.segments) {
		c.done = true
		if c.m.end == 0 || c.m.blind || c.m.end > format.Align(starts, format.BucketLen) || c.m.holdsBytes(ends) {
			c.skip(min(ends, c.m.src.size), max(ends, c.m.end))
		}
		return
	}
	s := &c.m.segments[c.segment]
	c.segment++
	if s.Offset < starts { // only a damaged directory says so
		c.skip(s.Offset, starts)
		c.at, c.end = starts, starts
		return
	}
	if s.Offset > starts {
		c.skip(starts, s.Offset)
	}
	c.at, c.end, c.base = s.Offset, s.Offset+s.Length, s.BaseSeq
}

// holdsBytes reports whether there may be a record between the last segment of records and the first bucket: a length may be
// damaged, and a record as short as what aligns a bucket.
func (m *remnant) holdsBytes(ends int64) bool {
	if m.versioned() || ends >= m.end {
		return false
	}
	b, err := m.src.bytes(ends, m.end-ends)
	return err != nil || len(bytes.Trim(b, "\x00")) > 0
}
