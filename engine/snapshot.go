package engine

import (
	"bytes"
	"iter"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// Snapshot is the state of a database at one moment: the same keys, values and expired keys for as long as
// it is held, whatever is written, expires or is checkpointed meanwhile. It takes no lock, stops nobody, and needs
// no closing: what it keeps mapped goes when nothing refers to it any more. It outlives Close of its database. All
// methods may be called concurrently.
//
// What the sequences of Scan, Backward, Prefix and Entries yield lies in buffers that the next
// step overwrites: copy what is to be kept. They may be left early, nested, pulled (iter.Pull) and ranged over again, from the
// first key on. A sequence ends early where it meets damage; Err says so, and must be asked after a
// loop whose completeness matters.
type Snapshot struct {
	db   *DB
	view *view // nil if the database was closed
	seq  uint64
	n    int   // records of view.delta in it
	time int64 // engine time

	ordered atomic.Pointer[order] // of the records of view.delta; made on first use
	failure atomic.Pointer[error]
}

// Snapshot returns the present state: all that was acknowledged before the call, and of every batch all or nothing. It
// takes no longer for a large state than for a small one, but waits where a group is just being entered. The first scan of it, or the first Get of a key
// that was written since, sorts what was written since the last scan or checkpoint. Of a closed database it is empty, and Err says ErrClosed.
func (db *DB) Snapshot() *Snapshot {
	s := &Snapshot{db: db}
	if !db.present(s) {
		closed := ErrClosed
		s.failure.Store(&closed)
	}
	return s
}

// While a large group is being entered, present yields so many times and then sleeps as long, each time.
const (
	presentYields = 50
	presentPause  = 50 * time.Microsecond
)

// present makes s the present state. It is false if the database is closed. While a group is being entered, which takes no longer
// than that, it waits: the group is durable, and some of it may have been read already.
func (db *DB) present(s *Snapshot) bool {
	for n := 0; ; n++ {
		if s.view = db.view.Load(); s.view == nil {
			return false
		}
		references := &s.view.delta.references
		s.seq = references.last.Load()
		if s.seq < db.applied.Load() && db.failure.Load() == nil {
			if n < presentYields {
				runtime.Gosched()
			} else {
				time.Sleep(presentPause)
			}
			continue
		}
		s.time = db.clock.now()
		if references.last.Load() == s.seq && db.view.Load() == s.view { // else a group came between state and time
			s.n = references.upTo(s.seq)
			return true
		}
	}
}

// Version returns the version of the state.
func (s *Snapshot) Version() Version { return s.db.versionOfState(s.seq) }

// Err returns the first damage that a method of the snapshot has met, an ErrCorrupt that names the place, or
// ErrClosed if the database was closed before the snapshot was made; nil while all is well.
func (s *Snapshot) Err() error {
	if err := s.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// fail notes the first failure and returns err.
func (s *Snapshot) fail(err error) error {
	err = s.db.meet(readError(err))
	s.failure.CompareAndSwap(nil, &err)
	return err
}

// Get returns a copy of the value that key had. ok is false if the key was not set. Errors are as for DB.Get.
func (s *Snapshot) Get(key []byte) (value []byte, ok bool, err error) {
	e, ok, err := s.Entry(key)
	return e.Value, ok, err
}

// Entry returns a copy of all there was to know of a key. ok is false if the key was not set. Errors are as for DB.Get.
func (s *Snapshot) Entry(key []byte) (e Entry, ok bool, err error) {
	if s.view == nil {
		return Entry{}, false, ErrClosed
	}
	rec, ok, err := s.view.entry(key)
	if err != nil || rec.Seq > s.seq { // set or deleted since, perhaps by a record that is damaged
		rec, ok, err = s.readOlder(key)
	}
	switch {
	case err != nil:
		return Entry{}, false, s.fail(err)
	case !ok || dueAt(rec.Expiry, s.time):
		return Entry{}, false, nil
	}
	return s.db.entry(&rec), true, nil
}

// readOlder copies the last record that a key had in the snapshot, where a later one hides it.
func (s *Snapshot) readOlder(key []byte) (rec ckpt.Record, ok bool, err error) {
	o, err := s.order()
	if err != nil {
		return ckpt.Record{}, false, err
	}
	defer runtime.KeepAlive(s.view)
	defer mmapio.Recover(mmapio.Arm(), &err)
	for i := len(o.runs) - 1; i >= 0; i-- {
		c := runCursor{delta: s.view.delta, run: o.runs[i]}
		if c.i = c.run.search(key); c.i < c.run.len() && bytes.Equal(c.run.key(c.i), key) {
			older, _, err := c.record(nil)
			return recordOf(&older), older.Kind == format.KindSet, err
		}
	}
	below := view{base: s.view.base, delta: s.view.frozen}
	return below.entry(key)
}

// order is the snapshot's part of its delta in order.
func (s *Snapshot) order() (*order, error) {
	if o := s.ordered.Load(); o != nil {
		return o, nil
	}
	o, err := s.view.delta.order(s.n)
	if err == nil {
		s.ordered.Store(o)
	}
	return o, err
}

// Scan yields the keys from start to before end, and their values, in the order of the keys (bytes.Compare). A nil start means
// from the first key, a nil end to the last.
func (s *Snapshot) Scan(start, end []byte) iter.Seq2[[]byte, []byte] {
	return s.pairs(start, end, false)
}

// Backward yields what Scan yields, from the greatest key to the least.
func (s *Snapshot) Backward(start, end []byte) iter.Seq2[[]byte, []byte] {
	return s.pairs(start, end, true)
}

// Prefix yields the keys that begin with p, and their values, in order. Backward(p, PrefixEnd(p)) yields them backwards.
func (s *Snapshot) Prefix(p []byte) iter.Seq2[[]byte, []byte] {
	return s.pairs(p, PrefixEnd(p), false)
}

// PrefixEnd returns the least key that is greater than every key that begins with p; nil if there is
// none, as for the empty prefix.
func PrefixEnd(p []byte) []byte {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] != 0xff {
			end := bytes.Clone(p[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}

// Entries yields what Scan yields, with all there is to know of each key.
func (s *Snapshot) Entries(start, end []byte) iter.Seq[Entry] {
	start, end = bytes.Clone(start), bytes.Clone(end)
	return func(yield func(Entry) bool) {
		s.each(start, end, false, func(rec *ckpt.Record) bool { return yield(s.db.entry(rec)) })
	}
}

func (s *Snapshot) pairs(start, end []byte, backward bool) iter.Seq2[[]byte, []byte] {
	start, end = bytes.Clone(start), bytes.Clone(end)
	return func(yield func(key, value []byte) bool) {
		s.each(start, end, backward, func(rec *ckpt.Record) bool { return yield(rec.Key, rec.Value) })
	}
}

// each calls visit with the records from start to before end until it returns false. visit runs outside of any guard.
func (s *Snapshot) each(start, end []byte, backward bool, visit func(*ckpt.Record) bool) {
	if s.view == nil {
		return
	}
	w, err := s.walk(start, end, backward)
	if err != nil {
		_ = s.fail(err)
		return
	}
	for {
		ok, err := w.next()
		if err != nil {
			_ = s.fail(err)
		}
		if !ok || err != nil || !visit(&w.record) {
			return
		}
	}
}

func (s *Snapshot) walk(start, end []byte, backward bool) (*walk, error) {
	var runs []runCursor
	if s.view.frozen != nil {
		whole, err := s.view.frozen.sortedKeys(nil)
		if err != nil {
			return nil, err
		}
		runs = append(runs, runCursor{delta: s.view.frozen, run: whole})
	}
	o, err := s.order()
	if err != nil {
		return nil, err
	}
	for _, r := range o.runs {
		runs = append(runs, runCursor{delta: s.view.delta, run: r})
	}
	return newWalk(s.view, runs, s.time, start, end, backward)
}
