package engine

import (
	"crypto/rand"
	"errors"
	"fmt"

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
	for _, name := range append(c.temporary, format.NewVersionName, format.SpareName, format.LogName(1), format.CheckpointName(1)) {
		if err := ignoreMissing(db.dir.Remove(name)); err != nil {
			return err
		}
	}
	_, _ = rand.Read(db.uuid[:]) // never fails
	const generation = 1
	first := format.Start(db.uuid, db.now())
	base, err := db.writeCheckpoint(generation, first, nil, []format.EpochStart{{Epoch: first.Epoch, FirstSeq: 1}})
	if err != nil {
		return err
	}
	d, err := newDelta(db.seed, 0, 0)
	if err != nil {
		return err
	}
	if err := db.firstLog(&logStart{generation: generation, previous: format.Predecessor{Position: first}, delta: d}); err != nil {
		return err
	}
	if err := publish(db.dir, versionFor(base)); err != nil {
		return err
	}
	db.restore(base, d, first)
	db.recovery.Created, db.recovery.Clean = true, true
	return nil
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
	l, err := db.openLog(1)
	if errors.Is(err, ErrCorrupt) { // it got its name when its header was durable: it was whole once
		return missing
	}
	if err != nil {
		return err
	}
	defer l.file.Close()
	var torn *logrecord.TornError
	if _, err := logrecord.NewReader(l.file, l.id, l.before.Position, 0).Next(); !errors.As(err, &torn) {
		return missing
	}
	return nil
}

// firstLog makes a small log live, before the helper that prepares spares runs.
func (db *DB) firstLog(start *logStart) error {
	size := min(db.opts.LogFileBytes, smallLogBytes)
	if err := ignoreMissing(db.dir.Remove(claimedName)); err != nil {
		return err
	}
	if err := mmapio.Prepare(db.dir, claimedName, size); err != nil {
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

// restore makes base and d the state at a position.
func (db *DB) restore(base *ckpt.Reader, d *delta, at format.Position) {
	db.view.Store(&view{base: base, delta: d})
	db.epochs = base.Epochs()
	db.keys.Store(int64(base.Footer().Records))
	db.epoch.Store(at.Epoch)
	db.applied.Store(at.Seq)
}
