package inspect

import (
	"errors"
	"fmt"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// checkpoint is a checkpoint of the directory.
type checkpoint struct {
	generation uint64
	name       string
	size       int64
	reader     *ckpt.Reader // nil unless all of it verifies
	foreign    bool         // it verifies, but is not the checkpoint that belongs here
	records    bool         // all its records verify, whatever else does not
}

// sound reports whether the checkpoint can be relied on.
func (p *checkpoint) sound() bool { return p != nil && p.reader != nil && !p.foreign }

// usable reports whether all its records can be relied on.
func (p *checkpoint) usable() bool { return p != nil && p.records && !p.foreign }

// verifyCheckpoint verifies a whole checkpoint by itself.
func (c *checker) verifyCheckpoint(p *checkpoint) error {
	src, closeIt := c.open(p.name, p.size, aboutCheckpoint, p.generation)
	if src == nil {
		return c.ctx.Err()
	}
	defer closeIt()
	c.progress.begin(p.size)
	defer c.progress.end()
	err := ckpt.Verify(src, p.size, p.name)
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	if err != nil {
		c.scanCheckpoint(p, src, err)
		return c.ctx.Err()
	}
	p.records = true
	f, err := c.dir.Open(p.name, mmapio.Read)
	if err == nil {
		p.reader, err = ckpt.Open(f)
		err = errors.Join(err, f.Close())
	}
	if err != nil { // the disk gave other bytes a moment ago
		p.reader = nil
		c.reject(p, -1, err)
		return nil
	}
	if s := c.report.file(p.name); s != nil {
		s.Keys, s.LastSeq = p.reader.Footer().Records, p.reader.Header().Position.Seq
	}
	if h := p.reader.Header(); h.Generation != p.generation {
		c.reject(p, 0, fmt.Errorf("%w: it is generation %d", format.ErrField, h.Generation))
	}
	return nil
}

// reject adds the finding that a checkpoint is not what it must be.
func (c *checker) reject(p *checkpoint, offset int64, err error) {
	p.foreign = true
	c.add(Finding{File: p.name, Offset: offset, Severity: Damage, What: err.Error(), Err: err, about: aboutCheckpoint, generation: p.generation})
}

// scanCheckpoint reports what is wrong with a checkpoint: what its verification has met first, and what lies behind.
func (c *checker) scanCheckpoint(p *checkpoint, src *source, err error) {
	first := Finding{File: p.name, Offset: -1, Severity: Damage, What: err.Error(), Err: err, about: aboutCheckpoint, generation: p.generation}
	var damage *format.CorruptionError
	if errors.As(err, &damage) {
		first.Offset, first.What = damage.Offset, damage.Err.Error()
	}
	c.add(first)
	count := src.count
	src.count = func(n int64) { c.report.Totals.Verified += n } // the second time is no progress
	defer func() { src.count = count }()
	info := scan(src)
	p.records = info.recordsIntact()
	for _, d := range info.Damage {
		if d.Offset == first.Offset {
			continue // the same
		}
		if s := info.segmentAt(first.Offset); s != nil && s.Offset == d.Offset {
			continue // the same, seen as a whole
		}
		d.Severity, d.about, d.generation = Damage, aboutCheckpoint, p.generation
		c.add(d)
	}
}

// checkCheckpoints holds the checkpoints against the pointer, and the directory against what it names.
func (c *checker) checkCheckpoints(unfinished bool) {
	if v := c.pointer; v != nil {
		if p := c.checkpoints[v.Generation]; p == nil {
			c.missing(format.CheckpointName(v.Generation), aboutCheckpoint, v.Generation, "it is missing, but the version file names it")
		} else if p.sound() {
			c.checkNamed(p, v)
		}
		if v.Previous != 0 && c.checkpoints[v.Previous] == nil {
			c.missing(format.CheckpointName(v.Previous), aboutCheckpoint, v.Previous, "it is missing, but the version file says that it is kept for repair")
		}
		for _, n := range c.generations.checkpoints {
			switch {
			case n < c.kept || n > c.kept && n < v.Generation:
				c.note(format.CheckpointName(n), "it is not needed any more; the next open removes it")
			case n > v.Generation:
				c.note(format.CheckpointName(n), "the switch to it was cut off; the next open removes it")
			}
		}
	} else if !unfinished {
		if len(c.checkpoints) == 0 {
			c.missing(format.CheckpointName(1), aboutCheckpoint, 1, "there is no checkpoint at all")
		}
	}
	for _, n := range c.generations.checkpoints {
		p, l := c.checkpoints[n], c.logs[n]
		if !p.sound() || l == nil || l.beforeErr != nil || l.idErr != nil {
			continue
		}
		starts := p.reader.Header().Position
		starts.Epoch = max(starts.Epoch, l.before.Position.Epoch) // a restored database goes on in a new one
		if starts == l.before.Position {
			continue
		}
		c.reject(p, 0, fmt.Errorf("%w: it stands at %v, but %s continues %v", format.ErrField, p.reader.Header().Position, l.name, l.before.Position))
	}
}

// checkNamed checks that p is the very checkpoint that v names.
func (c *checker) checkNamed(p *checkpoint, v *format.VersionFile) {
	r := p.reader
	switch {
	case v.CheckpointLen != r.Footer().FileLen || v.CheckpointSum != r.FooterSum():
		c.reject(p, p.size-format.FooterLen, fmt.Errorf("%w: it is not the checkpoint that the version file names: %d bytes with sum %016x instead of %d with %016x",
			format.ErrField, r.Footer().FileLen, r.FooterSum(), v.CheckpointLen, v.CheckpointSum))
	case v.Epoch < r.Header().Position.Epoch:
		c.reject(p, 0, fmt.Errorf("%w: its epoch is %d, the version file was written in %d", format.ErrField, r.Header().Position.Epoch, v.Epoch))
	}
}
