package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"sync"

	"github.com/tongpengdl/small-db/format"
)

// Set sets key to value, and returns when that is durable. key and value are the caller's again when
// it returns. On success the version is that of the operation.
//
// Errors: ErrKeyEmpty, ErrKeyTooLarge, ErrValueTooLarge, ErrClosed, ErrPoisoned, ErrDiskFull and the error of ctx say
// that nothing was written. ErrIndeterminate says that the outcome is unknown; it comes when the log
// fails under the operation, and when ctx ends after the operation was handed to the log.
func (db *DB) Set(ctx context.Context, key, value []byte) (Version, error) {
	return db.apply(ctx, op{format.KindSet, key, value})
}

// Delete deletes key, and returns when that is durable. To delete a key that is not
// set is no error. Errors and version are as for Set.
func (db *DB) Delete(ctx context.Context, key []byte) (Version, error) {
	return db.apply(ctx, op{format.KindDelete, key, nil})
}

// requests saves one allocation a write.
var requests = sync.Pool{New: func() any { return new(request) }}

func (db *DB) apply(ctx context.Context, o op) (Version, error) {
	if err := db.opts.check(&o); err != nil {
		return Version{}, err
	}
	r := requests.Get().(*request)
	r.single[0] = o
	r.ops, r.bytes = r.single[:], o.recordLen()
	abandoned, err := db.pipeline.submit(ctx, r)
	if abandoned {
		return Version{}, err
	}
	version := Version{r.epoch, r.last}
	*r = request{}
	requests.Put(r)
	if err != nil {
		return Version{}, err
	}
	return version, nil
}

// Apply applies the operations of a batch, and returns when they are durable. A crash leaves all of them or
// none. A reader may see some before the others while they are being entered. An empty
// batch does nothing and returns the version of now. Errors are as for Set; ErrValueTooLarge also for a batch that
// is too large as a whole. The version is that of the last operation.
func (db *DB) Apply(ctx context.Context, b *Batch) (Version, error) {
	if len(b.ops) == 0 {
		if db.view.Load() == nil {
			return Version{}, ErrClosed
		}
		return db.Version(), nil
	}
	for i := range b.ops {
		if err := db.opts.check(&b.ops[i]); err != nil {
			return Version{}, fmt.Errorf("operation %d of the batch: %w", i, err)
		}
	}
	if b.bytes > format.MaxPayloadLen {
		return Version{}, fmt.Errorf("%w: a batch of %d bytes, at most %d", ErrValueTooLarge, b.bytes, format.MaxPayloadLen)
	}
	r := &request{ops: b.ops, bytes: b.bytes}
	if _, err := db.pipeline.submit(ctx, r); err != nil {
		return Version{}, err
	}
	return Version{r.epoch, r.last}, nil
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
	if db.live == nil || db.mustRotate || !db.live.room(g.bytes) {
		if err := db.rotate(db.view.Load().delta, g.bytes); err != nil {
			return err
		}
	}
	frame := db.frame(g)
	if err := db.live.write(frame); err != nil {
		return db.fail(fmt.Errorf("write %s at offset %d: %w", db.live.name, db.live.framer.Offset(), err))
	}
	at := db.live.framer.Offset()
	db.live.framer.Advance()
	db.applied.Store(db.live.framer.Position().Seq) // before readers see it: see Version
	if err := db.enter(frame, at); err != nil {
		return db.fail(err)
	}
	db.operations.Add(uint64(g.ops))
	first := db.updates.Add(uint64(g.ops)) == uint64(g.ops) // since the last checkpoint
	db.groups.Add(1)
	db.logged.Add(int64(g.bytes))
	db.written.Add(int64(len(frame)))
	if first || db.checkpointer.reached() {
		db.checkpointer.poke()
	}
	return nil
}

// frame builds the frame of a group. Only here what the requests point to is read.
func (db *DB) frame(g *group) []byte {
	defer db.pipeline.wasRead(g)
	db.offsets, db.hashes = db.offsets[:0], db.hashes[:0]
	framer, epoch, seq := db.live.framer, db.epoch.Load(), db.applied.Load()
	framer.Begin(epoch, seq, db.now())
	for _, r := range g.requests {
		for i := range r.ops {
			o := &r.ops[i]
			at := framer.Add(&format.Record{Kind: o.kind, Key: o.key, Value: o.value})
			db.offsets = append(db.offsets, int64(at))
			db.hashes = append(db.hashes, maphash.Bytes(db.seed, o.key))
		}
		seq += uint64(len(r.ops))
		r.epoch, r.last = epoch, seq
	}
	return framer.End()
}

// enter makes the records of a durable frame at offset of the live log visible.
func (db *DB) enter(frame []byte, offset int64) error {
	v := db.view.Load()
	base := db.live.start + offset
	v.delta.warm(db.hashes)
	for i, at := range db.offsets {
		key, kind := format.RecordKey(frame[at:])
		if err := db.enterOne(v, db.hashes[i], key, kind, (base+at)/placeUnit); err != nil {
			return err
		}
	}
	runtime.KeepAlive(v)
	return nil
}

// enterOne makes the record of key at a place visible, and counts the keys.
func (db *DB) enterOne(v *view, hash uint64, key []byte, kind format.Kind, place int64) error {
	before, err := v.delta.put(hash, key, place)
	if err != nil {
		return err
	}
	was := before == format.KindSet
	if before == 0 {
		// Damage further down is for readers of the key to meet; the count is then off by one.
		was, _ = v.hasBelow(hash, key)
	}
	switch is := kind == format.KindSet; {
	case is && !was:
		db.keys.Add(1)
	case was && !is:
		db.keys.Add(-1)
	}
	return nil
}
