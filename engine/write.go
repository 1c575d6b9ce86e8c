package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"sync"
	"time"

	"github.com/tongpengdl/small-db/format"
)

// Set sets key to value, and returns when that is durable. It never expires. key and value are the caller's again when
// it returns. On success the version is that of the operation.
//
// Errors: ErrKeyEmpty, ErrKeyTooLarge, ErrValueTooLarge, ErrClosed, ErrPoisoned, ErrDiskFull, ErrFull and the error of ctx say
// that nothing was written. ErrIndeterminate says that the outcome is unknown; it comes when the log
// fails under the operation, and when ctx ends after the operation was handed to the log.
func (db *DB) Set(ctx context.Context, key, value []byte) (Version, error) {
	return db.apply(ctx, op{kind: format.KindSet, key: key, value: value})
}

// SetUntil sets key to value until a deadline: from then on the key is not set, as if it had been deleted. A deadline in the past is
// allowed; the zero time means none. Errors and version are as for Set; ErrDeadline for a deadline that cannot be stored.
func (db *DB) SetUntil(ctx context.Context, key, value []byte, deadline time.Time) (Version, error) {
	expiry, err := deadlineOf(deadline)
	if err != nil {
		return Version{}, err
	}
	return db.apply(ctx, op{kind: format.KindSet, expiry: expiry, key: key, value: value})
}

// Delete deletes key, and returns when that is durable. To delete a key that is not
// set is no error. Errors and version are as for Set, but that it is never refused with ErrFull.
func (db *DB) Delete(ctx context.Context, key []byte) (Version, error) {
	return db.apply(ctx, op{kind: format.KindDelete, key: key})
}

// requests saves one allocation a write.
var requests = sync.Pool{New: func() any { return new(request) }}

func (db *DB) apply(ctx context.Context, o op) (Version, error) {
	if err := db.opts.check(&o); err != nil {
		return Version{}, err
	}
	r := requests.Get().(*request)
	r.single[0] = o
	r.ops, r.bytes, r.weight = r.single[:], o.recordLen(), o.recordLen()
	abandoned, err := db.pipeline.submit(ctx, r)
	if abandoned {
		return Version{}, err
	}
	version := r.version
	*r = request{}
	requests.Put(r)
	if err != nil {
		return Version{}, err
	}
	return version, nil
}

// Apply applies the operations of a batch if all its conditions hold, and returns when they are durable. A crash leaves all of them or
// none. A reader of the database may see some before the others while they are being entered; a Snapshot never does. An empty
// batch does nothing and returns the version of now. On success the version is that of the last operation; of a batch with conditions alone, of the
// state that they held in.
//
// Errors are as for Set; ErrValueTooLarge also for a batch that
// is too large as a whole (64 MiB, 10,000 conditions), ErrDeadline for a deadline that cannot be stored, and a *ConditionError, which is ErrConditionFailed, for a condition
// that does not hold. Conditions are checked in the order of the writes: between the check and the operations no other write comes.
func (db *DB) Apply(ctx context.Context, b *Batch) (Version, error) {
	if len(b.ops)+len(b.conditions) == 0 && b.err == nil {
		if db.view.Load() == nil {
			return Version{}, ErrClosed
		}
		return db.Version(), nil
	}
	if err := db.opts.checkBatch(b); err != nil {
		return Version{}, err
	}
	r := &request{ops: b.ops, conditions: b.conditions, bytes: b.bytes, weight: b.bytes + b.weight}
	if _, err := db.pipeline.submit(ctx, r); err != nil {
		return Version{}, err
	}
	return r.version, nil
}

// commit makes a group durable and applies it: the work of the holder of the pipeline. A panic in it, as in a clock or a
// logger that the options name, leaves nobody knows what, so it counts as a failure of the log.
func (db *DB) commit(g *group) error {
	if err := db.failed(); err != nil {
		return err
	}
	returned := false
	defer func() {
		if !returned {
			_ = db.fail(errPanicked)
		}
	}()
	err := db.commitGroup(g)
	returned = true
	return err
}

var errPanicked = errors.New("a commit panicked")

func (db *DB) commitGroup(g *group) error {
	now := db.clock.now()
	if g.conditional() {
		now = db.clock.hold()
		defer db.clock.release()
	}
	if !db.admit(g, now) { // nothing to write
		db.pipeline.wasRead(g)
		return nil
	}
	if db.live == nil || db.mustRotate || !db.live.room(g.bytes) {
		if err := db.rotate(db.view.Load().delta, g.bytes); err != nil {
			return err
		}
	}
	frame := db.frame(g, now)
	wait := db.lookUp()
	err := db.persist(frame)
	wait()
	if err != nil {
		return err
	}
	db.applied.Store(db.live.framer.Position().Seq) // before readers see it: see Version
	if err := db.enter(len(frame)); err != nil {
		return db.fail(err)
	}
	db.count(g)
	return nil
}

// persist makes a frame durable in the live log.
func (db *DB) persist(frame []byte) error {
	if err := db.live.write(frame); err != nil {
		return db.fail(fmt.Errorf("write %s at offset %d: %w", db.live.name, db.live.framer.Offset(), err))
	}
	db.live.framer.Advance()
	return nil
}

// stamp makes engine time durable, in a frame without operations, if there are keys that expire: a checkpoint drops what
// was due by the last frame. The holder of the pipeline only.
func (db *DB) stamp() error {
	v := db.view.Load()
	if !v.expires() {
		return nil
	}
	if db.live == nil || db.mustRotate || !db.live.room(0) {
		if err := db.rotate(v.delta, 0); err != nil {
			return err
		}
	}
	frame := db.live.framer.Empty(db.epoch.Load(), db.applied.Load(), db.clock.now())
	v.delta.bytes.Add(int64(len(frame)))
	return db.persist(frame)
}

// count keeps the counters, and wakes the checkpointer when a checkpoint may have become due.
func (db *DB) count(g *group) {
	ops := uint64(len(db.changes))
	db.operations.Add(ops)
	first := db.updates.Add(ops) == ops // since the last checkpoint
	db.groups.Add(1)
	db.logged.Add(int64(g.bytes))
	if first || db.checkpointer.reached() {
		db.checkpointer.poke()
	}
}

// keepChanges is the operations of a group up to which its list is kept for the next one: some 100 bytes each.
const keepChanges = 1 << 15

// frame builds the frame of a group. From here on what the requests point to is not read any more.
func (db *DB) frame(g *group, now int64) []byte {
	defer db.pipeline.wasRead(g)
	if db.changes = db.changes[:0]; cap(db.changes) > keepChanges {
		db.changes = nil
	}
	framer := db.live.framer
	start := db.live.start + framer.Offset()
	framer.Begin(db.epoch.Load(), db.applied.Load(), now)
	for _, r := range g.requests {
		if r.err != nil {
			continue
		}
		for i := range r.ops {
			o := &r.ops[i]
			at := framer.Add(&format.Record{Kind: o.kind, Expiry: o.expiry, Key: o.key, Value: o.value})
			db.changes = append(db.changes, change{hash: maphash.Bytes(db.seed, o.key), is: state{o.kind, o.expiry}, place: (start + int64(at)) / placeUnit, now: now})
		}
	}
	frame := framer.End()
	for i := range db.changes { // what the requests point to may be gone when they are entered
		c := &db.changes[i]
		c.key, _ = format.RecordKey(frame[c.place*placeUnit-start:])
	}
	return frame
}

// lookUp finds the keys of the group that is being written: the processors would idle meanwhile, and writers wait for what is done afterwards. Until wait
// returns nothing may be entered. A checkpoint that is completed meanwhile changes where a key is found, and not what is found. The holder of the pipeline only.
func (db *DB) lookUp() (wait func()) {
	if len(db.changes) < findLeast {
		return func() {}
	}
	var looking sync.WaitGroup
	looking.Go(func() { db.view.Load().findAll(db.changes) })
	return looking.Wait
}

// enter makes the records of the group, which is durable in a frame of so many bytes, visible.
func (db *DB) enter(frame int) error {
	v := db.view.Load()
	defer runtime.KeepAlive(v)
	for i := range db.changes {
		if err := v.enter(&db.changes[i]); err != nil {
			return err
		}
	}
	v.delta.bytes.Add(int64(frame))
	v.delta.references.publish()
	return nil
}
