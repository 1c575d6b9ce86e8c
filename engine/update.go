package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tongpengdl/small-db/format"
)

const (
	// maxAttempts is how often Update calls its function at the most.
	maxAttempts = 100
	// conflictPause is the longest pause after the first conflict. It doubles with each, up to pauseSpread times what an attempt
	// takes, and to maxPause: so many that meet at one key spread until they pass one after the other.
	conflictPause = 100 * time.Microsecond
	pauseSpread   = 128
	maxPause      = 100 * time.Millisecond
)

// Update runs fn on a transaction and applies what fn wrote, all of it or none. Transactions are serializable: each
// is as if it had run alone, at the moment of its commit. They are optimistic: no lock is held while fn runs. If a key that fn has
// read is written by somebody else before the commit, fn is run again on the newer state, up to 100 times in all, with growing pauses; then
// Update gives up with ErrConflict, and nothing was written. So fn may run more than once and must have no other effect than
// on tx and on what it sets anew each time. An error of fn is returned as it is, and nothing is written.
//
// fn may read up to 10,000 keys if it writes. The version is that of the last operation or, if fn wrote nothing, that of the state it has read. Other errors are as for
// Apply. tx must not be used after fn has returned.
func (db *DB) Update(ctx context.Context, fn func(tx *Tx) error) (Version, error) {
	var took time.Duration
	for attempt := range maxAttempts {
		if err := pause(ctx, attempt, took); err != nil {
			return Version{}, err
		}
		started := time.Now()
		version, again, err := db.attempt(ctx, fn)
		took = time.Since(started)
		if !again {
			return version, err
		}
	}
	return Version{}, fmt.Errorf("%w: gave up after %d attempts", ErrConflict, maxAttempts)
}

// pause waits before an attempt: not before the first, and longer before each further one, by chance, so that those
// who met in a conflict do not meet again.
func pause(ctx context.Context, attempt int, took time.Duration) error {
	if attempt == 0 {
		return ctx.Err()
	}
	longest := min(maxPause, max(conflictPause, pauseSpread*took), conflictPause<<min(attempt-1, 16))
	timer := time.NewTimer(rand.N(longest))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attempt runs fn once. again says that it met a conflict.
func (db *DB) attempt(ctx context.Context, fn func(tx *Tx) error) (version Version, again bool, err error) {
	tx, err := db.begin()
	if err != nil {
		return Version{}, false, err
	}
	func() {
		defer func() { tx.ended = true }() // if fn panics, too
		err = fn(tx)
	}()
	switch {
	case tx.conflict:
		return Version{}, true, nil
	case err != nil:
		return Version{}, false, err
	case tx.failure != nil: // fn did not look
		return Version{}, false, tx.failure
	case tx.batch.Len() == 0: // all it has read was the state at one moment
		return db.versionOfState(tx.seq), false, nil
	}
	version, err = db.Apply(ctx, &tx.batch)
	return version, errors.Is(err, ErrConditionFailed), err
}

// versionOfState is the version of the state after the operation with this sequence.
func (db *DB) versionOfState(seq uint64) Version { return Version{Epoch: db.epoch.Load(), Seq: seq} }

// Touch gives a key that is set another deadline, and leaves its value; the zero time means none: the key does not expire any
// more. ok is false if the key is not set. Errors are as for SetUntil, and ErrConflict as for Update.
func (db *DB) Touch(ctx context.Context, key []byte, deadline time.Time) (ok bool, err error) {
	_, err = db.Update(ctx, func(tx *Tx) error {
		value, set, err := tx.Get(key)
		if ok = set; set {
			tx.SetUntil(key, value, deadline)
		}
		return err
	})
	return ok && err == nil, err
}

// Tx is a transaction of Update. One goroutine uses it, while the function runs that it was handed to.
type Tx struct {
	db      *DB
	view    *view
	seq     uint64 // of the state that it reads
	time    int64  // engine time that it reads at
	batch   Batch
	read    map[string]bool // keys that it has read from the state: each is a condition of batch
	written map[string]int  // keys that it has written: their operations in batch

	conflict bool  // something that it was asked for is newer than the state it reads
	failure  error // the first error of a read
	ended    bool
}

func (db *DB) begin() (*Tx, error) {
	var s Snapshot
	if !db.present(&s) {
		return nil, ErrClosed
	}
	return &Tx{db: db, view: s.view, seq: s.seq, time: s.time}, nil
}

var (
	errEnded = errors.New("the transaction has ended")
	errNewer = fmt.Errorf("%w: the function will be run again", ErrConflict)
)

// Get returns a copy of the value of key, with what the transaction itself has written. ok is false if the key is not set. Errors are as
// for DB.Get; after ErrConflict, which means that the key is newer than the state that the transaction reads, the function should
// return, to be run again.
func (tx *Tx) Get(key []byte) (value []byte, ok bool, err error) {
	e, ok, err := tx.Entry(key)
	return e.Value, ok, err
}

// Entry returns a copy of all there is to know of a key. The version of what the transaction itself has written is not known
// yet: it is zero.
func (tx *Tx) Entry(key []byte) (e Entry, ok bool, err error) {
	switch {
	case tx.ended:
		return Entry{}, false, errEnded
	case checkKey(key) != nil: // no such key can be set
		return Entry{}, false, nil
	}
	if i, own := tx.written[string(key)]; own {
		o := &tx.batch.ops[i]
		if o.kind == format.KindDelete || dueAt(o.expiry, tx.time) {
			return Entry{}, false, nil
		}
		return Entry{Key: bytes.Clone(o.key), Value: bytes.Clone(o.value), Deadline: timeOf(o.expiry)}, true, nil
	}
	rec, ok, err := tx.view.entry(key)
	if err != nil {
		return Entry{}, false, tx.fail(tx.db.meet(readError(err)))
	}
	if rec.Seq > tx.seq { // set or deleted since
		tx.conflict = true
		return Entry{}, false, errNewer
	}
	ok = ok && !dueAt(rec.Expiry, tx.time)
	tx.depend(key, rec.Seq, ok)
	if !ok {
		return Entry{}, false, nil
	}
	return tx.db.entry(&rec), true, nil
}

// depend makes what was read of a key a condition of the commit.
func (tx *Tx) depend(key []byte, seq uint64, set bool) {
	if tx.read[string(key)] {
		return
	}
	if tx.read == nil {
		tx.read = make(map[string]bool)
	}
	tx.read[string(key)] = true
	if set {
		tx.batch.IfVersion(key, tx.db.versionOf(seq))
	} else {
		tx.batch.IfAbsent(key)
	}
}

// fail notes the first error of a read: a transaction that could not read is not committed.
func (tx *Tx) fail(err error) error {
	if tx.failure == nil {
		tx.failure = err
	}
	return err
}

// Set sets key to value, without a deadline, when the transaction is committed. Both are copied.
func (tx *Tx) Set(key, value []byte) {
	tx.write(key)
	tx.batch.Set(key, value)
}

// SetUntil sets key to value until a deadline, when the transaction is committed; the zero time means none. key and value are copied.
func (tx *Tx) SetUntil(key, value []byte, deadline time.Time) {
	tx.write(key)
	tx.batch.SetUntil(key, value, deadline)
}

// Delete deletes key when the transaction is committed.
func (tx *Tx) Delete(key []byte) {
	tx.write(key)
	tx.batch.Delete(key)
}

// write notes that the next operation of the batch is one of key.
func (tx *Tx) write(key []byte) {
	if tx.written == nil {
		tx.written = make(map[string]int)
	}
	tx.written[string(key)] = tx.batch.Len()
}
