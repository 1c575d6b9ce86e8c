package ckpt

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/tongpengdl/small-db/format"
)

// Cursor walks the records of a checkpoint in the order of their keys. It stands on a
// record, before the first (as a new one does) or after the last. Each method moves it and
// returns the record it then stands on; false means that there is none. After an error
// only First, Last and the Seeks have a defined result. One goroutine uses it.
//
// The record is a copy in a buffer of the cursor, valid until the next move, and it is the copy that was verified: it is right even if
// the mapped bytes change meanwhile, as they do when a page is evicted and read again from a bad disk. Steps allocate nothing once the buffer
// has the size of the largest record, apart from another buffer that the first Prev makes.
type Cursor struct {
	r     *Reader
	place place
	at    uint64 // offset of the record it stands on
	next  uint64 // offset after that
	span  int    // that the record lies in

	record Record // it stands on; it lies in buf
	buf    []byte

	// run holds the offsets of records that entry of the ordered index leads to, for
	// going back: records can only be read forwards. The record it stands on is run[i]; i is -1 if that is not known.
	run   []uint64
	entry uint64
	i     int
}

// place is where a Cursor stands.
type place uint8

const (
	beforeFirst place = iota
	onRecord
	afterLast
)

// Cursor returns a new cursor, which stands before the first record.
func (r *Reader) Cursor() *Cursor { return &Cursor{r: r, i: -1} }

// First moves to the record with the smallest key.
func (c *Cursor) First() (Record, bool, error) { return c.enter(0) }

// Last moves to the record with the greatest key.
func (c *Cursor) Last() (Record, bool, error) {
	if c.r.entries() == 0 {
		return c.leave(beforeFirst)
	}
	return c.lastOf(c.r.entries() - 1)
}

// SeekGE moves to the first record whose key is not less than key.
func (c *Cursor) SeekGE(key []byte) (Record, bool, error) {
	n, err := c.countBelow(key)
	if err != nil {
		return Record{}, false, err
	}
	if n == 0 {
		return c.First()
	}
	offset, err := c.r.indexed(n - 1)
	if err != nil {
		return Record{}, false, err
	}
	c.i = -1
	record, ok, err := c.stand(offset, c.r.spanOf(offset))
	for ok && err == nil && bytes.Compare(record.Key, key) < 0 {
		record, ok, err = c.Next()
	}
	return record, ok, err
}

// SeekLT moves to the last record whose key is less than key.
func (c *Cursor) SeekLT(key []byte) (Record, bool, error) {
	n, err := c.countBelow(key)
	if err != nil {
		return Record{}, false, err
	}
	if n == 0 {
		return c.leave(beforeFirst)
	}
	record, ok, err := c.lastOf(n - 1)
	for ok && err == nil && bytes.Compare(record.Key, key) >= 0 {
		record, ok, err = c.Prev()
	}
	return record, ok, err
}

// countBelow counts the entries of the ordered index whose keys are less than key.
func (c *Cursor) countBelow(key []byte) (uint64, error) {
	return c.r.ordered().count(func(offset uint64) (bool, error) {
		record, buf, err := c.r.copyRecord(offset, c.r.spanOf(offset), c.buf)
		c.buf = buf
		return bytes.Compare(record.Key, key) < 0, err
	})
}

// Next moves to the record with the next greater key; from before the first record to the first.
func (c *Cursor) Next() (Record, bool, error) {
	switch {
	case c.place == beforeFirst:
		return c.First()
	case c.place == afterLast:
		return Record{}, false, nil
	case c.next == c.r.spans[c.span].end:
		return c.enter(c.span + 1)
	}
	if c.i++; c.i == 0 || c.i == len(c.run) {
		c.i = -1
	}
	return c.stand(c.next, c.span)
}

// Prev moves to the record with the next smaller key; from after the last record to the last.
func (c *Cursor) Prev() (Record, bool, error) {
	switch c.place {
	case beforeFirst:
		return Record{}, false, nil
	case afterLast:
		return c.Last()
	}
	if c.i < 0 {
		if err := c.findRun(); err != nil {
			return Record{}, false, err
		}
	}
	if c.i > 0 {
		c.i--
		return c.stand(c.run[c.i], c.span)
	}
	if c.entry == 0 {
		return c.leave(beforeFirst)
	}
	return c.lastOf(c.entry - 1)
}

// enter moves to the first record of the span with this index, or past the last record if there is none.
func (c *Cursor) enter(span int) (Record, bool, error) {
	if span == len(c.r.spans) {
		return c.leave(afterLast)
	}
	c.i = -1
	return c.stand(c.r.spans[span].start, span)
}

// lastOf moves to the last record that entry of the ordered index leads to.
func (c *Cursor) lastOf(entry uint64) (Record, bool, error) {
	if err := c.loadRun(entry); err != nil {
		return Record{}, false, err
	}
	c.i = len(c.run) - 1
	return c.stand(c.run[c.i], c.r.spanOf(c.run[c.i]))
}

func (c *Cursor) leave(p place) (Record, bool, error) {
	c.place, c.i = p, -1
	return Record{}, false, nil
}

// stand reads the record at offset in the span with this index and stands on it.
func (c *Cursor) stand(offset uint64, span int) (Record, bool, error) {
	record, buf, err := c.r.copyRecord(offset, span, c.buf)
	c.buf = buf
	if err != nil {
		return Record{}, false, err
	}
	c.place, c.at, c.next, c.span, c.record = onRecord, offset, offset+uint64(len(buf)), span, record
	return record, true, nil
}

// Take returns the record that the cursor stands on, as it must, and the memory that it lies in, which is the caller's from now on. The
// cursor goes on with buf instead, which may be nil.
func (c *Cursor) Take(buf []byte) (Record, []byte) {
	taken := c.buf
	c.buf = buf[:0]
	return c.record, taken
}

// findRun loads the run that holds the record it stands on.
func (c *Cursor) findRun() error {
	n, err := c.r.countUpTo(c.at)
	if err != nil {
		return err
	}
	if n > 0 {
		if err := c.loadRun(n - 1); err != nil {
			return err
		}
		if i, ok := slices.BinarySearch(c.run, c.at); ok {
			c.i = i
			return nil
		}
	}
	return corrupt(c.r.name, c.at, fmt.Errorf("ordered index: %w: it does not lead to this record", format.ErrField))
}

// loadRun loads the run of an entry, which is never empty.
func (c *Cursor) loadRun(entry uint64) (err error) {
	c.i = -1
	c.run, err = c.r.run(c.run[:0], entry)
	if err == nil && len(c.run) == 0 {
		err = corrupt(c.r.name, c.r.outline.footer.OrderedAt, fmt.Errorf("ordered index: %w: entry %d leads nowhere", format.ErrField, entry))
	}
	c.entry = entry
	return err
}
