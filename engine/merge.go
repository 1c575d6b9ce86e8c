package engine

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// merge is the state of a base and a frozen delta together, in key order: what the next checkpoint
// is built from.
type merge struct {
	base        *ckpt.Reader
	frozen      *delta
	keys        uint64       // how many keys to expect
	interrupted func() error // says why to give up; asked now and then

	changes   []change      // of the frozen delta, in key order; those that were added are gone
	head      format.Record // of changes[0], copied and verified: its key decides
	recordBuf []byte        // what head points into
	entryBuf  []byte        // a copy of the base's record
	lastKey   []byte        // of the change before head
}

// stop is interrupted; nil for an empty source.
func (m *merge) stop() func() error {
	if m == nil {
		return nil
	}
	return m.interrupted
}

// interruptStride is after how many records merge asks whether to give up.
const interruptStride = 1024

// run adds all records to a checkpoint. Each is copied out of the mapping first and then verified in the
// copy, so that what is written is what was verified.
func (m *merge) run(b *ckpt.Builder) (err error) {
	defer runtime.KeepAlive(m)
	defer mmapio.Recover(mmapio.Arm(), &err)
	if m.changes, err = m.changed(); err != nil {
		return err
	}
	if err := m.readHead(nil); err != nil {
		return err
	}
	cursor := m.base.Cursor()
	old, more, err := cursor.Next()
	for n := 0; err == nil && (more || len(m.changes) > 0); n++ {
		if n%interruptStride == 0 {
			if err := m.interrupted(); err != nil {
				return err
			}
		}
		order := m.order(old.Key, more)
		if order < 0 {
			err = m.addOld(b, cursor)
		} else {
			err = m.addHead(b)
		}
		if err == nil && order <= 0 {
			old, more, err = cursor.Next()
		}
	}
	return err
}

// order compares the base's next key, if there are more, with the delta's.
func (m *merge) order(old []byte, more bool) int {
	switch {
	case len(m.changes) == 0:
		return -1
	case !more:
		return 1
	}
	return bytes.Compare(old, m.head.Key)
}

// addOld adds the record of the base that the cursor stands on.
func (m *merge) addOld(b *ckpt.Builder, cursor *ckpt.Cursor) (err error) {
	var rec ckpt.Record
	rec, m.entryBuf, err = cursor.Copy(m.entryBuf)
	if err != nil {
		return err
	}
	return b.Add(rec)
}

// addHead adds the delta's next record, unless it is a delete, and goes on to the one after it.
func (m *merge) addHead(b *ckpt.Builder) error {
	if h := &m.head; h.Kind == format.KindSet {
		if err := b.Add(ckpt.Record{Seq: h.Seq, Expiry: h.Expiry, Key: h.Key, Value: h.Value}); err != nil {
			return err
		}
	}
	m.lastKey = append(m.lastKey[:0], m.head.Key...)
	m.changes = m.changes[1:]
	return m.readHead(m.lastKey)
}

// readHead copies and verifies the first of the changes. Its key must lie above last: the order that they are in
// was made from bytes that nobody had verified.
func (m *merge) readHead(last []byte) (err error) {
	if len(m.changes) == 0 {
		return nil
	}
	if m.head, m.recordBuf, err = m.frozen.copy(m.changes[0].place, m.recordBuf); err != nil {
		return err
	}
	if bytes.Compare(m.head.Key, last) <= 0 {
		return fmt.Errorf("changed keys: %w: %.40q follows %.40q", ckpt.ErrOrder, m.head.Key, last)
	}
	return nil
}

// change is a key of the frozen delta on its way into key order.
type change struct {
	prefix uint64 // the first 8 bytes of the key, big-endian: decides most comparisons without reading a record
	place  int64
}

// changed returns the keys of the frozen delta in order.
func (m *merge) changed() ([]change, error) {
	changes := make([]change, 0, m.frozen.table.entries.Load())
	m.frozen.table.places(func(place int64) {
		changes = append(changes, change{keyPrefix(m.frozen.key(place)), place})
	})
	if err := m.interrupted(); err != nil {
		return nil, err
	}
	slices.SortFunc(changes, func(a, b change) int {
		if a.prefix != b.prefix {
			return cmp.Compare(a.prefix, b.prefix)
		}
		return bytes.Compare(m.frozen.key(a.place), m.frozen.key(b.place))
	})
	return changes, nil
}

// keyPrefix is the first 8 bytes of a key as a number that compares as they do.
func keyPrefix(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}
