package engine

import (
	"errors"
	"fmt"

	"github.com/tongpengdl/small-db/format"
)

// rebuild makes the checkpoint of a frozen state from files alone, where what is mapped is damaged, as cause says: from
// the checkpoint that is kept for this if the base is, and the logs since. That they lead to the very same state their chain proves.
func (c *checkpointer) rebuild(p *pending, cause error) error {
	db := c.db
	from := p.source
	if damaged, ok := errors.AsType[*format.CorruptionError](cause); ok && damaged.File == format.CheckpointName(from) {
		if from = db.kept.Load(); from == p.source {
			return errors.New("there is no earlier checkpoint to make it from")
		}
	}
	v, err := c.frozenAgain(p, from)
	if err != nil {
		return fmt.Errorf("rebuild it from %s and the logs since: %w", format.CheckpointName(from), err)
	}
	built, err := db.writeCheckpoint(p, v, c.interrupted)
	if err != nil {
		return fmt.Errorf("rebuild it from %s and the logs since: %w", format.CheckpointName(from), err)
	}
	p.built, p.source = built, from
	db.logger.Warn("repaired: the checkpoint was rebuilt", "generation", p.generation, "from", format.CheckpointName(from), "cause", cause)
	return nil
}

// frozenAgain brings the frozen state into being once more: the checkpoint of a generation, and the logs since in a delta.
func (c *checkpointer) frozenAgain(p *pending, from uint64) (*view, error) {
	db := c.db
	contents, err := readContents(db.dir)
	if err != nil {
		return nil, err
	}
	base, err := db.openNamed(from, nil)
	if err != nil {
		return nil, err
	}
	logs, err := openLogs(db.dir, db.uuid, contents.logs, from, p.generation)
	defer func() { closeLogs(logs) }()
	if err != nil {
		return nil, err
	}
	r, err := newReplay(db.seed, base, logs)
	if err != nil {
		return nil, err
	}
	last := len(logs) - 1 // the log that was begun for the checkpoint says where the one before it ends
	c.deltas = append(c.deltas, deltaLogs{from, p.generation, r.view.delta.gone})
	for i, l := range logs[:last] {
		if err := c.interrupted(); err != nil {
			return nil, err
		}
		if err := r.apply(l, endOf(logs, i, 0)); err != nil {
			return nil, err
		}
	}
	if err := r.follow(logs[last]); err != nil {
		return nil, err
	}
	if r.position != p.position {
		return nil, logs[last].corrupt(format.BlockSize, fmt.Errorf("%w: it starts at %v instead of %v", format.ErrField, r.position, p.position))
	}
	return &view{base: base, frozen: r.view.delta}, nil
}

// meet notes damage of what the state is read from, has it repaired, and returns err.
func (db *DB) meet(err error) error {
	if !errors.Is(err, ErrCorrupt) || db.replaced(err) {
		return err
	}
	if db.damage.CompareAndSwap(nil, &err) {
		db.logger.Error("damaged data", "error", err)
	}
	db.repair()
	return err
}

// repair asks for a checkpoint, which leaves damaged files behind.
func (db *DB) repair() {
	if c := db.checkpointer; c != nil && c.repair.CompareAndSwap(false, true) {
		c.poke()
	}
}

// replaced reports whether the error is of a file that a checkpoint has replaced: a snapshot of before may still meet it.
func (db *DB) replaced(err error) bool {
	damaged, ok := errors.AsType[*format.CorruptionError](err)
	v := db.view.Load()
	if !ok || v == nil {
		return false
	}
	generation, ok := generationOf(damaged.File)
	return ok && generation < v.base.Header().Generation
}

// generationOf is the generation of a log or a checkpoint by its name.
func generationOf(name string) (generation uint64, ok bool) {
	if generation, ok = format.ParseLogName(name); ok {
		return generation, true
	}
	return format.ParseCheckpointName(name)
}

// damaged returns the damage that was met and not repaired since; nil if there is none.
func (db *DB) damaged() error {
	if err := db.damage.Load(); err != nil {
		return *err
	}
	return nil
}

// healed notes that the state is in a new checkpoint, every byte of it verified: damage of what it was read from before is
// history. What the scrubber has found may lie in the files that are kept for repair, which the checkpoint after this one leaves behind.
func (db *DB) healed(p *pending) {
	if db.damage.Swap(nil) != nil {
		db.repairs.Add(1)
		db.logger.Info("damage is repaired", "by", format.CheckpointName(p.generation))
	}
	db.checkpointer.repair.Store(db.scrubber.stillHurt(p))
}
