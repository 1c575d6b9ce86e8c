package engine

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"time"

	"github.com/tongpengdl/small-db/format"
)

// Open opens the database in a directory, and with Options.Create makes one if there is none. It
// returns when everything that reads will see is durable. Only one process at a time can have a directory open.
//
// Errors: ErrNoDatabase, ErrNotEmpty, ErrReference, ErrLocked, ErrDiskFull, ErrCorrupt (a *format.CorruptionError; nothing is
// changed then) and those of the file system.
func Open(opts Options) (*DB, error) {
	started := time.Now()
	db, err := newDB(opts)
	if err != nil {
		return nil, err
	}
	spare, err := db.load()
	if err == nil {
		db.recorded = db.clock.seen()
		err = db.settle()
	}
	if err != nil {
		return nil, fmt.Errorf("open database in %s: %w", opts.Dir, db.giveUp(err))
	}
	db.start(spare)
	db.recovery.Took = time.Since(started)
	return db, nil
}

// newDB opens the directory and reads nothing yet.
func newDB(opts Options) (*DB, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	dir, err := opts.OpenDir(opts.Dir, opts.Create)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && !opts.Create {
			err = fmt.Errorf("%w: create one with Options.Create (-create): %w", ErrNoDatabase, err)
		}
		return nil, fmt.Errorf("open database: %w", err)
	}
	db := &DB{opts: opts, dir: dir, logger: opts.Logger, seed: maphash.MakeSeed(), closeDone: make(chan struct{})}
	db.clock.wall = opts.Now
	return db, nil
}

// giveUp closes what was opened before err, and returns it.
func (db *DB) giveUp(err error) error {
	if db.live != nil {
		err = errors.Join(err, db.live.close())
	}
	return errors.Join(diskError(err), db.dir.Close())
}

// load locks the directory and brings the state into being. spare says that a spare log waits there.
func (db *DB) load() (spare bool, err error) {
	c, err := readContents(db.dir)
	if err != nil {
		return false, err
	}
	if err := db.refuseReference(c); err != nil { // not even locked
		return false, err
	}
	if !c.version && !c.newVersion && !db.opts.Create {
		if err := db.mayCreate(c); errors.Is(err, ErrCorrupt) { // there was a database
			return false, err
		}
		return false, fmt.Errorf("%w: there is no file %q; create a database with Options.Create (-create)", ErrNoDatabase, format.VersionName)
	}
	if !c.version && len(c.foreign) > 0 {
		return false, fmt.Errorf("%w: found %q; give it a directory of its own", ErrNotEmpty, c.foreign[0])
	}
	if err := db.dir.Lock(format.LockName); err != nil {
		return false, err
	}
	if c, err = readContents(db.dir); err != nil { // what another process did before it released the lock
		return false, err
	}
	pointer, publishIt, err := db.readPointer(c)
	if err != nil {
		return false, err
	}
	if pointer == nil {
		return false, db.create(c)
	}
	db.uuid = pointer.UUID
	if err := db.recover(c, pointer); err != nil {
		return false, err
	}
	if publishIt {
		if err := publish(db.dir, pointer); err != nil {
			return false, err
		}
	}
	if !db.recovery.Clean { // after version is durable: a log that follows must not be all that there is
		if err := db.cut(); err != nil {
			return false, err
		}
	}
	return db.clean(c, pointer)
}

// refuseReference is ErrReference for a directory of the reference implementation.
func (db *DB) refuseReference(c *contents) error {
	for name, there := range map[string]bool{format.VersionName: c.version, format.NewVersionName: c.newVersion} {
		if !there {
			continue
		}
		if _, err := readVersionFile(db.dir, name); errors.Is(err, ErrReference) {
			return fmt.Errorf("%w; convert it with: smalldb migrate %s NEW", err, db.opts.Dir)
		}
	}
	return nil
}

// clean removes what no state needs: what a crash left, and what a crash kept from being removed.
func (db *DB) clean(c *contents, pointer *format.VersionFile) (spare bool, err error) {
	kept := db.view.Load().base.Header().Generation
	if pointer.Previous != 0 {
		kept = min(kept, pointer.Previous)
	}
	db.kept.Store(kept)
	garbage := c.temporary
	if c.newVersion { // readPointer has renamed it if it counted
		garbage = append(garbage, format.NewVersionName)
	}
	for _, n := range c.checkpoints {
		if n != kept && n != pointer.Generation {
			garbage = append(garbage, format.CheckpointName(n))
		}
	}
	for _, n := range c.logs {
		if n < kept {
			garbage = append(garbage, format.LogName(n))
		}
	}
	if c.spare && !db.usableSpare() {
		c.spare = false
		garbage = append(garbage, format.SpareName)
	}
	for _, name := range garbage {
		if err := ignoreMissing(db.dir.Remove(name)); err != nil {
			return false, err
		}
	}
	return c.spare, nil
}

// start starts the goroutines.
func (db *DB) start(spare bool) {
	db.spares = newSpares(db.dir, db.opts.LogFileBytes, spare, db.logger)
	db.pipeline = newPipeline(pipelineLimit{group: format.MaxGroupLen, queue: queueBytes}, db.commit)
	db.scrubber = newScrubber(db)
	db.checkpointer = newCheckpointer(db)
	go db.checkpointer.run()
	go db.scrubber.run()
	if len(db.recovery.Repaired) > 0 {
		db.repair() // what is left of the damage
	}
	if db.opts.WarmUp == WarmUpBackground {
		db.warmer.start(db.view.Load())
	}
}

// queueBytes is how much may wait to be committed before writers have to wait, in bytes of records.
const queueBytes = 64 << 20
