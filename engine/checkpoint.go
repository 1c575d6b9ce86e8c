package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// pending is a state that was frozen and is to become a checkpoint.
type pending struct {
	generation uint64 // of the checkpoint, and of the first log after it
	position   format.Position
	epochs     []format.EpochStart
	built      *ckpt.Reader // its checkpoint, durable under its name; version may name it already, so it is never made again
	source     uint64       // generation of the checkpoint that it was made from
}

// deltaLogs are the generations of the logs that are mapped in a delta.
type deltaLogs struct {
	first, last uint64
	gone        *atomic.Bool // set when they are unmapped
}

// freeze switches to a new log and an empty delta between two groups. The delta until then is frozen.
func (db *DB) freeze() (p *pending, err error) {
	d, err := newDelta(db.seed, db.view.Load().base.Footer().FileLen, 0)
	if err != nil {
		return nil, err
	}
	err = db.pipeline.between(context.Background(), func() error {
		if err := db.failed(); err != nil {
			return err
		}
		if err := db.stamp(); err != nil {
			return err
		}
		if err := db.rotate(d, 0); err != nil {
			return err
		}
		p = &pending{generation: db.live.id.Generation, position: db.live.framer.Position(), epochs: db.epochs}
		d.references.start(p.position.Seq)
		v := db.view.Load()
		db.view.Store(&view{base: v.base, frozen: v.delta, delta: d})
		db.logged.Store(0)
		db.updates.Store(0)
		db.refused.Store(false)
		return nil
	})
	return p, err
}

// complete makes the frozen state a checkpoint and the base: steps 2 to 6 of a switch. Each step is durable
// before the next one begins; a failure leaves the state before in force.
func (c *checkpointer) complete(p *pending) error {
	db := c.db
	if err := c.interrupted(); err != nil {
		return err
	}
	v := db.view.Load()
	if p.built == nil {
		if err := c.build(p, v); err != nil {
			return fmt.Errorf("%s: %w", format.CheckpointName(p.generation), err)
		}
	}
	next := p.built
	if err := c.interrupted(); err != nil {
		return err
	}
	version := versionFor(next)
	version.Previous = p.source
	if err := publish(db.dir, version); err != nil {
		return fmt.Errorf("switch to %s: %w", format.CheckpointName(p.generation), err)
	}
	db.lockLater(next.Mapping(), 0, int64(len(next.Mapping().Bytes())))
	db.view.Store(&view{base: next, delta: db.view.Load().delta})
	logs := *v.frozen.logs.Load()
	c.deltas = append(c.deltas, deltaLogs{logs[0].generation, logs[len(logs)-1].generation, v.frozen.gone})
	v = nil
	db.kept.Store(p.source)
	c.retire(p)
	runtime.GC() // the heap is small, and what the old view mapped goes now
	return nil
}

// build makes the checkpoint of a frozen state: from the base and the frozen delta, or, where those are damaged, from files.
func (c *checkpointer) build(p *pending, v *view) (err error) {
	p.source = v.base.Header().Generation
	known := c.db.damagedCheckpoint(p.source)
	if known != nil { // perhaps in an index, which a merge does not read; but what is damaged is not to be kept for the next repair
		if err = c.rebuild(p, known); err == nil || c.interrupted() != nil {
			return err
		}
		c.db.logger.Warn("not repaired, the base is merged as it is", "error", err)
	}
	p.built, err = c.db.writeCheckpoint(p, &view{base: v.base, frozen: v.frozen}, c.interrupted)
	if err == nil || !errors.Is(err, ErrCorrupt) || c.interrupted() != nil {
		return err
	}
	_ = c.db.meet(err)
	if known != nil && fileOf(err) == fileOf(known) { // it was tried
		return err
	}
	if failure := c.rebuild(p, err); failure != nil {
		return errors.Join(err, failure)
	}
	return nil
}

// damagedCheckpoint is what is known of damage in a checkpoint.
func (db *DB) damagedCheckpoint(generation uint64) error {
	name := format.CheckpointName(generation)
	if err := db.damage.of(name); err != nil {
		return err
	}
	return db.scrubber.found.of(name)
}

// interrupted says why a checkpoint must not go on; nil if it may, after a rest if it is time for one.
func (c *checkpointer) interrupted() error {
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	c.pace.step()
	return c.db.failed()
}

// writeCheckpoint builds the checkpoint of a state from its base and its frozen delta, reads it back from the disk, and
// gives it its name, durably. A nil view is empty. interrupted says why to give up; it may be nil.
func (db *DB) writeCheckpoint(p *pending, v *view, interrupted func() error) (*ckpt.Reader, error) {
	name := format.CheckpointName(p.generation)
	temp := name + format.TempSuffix
	if err := ignoreMissing(db.dir.Remove(temp)); err != nil { // of an attempt that failed
		return nil, err
	}
	err := db.buildCheckpoint(temp, p, v, interrupted)
	if err == nil {
		if err = verifyCheckpoint(db.dir, temp, interrupted); errors.Is(err, ErrCorrupt) {
			err = fmt.Errorf("what was written does not read back: %v", err) //nolint:errorlint // no damage: nothing is read from it
		}
	}
	if err != nil {
		return nil, errors.Join(diskError(err), ignoreMissing(db.dir.Remove(temp)))
	}
	if err := db.dir.Rename(temp, name); err != nil {
		return nil, err
	}
	if err := db.dir.Sync(); err != nil {
		return nil, err
	}
	return openCheckpoint(db.dir, name)
}

func (db *DB) buildCheckpoint(name string, p *pending, v *view, interrupted func() error) error {
	f, err := db.dir.Create(name)
	if err != nil {
		return err
	}
	header := format.CheckpointHeader{UUID: db.uuid, Generation: p.generation, Salt: randomUint64(), Position: p.position}
	var keys uint64
	if v != nil {
		keys = v.keysAtMost()
	}
	b, err := ckpt.NewBuilder(f, header, keys)
	if err == nil && v != nil {
		b.Interrupt(interrupted)
		err = v.build(b, p.position.Time, interrupted)
	}
	if err == nil {
		_, err = b.Finish(p.epochs)
	}
	return errors.Join(readError(err), f.Close())
}

// build adds the keys of a base and a frozen delta to a checkpoint, without those that were due at an engine time. Each is
// verified in a copy, so that what is written is what was verified.
func (v *view) build(b *ckpt.Builder, t int64, interrupted func() error) error {
	var runs []runCursor
	if v.frozen != nil {
		whole, err := v.frozen.sortedKeys(interrupted)
		if err != nil {
			return err
		}
		runs = []runCursor{{delta: v.frozen, run: whole}}
	}
	w, err := newWalk(v, runs, t, nil, nil, false)
	if err != nil {
		return err
	}
	return w.build(b, interrupted)
}

// build adds what is left of the walk to a checkpoint.
func (w *walk) build(b *ckpt.Builder, interrupted func() error) error {
	w.interrupted = interrupted
	for size := 0; ; {
		ok, err := w.next()
		if !ok || err != nil {
			return err
		}
		if err := b.Add(w.record); err != nil {
			return err
		}
		if size += len(w.record.Value); size > mmapio.PieceSize { // a few large values are as much as many small ones
			w.steps, size = 0, 0
		}
	}
}

// retire removes what neither the base nor the checkpoint that it was made from needs. A log that is not mapped any
// more becomes the spare, if there is none. What cannot be removed now is garbage for the next time.
func (c *checkpointer) retire(p *pending) {
	db, kept := c.db, p.source
	contents, err := readContents(db.dir)
	if err != nil {
		db.logger.Warn("nothing retired", "error", err)
		return
	}
	c.deltas = slices.DeleteFunc(c.deltas, func(d deltaLogs) bool { return d.gone.Load() })
	var errs []error
	for _, n := range contents.checkpoints {
		if n < p.generation && n != kept {
			errs = append(errs, db.dir.Remove(format.CheckpointName(n)))
		}
	}
	for _, n := range contents.logs {
		if n < kept && !c.recycle(n) {
			errs = append(errs, db.dir.Remove(format.LogName(n)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		db.logger.Warn("not everything retired", "error", err)
	}
}

// recycle makes a log the spare if it is mapped nowhere: to write to it would change what a reader sees.
func (c *checkpointer) recycle(generation uint64) bool {
	if generation <= c.inherited { // a reader of an earlier DB of this process may still map it
		return false
	}
	for _, d := range c.deltas {
		if generation >= d.first && generation <= d.last {
			return false
		}
	}
	name := format.LogName(generation)
	size, err := fileSize(c.db.dir, name)
	return err == nil && c.db.spares.recycle(name, size)
}

func fileSize(dir mmapio.Dir, name string) (int64, error) {
	f, err := dir.Open(name, mmapio.Read)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Size()
}
