package engine

import (
	"errors"
	"fmt"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
)

// rebuild makes the checkpoint of a frozen state from files, where what is mapped is damaged, as cause says: from
// the checkpoint that is kept for this if the base is, and the logs since. That they lead to the very same state their chain proves.
func (c *checkpointer) rebuild(p *pending, cause error) error {
	from := p.source
	if fileOf(cause) == format.CheckpointName(from) {
		if from = c.db.kept.Load(); from == p.source {
			return errors.New("there is no earlier checkpoint to make it from")
		}
	}
	built, err := c.rebuildFrom(p, from)
	if err != nil {
		return fmt.Errorf("rebuild it from %s and the logs since: %w", format.CheckpointName(from), err)
	}
	p.built, p.source = built, from
	c.db.logger.Warn("repaired: the checkpoint was rebuilt", "generation", p.generation, "from", format.CheckpointName(from), "cause", cause)
	return nil
}

func (c *checkpointer) rebuildFrom(p *pending, from uint64) (*ckpt.Reader, error) {
	if from != p.source { // before anything is written for nothing
		if err := verifySums(c.db.dir, format.CheckpointName(from), c.interrupted); err != nil {
			return nil, err
		}
	}
	v, err := c.frozenAgain(p, from)
	if err != nil {
		return nil, err
	}
	return c.db.writeCheckpoint(p, v, c.interrupted)
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
	r.interrupted = c.interrupted
	last := len(logs) - 1 // the log that was begun for the checkpoint says where the one before it ends
	c.deltas = append(c.deltas, deltaLogs{from, p.generation, r.view.delta.gone})
	for i, l := range logs[:last] {
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
