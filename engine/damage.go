package engine

import (
	"errors"
	"strings"
	"sync"

	"github.com/tongpengdl/small-db/format"
)

// damages are the files that were found damaged, until no state needs them any more. All methods may be called concurrently.
type damages struct {
	mu    sync.Mutex
	found []error // the first of each file, in the order in which they were met
}

// add notes damage, and reports whether it is the first of its file.
func (d *damages) add(err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, known := range d.found {
		if fileOf(known) == fileOf(err) {
			return false
		}
	}
	d.found = append(d.found, err)
	return true
}

// first is the damage that was met first; nil if there is none.
func (d *damages) first() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.found) == 0 {
		return nil
	}
	return d.found[0]
}

// of is the damage of a file; nil if there is none.
func (d *damages) of(file string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, known := range d.found {
		if fileOf(known) == file {
			return known
		}
	}
	return nil
}

// forget forgets the damage of files that are gone, and reports whether there was any.
func (d *damages) forget(gone func(file string) bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	var left []error
	for _, known := range d.found {
		if !gone(fileOf(known)) {
			left = append(left, known)
		}
	}
	forgotten := len(left) < len(d.found)
	d.found = left
	return forgotten
}

// fileOf is the file that damage is in.
func fileOf(err error) string {
	if damaged, ok := errors.AsType[*format.CorruptionError](err); ok {
		return damaged.File
	}
	return ""
}

// generationOf is the generation of a log or a checkpoint by its name.
func generationOf(name string) (generation uint64, ok bool) {
	if generation, ok = format.ParseLogName(name); ok {
		return generation, true
	}
	return format.ParseCheckpointName(name)
}

// isHistory reports whether the state is not read from a file (any more): it is what an attempt was writing, or older than the base.
func (db *DB) isHistory(file string) bool {
	if file == format.VersionName || strings.HasSuffix(file, format.TempSuffix) {
		return true
	}
	generation, ok := generationOf(file)
	v := db.view.Load()
	return ok && v != nil && generation < v.base.Header().Generation
}

// needs reports whether the state, or the repair of its checkpoint, needs a file.
func (db *DB) needs(file string) bool {
	kept := db.kept.Load()
	if n, ok := format.ParseLogName(file); ok {
		return n >= kept
	}
	if n, ok := format.ParseCheckpointName(file); ok {
		return n == kept || n == db.view.Load().base.Header().Generation
	}
	return file == format.VersionName
}

// meet notes damage of what the state is read from, has it repaired, and returns err.
func (db *DB) meet(err error) error {
	if !errors.Is(err, ErrCorrupt) || db.isHistory(fileOf(err)) {
		return err
	}
	if db.damage.add(err) {
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

// healed is called when the state is in a new checkpoint, every byte of it verified: damage of what it was read from before is history. What
// is left lies in files that are kept for repair, which the next checkpoint leaves behind, or in what has come since.
func (db *DB) healed(p *pending) (repaired bool) {
	db.checkpointer.repair.Store(false) // before looking: who meets damage from here on asks anew
	if db.damage.forget(db.isHistory) {
		repaired = true
		db.repairs.Add(1)
		db.logger.Info("damage is repaired", "by", format.CheckpointName(p.generation))
	}
	db.scrubber.found.forget(func(file string) bool { return file == format.VersionName || !db.needs(file) })
	if db.damage.first() != nil || db.scrubber.found.first() != nil {
		db.checkpointer.repair.Store(true)
	}
	return repaired
}
