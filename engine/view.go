package engine

import (
	"runtime"

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

// item is what a record says of its key. value lies in the mapping.
type item struct {
	value    []byte
	seq      uint64
	deadline int64 // 0 means none
}

// get returns what the last record of a key says, whether it is due or not. ok is false if the key is not set, and then the item
// may still tell the sequence of its delete. The caller is inside a guard.
func (v *view) get(key []byte) (it item, ok bool, err error) {
	probe := v.base.Probe(key) // so that the base's bucket is on its way while the deltas are looked into
	for d, older := v.delta, v.frozen; d != nil; d, older = older, nil {
		if d.table.entries.Load() == 0 { // nothing has changed: save the hash
			continue
		}
		var rec format.Record
		if found, err := d.get(d.hash(key), key, &rec); err != nil {
			return item{}, false, err
		} else if found {
			return item{rec.Value, rec.Seq, rec.Expiry}, rec.Kind == format.KindSet, nil
		}
	}
	var rec ckpt.Record
	ok, err = v.base.Get(probe, key, &rec)
	return item{rec.Value, rec.Seq, rec.Expiry}, ok, err
}

// fetch copies the last record of a key, whether it is due or not, as format.FetchRecord does, and verifies the
// copy: what the caller gets is what was verified, even if the mapped bytes change meanwhile, as when a page is evicted and read again from a bad
// disk. ok is false if the key is not set, and then rec may still tell the sequence of its delete. The caller is inside a guard.
func (v *view) fetch(key, small, dst []byte) (rec ckpt.Record, out []byte, ok bool, err error) {
	probe := v.base.Probe(key) // as in get
	for d, older := v.delta, v.frozen; d != nil; d, older = older, nil {
		if d.table.entries.Load() == 0 {
			continue
		}
		if rec, out, found, err := d.fetch(d.hash(key), key, small, dst); err != nil {
			return ckpt.Record{}, dst, false, err
		} else if found {
			return recordOf(&rec), out, rec.Kind == format.KindSet, nil
		}
	}
	return v.base.Fetch(probe, key, small, dst)
}

// entry is fetch into memory of its own.
func (v *view) entry(key []byte) (rec ckpt.Record, ok bool, err error) {
	defer runtime.KeepAlive(v)
	defer mmapio.Recover(mmapio.Arm(), &err)
	rec, _, ok, err = v.fetch(key, nil, []byte{}) // an empty value is not nil
	return rec, ok, err
}

// recordOf is a set from a log as what it leaves in a checkpoint.
func recordOf(rec *format.Record) ckpt.Record {
	return ckpt.Record{Seq: rec.Seq, Expiry: rec.Expiry, Key: rec.Key, Value: rec.Value}
}

// enter makes the record of a change visible, and keeps the count of keys. The holder of the pipeline only.
func (v *view) enter(c *change) error {
	d := v.delta
	was, err := d.put(c)
	if err != nil {
		return err
	}
	d.references.append(c.place)
	if was.kind == 0 {
		if was = c.found.state; c.found.segment == nil {
			was, _ = v.below(c.hash, c.key) // damage there is for readers of the key to meet; the count is then off by one
		}
	}
	if was.set(c.now) {
		d.net.Add(-1)
		if was.deadline != 0 {
			d.deadlines.remove(was.deadline)
		}
	}
	if c.is.kind == format.KindSet {
		d.net.Add(1)
		if c.is.deadline != 0 {
			d.deadlines.add(c.is.deadline)
		}
	}
	return nil
}

// below is the state of a key that the delta does not know.
func (v *view) below(hash uint64, key []byte) (is state, err error) {
	defer mmapio.Recover(mmapio.Arm(), &err)
	probe := v.base.Probe(key)
	if v.frozen != nil {
		var rec format.Record
		found, err := v.frozen.get(hash, key, &rec)
		if found || err != nil {
			return state{rec.Kind, rec.Expiry}, err
		}
	}
	var rec ckpt.Record
	ok, err := v.base.Get(probe, key, &rec)
	if !ok {
		return state{}, err
	}
	return state{format.KindSet, rec.Expiry}, nil
}

// keys is how many keys are set at an engine time, which never falls from one call to the next. Where damage was met the
// count may be wrong, and err says what it was.
func (v *view) keys(t int64) (n uint64, err error) {
	due, err := v.dueInBase(t)
	keys := int64(v.base.Footer().Records) - int64(due)
	for _, d := range [...]*delta{v.delta, v.frozen} {
		if d != nil {
			keys += d.net.Load() - d.deadlines.count(t)
		}
	}
	return uint64(max(0, keys)), err
}

// dueInBase is how many keys of the base are due at an engine time.
func (v *view) dueInBase(t int64) (n uint64, err error) {
	defer runtime.KeepAlive(v)
	defer mmapio.Recover(mmapio.Arm(), &err)
	return v.base.Due(t)
}

// expires reports whether there may be keys with a deadline.
func (v *view) expires() bool {
	return v.base.Footer().Deadlines > 0 || v.delta.deadlines.any() || v.frozen != nil && v.frozen.deadlines.any()
}

// keysAtMost is the number of keys with those that are due.
func (v *view) keysAtMost() uint64 {
	keys := int64(v.base.Footer().Records)
	for _, d := range [...]*delta{v.delta, v.frozen} {
		if d != nil {
			keys += d.net.Load()
		}
	}
	return uint64(max(0, keys))
}
