package engine

import (
	"fmt"
	"math"
	"time"

	"github.com/tongpengdl/small-db/ckpt"
)

// Entry is a key that is set, with all there is to know of it.
type Entry struct {
	Key, Value []byte
	Version    Version   // of the operation that set it; the token for Batch.IfVersion
	Deadline   time.Time // when it expires; the zero time if it does not
}

// Entry returns a copy of all there is to know of a key. ok is false if the key is not set. Errors are as for Get.
func (db *DB) Entry(key []byte) (e Entry, ok bool, err error) {
	for due := uint64(0); ; {
		v := db.view.Load()
		if v == nil {
			return Entry{}, false, ErrClosed
		}
		rec, ok, err := v.entry(key)
		switch {
		case err != nil:
			return Entry{}, false, db.meet(readError(err))
		case !ok:
			return Entry{}, false, nil
		case !db.clock.due(rec.Expiry):
			return db.entry(&rec), true, nil
		case rec.Seq == due: // see AppendGet
			return Entry{}, false, nil
		}
		due = rec.Seq
	}
}

// entry is a record that lies in memory of its own as an entry.
func (db *DB) entry(rec *ckpt.Record) Entry {
	return Entry{Key: rec.Key, Value: rec.Value, Version: db.versionOf(rec.Seq), Deadline: timeOf(rec.Expiry)}
}

// versionOf is the version of the operation with this sequence. The list of epochs does not change while the database is open.
func (db *DB) versionOf(seq uint64) Version {
	for i := len(db.epochs) - 1; i >= 0; i-- { // mostly one of the last
		if e := db.epochs[i]; e.FirstSeq <= seq {
			return Version{Epoch: e.Epoch, Seq: seq}
		}
	}
	return Version{Seq: seq}
}

// deadlineOf is a deadline as records have it: ns since the Unix epoch, 0 for none.
func deadlineOf(t time.Time) (int64, error) {
	if t.IsZero() {
		return 0, nil
	}
	if t.Before(firstDeadline) || t.After(lastDeadline) {
		return 0, fmt.Errorf("%w: %s is not between %s and %s", ErrDeadline, t, firstDeadline, lastDeadline)
	}
	return max(1, t.UnixNano()), nil
}

var (
	firstDeadline = time.Unix(0, 0).UTC()
	lastDeadline  = time.Unix(0, math.MaxInt64).UTC()
)

// timeOf is a deadline of a record as a time.
func timeOf(deadline int64) time.Time {
	if deadline == 0 {
		return time.Time{}
	}
	return time.Unix(0, deadline).UTC()
}
