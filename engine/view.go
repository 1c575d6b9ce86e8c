package engine

import (
	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// view is what a reader looks into. It is immutable (the delta in it is not) and
// replaced as a whole: by the holder of the pipeline when a checkpoint begins,
// and by the checkpointer when it is done; the two never overlap. Whoever reads from it keeps it alive until it has copied
// what it found: that keeps the mappings.
type view struct {
	base   *ckpt.Reader
	frozen *delta // what the checkpoint under way merges into the next base; nil without one
	delta  *delta
}

// get returns the value of a key, in place. The caller is inside a guard.
func (v *view) get(key []byte) (value []byte, ok bool, err error) {
	for _, d := range [...]*delta{v.delta, v.frozen} {
		if d == nil || d.table.entries.Load() == 0 { // nothing has changed: save the hash
			continue
		}
		rec, found, err := d.get(d.hash(key), key)
		if err != nil {
			return nil, false, err
		}
		if found {
			return rec.Value, rec.Kind == format.KindSet, nil
		}
	}
	rec, ok, err := v.base.Get(key)
	return rec.Value, ok, err
}

// hasBelow reports whether a key that the delta does not know is set further down.
func (v *view) hasBelow(hash uint64, key []byte) (has bool, err error) {
	defer mmapio.Recover(mmapio.Arm(), &err)
	if v.frozen != nil {
		rec, found, err := v.frozen.get(hash, key)
		if found || err != nil {
			return rec.Kind == format.KindSet, err
		}
	}
	_, ok, err := v.base.Get(key)
	return ok, err
}
