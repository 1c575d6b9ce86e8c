package engine

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// DB is an open database. All methods may be called concurrently, with each other and with Close.
type DB struct {
	opts     Options
	dir      mmapio.Dir
	logger   *slog.Logger
	uuid     format.UUID
	seed     maphash.Seed // of the tables of all deltas
	clock    clock
	recovery Recovery
	recorded int64 // engine time that the files had recorded then

	view     atomic.Pointer[view] // nil once closed
	pipeline *pipeline
	spares   *spares

	// These belong to the holder of the pipeline.
	live       *liveLog            // nil until the first write after a clean open
	mustRotate bool                // a rotation has failed midway: nothing may be written to live any more
	tail       format.Predecessor  // what the next log says of the newest one; End, Position and Commit count only without live
	epochs     []format.EpochStart // constant while open
	changes    []change            // the records of the group that is being committed

	applied    atomic.Uint64 // sequence of the last operation applied
	epoch      atomic.Uint64 // of new operations; constant while open
	operations atomic.Uint64
	groups     atomic.Uint64
	logged     atomic.Int64  // record bytes since the last checkpoint began
	updates    atomic.Uint64 // operations since the last checkpoint began
	refused    atomic.Bool   // a set was refused for want of memory since the last checkpoint began
	failure    atomic.Pointer[error]
	damage     damages       // of what the state is read from
	repairs    atomic.Uint64 // times that damage was repaired
	// kept is the generation of the checkpoint before the base, or of the base: files before it no state needs, and logs
	// before it may be rewritten. It is stored before that.
	kept atomic.Uint64

	checkpointer *checkpointer
	scrubber     *scrubber
	warmer       warmer
	counting     sync.Mutex            // one counts keys at a time, so that time rises
	final        atomic.Pointer[usage] // when it was closed

	closing   sync.Once
	closeErr  error
	closeDone chan struct{}
}

// Get returns a copy of the value of key. ok is false if the key is not set. A value that cannot be
// read unharmed is never returned: the error is ErrCorrupt, and names the place.
func (db *DB) Get(key []byte) (value []byte, ok bool, err error) { return db.AppendGet(nil, key) }

// Version returns the version of the state that reads see now, or a later one.
func (db *DB) Version() Version {
	return Version{Epoch: db.epoch.Load(), Seq: db.applied.Load()}
}

// Stats returns how the database is doing. It is cheap, and works after Close.
func (db *DB) Stats() Stats {
	s := Stats{
		Version:    db.Version(),
		Operations: db.operations.Load(),
		Groups:     db.groups.Load(),
		LogBytes:   uint64(db.logged.Load()),
		Failure:    db.failed(),
		Damage:     db.damage.first(),
		Warm:       !db.warmer.cold.Load(),
		Recovery:   db.recovery,
	}
	u := db.usage()
	s.Keys, s.MemoryBytes = u.keys, u.memory
	s.Repairs = db.repairs.Load()
	s.Scrub = db.scrubber.last()
	db.checkpointer.report(&s)
	return s
}

// usage is how large the state is.
type usage struct{ keys, memory uint64 }

// usage is how large the state is, or was when the database was closed.
func (db *DB) usage() usage {
	v := db.view.Load()
	if v == nil {
		return *db.final.Load()
	}
	db.counting.Lock()
	defer db.counting.Unlock()
	keys, err := v.keys(db.clock.now())
	_ = db.meet(readError(err))
	return usage{keys, v.usage()}
}

// prepareSeal makes sure that there is a log to seal, if one is needed.
func (db *DB) prepareSeal() error {
	switch {
	case db.failed() != nil:
		return nil
	case db.mustRotate: // the last rotation has failed midway, so the log may have a successor already
		return db.rotate(db.view.Load().delta, 0)
	}
	return db.recordTime()
}

// recordTime makes a small log, for its trailer to record engine time, if nothing was written since the open and a key has become due
// that was not by the time recorded. Else it could come back where the wall clock is set back meanwhile. Where the disk is full it may.
func (db *DB) recordTime() error {
	if db.live != nil || !db.dueSince(db.recorded) {
		return nil
	}
	start := &logStart{generation: db.tail.Generation + 1, previous: db.tail, delta: db.view.Load().delta}
	err := db.firstLog(start, format.Align(db.logNeed(0), format.BlockSize))
	if errors.Is(diskError(err), ErrDiskFull) {
		db.logger.Warn("engine time is not recorded", "error", err)
		return nil
	}
	return err
}

// dueSince reports whether a key is due now that was not at an engine time.
func (db *DB) dueSince(t int64) bool {
	v := db.view.Load()
	_ = db.usage() // counts what is due in the delta
	now, _ := v.dueInBase(db.clock.now())
	then, _ := v.dueInBase(t) // damage is for readers to meet
	return now > then || v.delta.deadlines.dueSince(t)
}

// anyDue reports whether the checkpoint holds keys that have expired.
func (db *DB) anyDue() bool {
	n, _ := db.view.Load().dueInBase(db.clock.now()) // damage is for the checkpoint to meet
	return n > 0
}

// fail stops the database from acknowledging anything from now on, because of cause, and returns the
// error of those whose outcome is unknown. The holder of the pipeline only.
func (db *DB) fail(cause error) error {
	err := fmt.Errorf("%w: %w", ErrIndeterminate, cause)
	if db.failure.CompareAndSwap(nil, &cause) {
		db.logger.Error("log failed, nothing is acknowledged any more", "error", cause)
	}
	return err
}

// failed returns what fail was called with first; nil while all is well.
func (db *DB) failed() error {
	if cause := db.failure.Load(); cause != nil {
		return fmt.Errorf("%w: %w", ErrPoisoned, *cause)
	}
	return nil
}

// Close waits for the writes that were handed over, seals the log and releases the directory. It makes
// no checkpoint; one that is under way is given up. A second Close waits for the first and returns the same.
// Later calls of other methods return ErrClosed.
func (db *DB) Close() error {
	db.closing.Do(func() {
		db.closeErr = db.close()
		close(db.closeDone)
	})
	<-db.closeDone
	return db.closeErr
}

func (db *DB) close() error {
	db.warmer.stop()
	db.scrubber.stop()
	db.checkpointer.stop()
	db.pipeline.stop(ErrClosed)
	err := db.prepareSeal()
	err = errors.Join(err, db.spares.close())
	switch failure := db.failed(); {
	case failure == nil:
		err = errors.Join(err, db.seal())
	case db.live != nil: // after a failure nothing more is written, and what was not acknowledged stays unknown
		err = errors.Join(failure, db.live.close())
	default:
		err = failure
	}
	u := db.usage()
	db.final.Store(&u)
	db.view.Store(nil)
	err = errors.Join(err, db.dir.Close())
	if err != nil {
		return fmt.Errorf("close database in %s: %w", db.dir.Path(), err)
	}
	return nil
}

// randomUint64 is unpredictable: salts and seeds must be.
func randomUint64() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}
