package engine

import (
	"fmt"

	"github.com/tongpengdl/small-db/format"
)

// slotBytes is what a changed key takes in the table of a delta, in bytes, at the lowest load that a split leaves; referenceBytes what
// each record takes in the references.
const (
	slotBytes      = 8 * segmentSlots * 2 / segmentFull
	referenceBytes = 8
)

// usage is what the delta takes, in bytes.
func (d *delta) usage() int64 {
	return d.bytes.Load() + slotBytes*d.table.entries.Load() + referenceBytes*int64(d.references.last.Load()-d.references.first)
}

// usage is what the state takes, in bytes.
func (v *view) usage() uint64 {
	n := int64(v.base.Footer().FileLen) + v.delta.usage()
	if v.frozen != nil {
		n += v.frozen.usage()
	}
	return uint64(n)
}

// room is ErrFull if a frame with this payload would go beyond the limit of memory; then the checkpointer is told. The holder of the pipeline only.
func (db *DB) room(payload int) error {
	limit := db.opts.MaxMemoryBytes
	if limit == 0 {
		return nil
	}
	used := db.view.Load().usage()
	if used+uint64(payload) <= uint64(limit) {
		return nil
	}
	if int64(payload) < limit { // else it fits into nothing
		db.refused.Store(true)
		if !db.checkpointer.resting.Load() {
			db.checkpointer.poke()
		}
	}
	return fmt.Errorf("%w: %d of at most %d bytes are taken, %d more do not fit", ErrFull, used, limit, payload)
}

// pressed reports whether a checkpoint should begin for want of memory: the logs take much of it, or a set was refused and a
// checkpoint may give some back.
func (db *DB) pressed() bool {
	return db.updates.Load() > 0 && db.crowded() || db.refused.Load() && (db.updates.Load() > 0 || db.anyDue())
}

// grows reports whether the request takes memory that no checkpoint gives back.
func (r *request) grows() bool {
	for i := range r.ops {
		if r.ops[i].kind == format.KindSet {
			return true
		}
	}
	return false
}

// crowded reports whether the logs take so much of the memory allowed that a checkpoint should begin: half of what the
// base leaves, so that as much again can be written while it is made; or a sixteenth of all, where the base leaves little.
func (db *DB) crowded() bool {
	limit := db.opts.MaxMemoryBytes
	if limit == 0 {
		return false
	}
	v := db.view.Load()
	left := limit - int64(v.base.Footer().FileLen)
	return v.delta.usage() >= max(left/2, limit/16)
}
