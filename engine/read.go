package engine

import (
	"errors"
	"runtime"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// AppendGet appends the value of key to dst and returns the longer slice, as append does. ok is
// false if the key is not set, or has expired. It takes no lock, and allocates only if dst must grow, or for a key of more than
// some 200 bytes with a value as long. key may lie in the memory of dst.
func (db *DB) AppendGet(dst, key []byte) (out []byte, ok bool, err error) {
	for due := uint64(0); ; {
		v := db.view.Load()
		if v == nil {
			return dst, false, ErrClosed
		}
		out, seq, ok, err := v.appendGet(dst, key, &db.clock)
		runtime.KeepAlive(v)
		if err != nil { // a fault may have come while the value was being copied
			return dst, false, db.meet(readError(err))
		}
		if ok || seq == due {
			return out, ok, nil
		}
		due = seq // it has expired, unless it was given another deadline between the look at it and the one at the clock
	}
}

// smallRecord is the size of records that are verified on the stack, in bytes: those of most values, and no more than what is
// quickly cleared.
const smallRecord = 256

// appendGet is AppendGet. Of a key that has expired it returns the sequence.
func (v *view) appendGet(dst, key []byte, clock *clock) (out []byte, due uint64, ok bool, err error) {
	defer mmapio.Recover(mmapio.Arm(), &err)
	var small [smallRecord]byte
	rec, out, ok, err := v.fetch(key, small[:0], dst)
	switch {
	case !ok || err != nil:
		return dst, 0, false, err
	case rec.Expiry != 0 && clock.due(rec.Expiry):
		return dst, rec.Seq, false, nil
	}
	if len(out) > len(dst) { // a long value is there
		return out, 0, true, nil
	}
	return append(out, rec.Value...), 0, true, nil
}

// View calls read with the value of key as it lies in the mapped file, without copying it. read must neither change value nor
// keep it, and must not take long: while it runs, the files that it sees cannot be given back. ok is false
// if the key is not set; then read is not called. An error of read is returned as it is.
func (db *DB) View(key []byte, read func(value []byte) error) (ok bool, err error) {
	for due := uint64(0); ; {
		v := db.view.Load()
		if v == nil {
			return false, ErrClosed
		}
		seq, ok, err := v.view(key, read, &db.clock)
		runtime.KeepAlive(v)
		if err != nil {
			return ok, db.meet(readError(err))
		}
		if ok || seq == due { // see AppendGet
			return ok, nil
		}
		due = seq
	}
}

func (v *view) view(key []byte, read func(value []byte) error, clock *clock) (due uint64, ok bool, err error) {
	defer mmapio.Recover(mmapio.Arm(), &err)
	it, ok, err := v.get(key)
	switch {
	case !ok || err != nil:
		return 0, false, err
	case it.deadline != 0 && clock.due(it.deadline):
		return it.seq, false, nil
	}
	return 0, true, read(it.value)
}

// readError gives the place of a fault in mapped bytes as the place of a corruption: for a
// reader it is no different whether bytes are wrong or cannot be read.
func readError(err error) error {
	if err == nil {
		return nil
	}
	var fault *mmapio.FaultError
	if !errors.As(err, &fault) {
		return err
	}
	return &format.CorruptionError{File: fault.File, Offset: fault.Offset, Err: mmapio.ErrFault}
}
