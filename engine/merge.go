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

	recordBuf, entryBuf, last []byte // copies of the records that the two stand on
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
	changed, err := m.changed()
	if err != nil {
		return err
	}
	cursor := m.base.Cursor()
	old, more, err := cursor.Next()
	var new format.Record // changed[0], copied and verified; its key decides
	if err == nil {
		new, err = m.next(changed, nil)
	}
	for n := 0; err == nil && (more || len(changed) > 0); n++ {
		if n%interruptStride == 0 {
			if err := m.interrupted(); err != nil {
				return err
			}
		}
		order := -1 // of the base's record to the delta's
		if len(changed) > 0 {
			order = 1
			if more {
				order = bytes.Compare(old.Key, new.Key)
			}
		}
		if order < 0 {
			if err := m.addOld(b, cursor); err != nil {
				return err
			}
		} else {
			if new.Kind == format.KindSet {
				if err := b.Add(ckpt.Record{Seq: new.Seq, Expiry: new.Expiry, Key: new.Key, Value: new.Value}); err != nil {
					return err
				}
			}
			changed = changed[1:]
			if new, err = m.next(changed, append(m.last[:0], new.Key...)); err != nil {
				return err
			}
		}
		if order <= 0 {
			old, more, err = cursor.Next()
		}
	}
	return err
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

// next copies and verifies the first of the changed records. Its key must lie above last: the order that they are in was made
// from bytes that nobody had verified.
func (m *merge) next(changed []change, last []byte) (rec format.Record, err error) {
	m.last = last
	if len(changed) == 0 {
		return rec, nil
	}
	if rec, m.recordBuf, err = m.frozen.copy(changed[0].place, m.recordBuf); err != nil {
		return rec, err
	}
	if bytes.Compare(rec.Key, last) <= 0 {
		return rec, fmt.Errorf("changed keys: %w: %.40q follows %.40q", ckpt.ErrOrder, rec.Key, last)
	}
	return rec, nil
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
