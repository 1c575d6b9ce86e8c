package engine

import (
	"bytes"
	"fmt"
	"runtime"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// walk goes through the keys of a state in their order, or backwards: a merge of the runs of its deltas and
// the cursor of its base. Scans, backups and checkpoints are walks. One goroutine uses it.
type walk struct {
	view     *view // keeps what is walked through mapped
	runs     []runCursor
	base     *ckpt.Cursor
	baseKey  []byte // where base stands; nil past its end
	time     int64  // what is due at this engine time is left out
	backward bool
	bound    []byte // where to stop: before it, or backwards past it; nil for no bound

	record ckpt.Record // where it stands: a verified copy, valid until the next step
	logBuf []byte
	oldBuf []byte

	interrupted func() error // says why to give up; asked now and then; nil if nothing does
	steps       int
}

// newWalk walks from start to before end (nil: from the first, to the last) through the runs, the newest of each delta last and the
// newest delta last, and the base of a view.
func newWalk(v *view, runs []runCursor, t int64, start, end []byte, backward bool) (w *walk, err error) {
	w = &walk{view: v, runs: runs, base: v.base.Cursor(), time: t, backward: backward}
	defer runtime.KeepAlive(v)
	defer mmapio.Recover(mmapio.Arm(), &err)
	from := start
	w.bound = end
	if backward {
		from, w.bound = end, start
	}
	for i := range w.runs {
		w.runs[i].seek(from, backward)
	}
	return w, w.seekBase(from)
}

// seek moves to the first entry not less than from or, backwards, to the last one less than it; nil stands for the
// respective end of all keys.
func (c *runCursor) seek(from []byte, backward bool) {
	switch {
	case from != nil:
		c.i = c.run.search(from)
	case backward:
		c.i = c.run.len()
	}
	if backward {
		c.i--
	}
}

func (w *walk) seekBase(from []byte) error {
	switch {
	case !w.backward && from == nil:
		return w.standBase(w.base.First())
	case !w.backward:
		return w.standBase(w.base.SeekGE(from))
	case from == nil:
		return w.standBase(w.base.Last())
	}
	return w.standBase(w.base.SeekLT(from))
}

func (w *walk) standBase(rec ckpt.Record, ok bool, err error) error {
	w.baseKey = nil
	if ok {
		w.baseKey = rec.Key
	}
	return err
}

func (w *walk) stepBase() error {
	if w.backward {
		return w.standBase(w.base.Prev())
	}
	return w.standBase(w.base.Next())
}

// next moves to the next key that is set, and reports whether there is one. It stands in record then.
func (w *walk) next() (ok bool, err error) {
	defer runtime.KeepAlive(w.view)
	defer mmapio.Recover(mmapio.Arm(), &err)
	for {
		if w.interrupted != nil && w.steps%interruptStride == 0 {
			if err := w.interrupted(); err != nil {
				return false, err
			}
		}
		w.steps++
		key, from := w.least()
		if key == nil || w.beyond(key) {
			return false, nil
		}
		set, err := w.read(from)
		if err != nil {
			return false, err
		}
		if err := w.pass(w.record.Key, from); err != nil {
			return false, err
		}
		if set && !dueAt(w.record.Expiry, w.time) {
			return true, nil
		}
	}
}

// least returns the key that comes next, nil if there is none, and the newest source that stands on it: the index of a run,
// or -1 for the base.
func (w *walk) least() (key []byte, from int) {
	key, from = w.baseKey, -1
	for i := range w.runs {
		c := &w.runs[i]
		if uint(c.i) >= uint(c.run.len()) {
			continue
		}
		k := c.run.key(c.i)
		if key == nil || w.compare(k, key) <= 0 { // later runs are newer
			key, from = k, i
		}
	}
	return key, from
}

// compare compares keys in the direction of the walk.
func (w *walk) compare(a, b []byte) int {
	if w.backward {
		return bytes.Compare(b, a)
	}
	return bytes.Compare(a, b)
}

// beyond reports whether a key lies outside of the walk.
func (w *walk) beyond(key []byte) bool {
	if w.bound == nil {
		return false
	}
	if w.backward {
		return bytes.Compare(key, w.bound) < 0
	}
	return bytes.Compare(key, w.bound) >= 0
}

// read reads the record that a source stands on, and reports whether it sets its key.
func (w *walk) read(from int) (set bool, err error) {
	if from < 0 {
		w.record, w.oldBuf = w.base.Take(w.oldBuf)
		return true, nil
	}
	var rec format.Record
	rec, w.logBuf, err = w.runs[from].record(w.logBuf)
	w.record = recordOf(&rec)
	return rec.Kind == format.KindSet, err
}

// pass moves every source that stands on key past it. The base's order is checked on the way: those of the runs
// were made from verified keys.
func (w *walk) pass(key []byte, from int) error {
	step := 1
	if w.backward {
		step = -1
	}
	for i := range w.runs {
		c := &w.runs[i]
		if uint(c.i) < uint(c.run.len()) && bytes.Equal(c.run.key(c.i), key) {
			c.step(step)
		}
	}
	if w.baseKey == nil || from >= 0 && !bytes.Equal(w.baseKey, key) {
		return nil
	}
	if err := w.stepBase(); err != nil {
		return err
	}
	if w.baseKey != nil && w.compare(w.baseKey, key) <= 0 {
		return &format.CorruptionError{File: format.CheckpointName(w.view.base.Header().Generation), Offset: -1,
			Err: fmt.Errorf("%w: %.40q does not follow %.40q", ckpt.ErrOrder, w.baseKey, key)}
	}
	return nil
}
