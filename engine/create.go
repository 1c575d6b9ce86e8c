package engine

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/logrecord"
	"github.com/tongpengdl/small-db/mmapio"
)

// create makes a new database: an empty checkpoint.1, an empty logfile.1, and at last version, whose
// renaming is the commit point. What an earlier creation left unfinished is done again.
func (db *DB) create(c *contents) error {
	if !db.opts.Create {
		return fmt.Errorf("%w: its creation was not finished; finish it with Options.Create (-create)", ErrNoDatabase)
	}
	if err := db.mayCreate(c); err != nil {
		return err
	}
	if err := db.refuseData(c); err != nil {
		return err
	}
	if err := db.clear(c); err != nil {
		return err
	}
	_, _ = rand.Read(db.uuid[:]) // never fails
	first := format.Start(db.uuid, db.clock.now())
	epochs := []format.EpochStart{{Epoch: first.Epoch, FirstSeq: 1}}
	base, err := db.writeCheckpoint(&pending{generation: firstGeneration, position: first, epochs: epochs}, nil, nil)
	if err != nil {
		return err
	}
	if err := db.startWith(base, first); err != nil {
		return err
	}
	if err := publish(db.dir, versionFor(base)); err != nil {
		return err
	}
	db.kept.Store(firstGeneration)
	db.recovery.Created, db.recovery.Clean = true, true
	return nil
}

// firstLogBytes is the size of a log that is made while the database is opened.
func (db *DB) firstLogBytes() int64 { return min(db.opts.LogFileBytes, smallLogBytes) }

// firstGeneration is that of a new database.
const firstGeneration = 1

// startWith makes the first checkpoint, which is durable under its name, the state, and starts an empty log at a position after it.
func (db *DB) startWith(base *ckpt.Reader, at format.Position) error {
	r, err := newReplay(db.seed, base, nil)
	if err != nil {
		return err
	}
	r.position = at
	db.adopt(r)
	start := &logStart{generation: firstGeneration, previous: format.Predecessor{Position: at}, delta: r.view.delta}
	return db.firstLog(start, db.firstLogBytes())
}

// clear removes what an earlier creation may have left.
func (db *DB) clear(c *contents) error {
	for _, name := range append(c.temporary, format.NewVersionName, format.SpareName,
		format.LogName(firstGeneration), format.CheckpointName(firstGeneration)) {
		if err := ignoreMissing(db.dir.Remove(name)); err != nil {
			return err
		}
	}
	return nil
}

// refuseData refuses to create a database over a first checkpoint that holds keys: a creation makes an empty one.
func (db *DB) refuseData(c *contents) error {
	if len(c.checkpoints) == 0 {
		return nil
	}
	name := format.CheckpointName(firstGeneration)
	r, err := openCheckpoint(db.dir, name)
	if err == nil && r.Footer().Records == 0 || err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	}
	what := "is damaged"
	if err == nil {
		what = fmt.Sprintf("holds %d keys", r.Footer().Records)
	}
	return &format.CorruptionError{File: format.VersionName, Offset: -1, Err: fmt.Errorf("it is missing, but %s %s: the database has lost "+
		"its version, or a restore was not finished; restore it again, or move the files away to start anew", name, what)}
}

// mayCreate refuses to create a database where there seems to be one.
func (db *DB) mayCreate(c *contents) error {
	if len(c.foreign) > 0 {
		return fmt.Errorf("%w: found %q", ErrNotEmpty, c.foreign[0])
	}
	missing := &format.CorruptionError{File: format.VersionName, Offset: -1,
		Err: errors.New("it is missing, but there are logs or checkpoints; restore it, or move them away to start anew")}
	if !c.unfinished() {
		return missing
	}
	if len(c.logs) == 0 {
		return nil
	}
	// A creation ends before the first frame is written.
	l, err := openLog(db.dir, firstGeneration)
	if errors.Is(err, ErrCorrupt) { // it got its name when its header was durable: it was whole once
		return missing
	}
	if err != nil {
		return err
	}
	defer l.file.Close()
	var torn *logrecord.TornError
	var damage *logrecord.DamageError
	switch _, err := logrecord.NewReader(l.file, l.id, l.before.Position, 0).Next(); {
	case errors.As(err, &torn):
		return nil
	case err == nil, errors.Is(err, io.EOF), errors.As(err, &damage):
		return missing
	default:
		return l.readError(err)
	}
}

// firstLog makes a log of this size live while the helper that prepares spares does not run.
func (db *DB) firstLog(start *logStart, size int64) error {
	if err := ignoreMissing(db.dir.Remove(claimedName)); err != nil {
		return err
	}
	if err := mmapio.Prepare(db.dir, claimedName, size, nil); err != nil {
		return errors.Join(err, ignoreMissing(db.dir.Remove(claimedName)))
	}
	live, err := db.goLive(claimedName, size, start)
	if err != nil {
		return err
	}
	db.live = live
	db.tail = format.Predecessor{Generation: live.id.Generation, Salt: live.id.Salt}
	return nil
}
