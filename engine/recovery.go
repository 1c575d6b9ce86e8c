package engine

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/logrecord"
	"github.com/tongpengdl/small-db/mmapio"
)

// recover brings back the state: the checkpoint that the pointer names, and every consecutive log from its generation on. Where
// the last log was not closed it decides where that ends; nothing is changed.
func (db *DB) recover(c *contents, pointer *format.VersionFile) error {
	base, err := db.openBase(pointer)
	if err != nil {
		return err
	}
	from := base.Header().Generation
	logs, err := openLogs(db.dir, db.uuid, c.logs, from, max(from, c.newestLog()))
	defer func() { closeLogs(logs) }()
	if err != nil {
		return err
	}
	r, err := newReplay(db.seed, base, logs)
	if err != nil {
		return err
	}
	tail, clean, err := findEnd(db.dir, logs[len(logs)-1])
	if err != nil {
		return err
	}
	for i, l := range logs {
		if err := r.apply(l, endOf(logs, i, tail.End)); err != nil {
			return err
		}
	}
	db.adopt(r)
	db.recovery.Logs, db.recovery.Clean = len(logs), clean
	db.tail = tail
	db.tail.Position = r.position
	db.tail.Commit = r.position.Seq
	return nil
}

// adopt makes what was replayed the state.
func (db *DB) adopt(r *replay) {
	db.view.Store(r.view)
	db.epochs = r.epochs
	db.clock.raise(r.time)
	db.epoch.Store(r.position.Epoch)
	db.applied.Store(r.position.Seq)
	db.logged.Store(r.recordBytes)
	db.updates.Store(r.operations)
	db.recovery.Frames, db.recovery.Operations = r.frames, r.operations
}

// findEnd finds out where the newest log ends, without applying anything. clean says that it was closed. Otherwise what
// the page cache shows may not be on the disk, whatever earlier calls have returned: it
// is synced, and then the disk decides.
func findEnd(dir mmapio.Dir, l *sealedLog) (tail format.Predecessor, clean bool, err error) {
	tail = format.Predecessor{Generation: l.id.Generation, Salt: l.id.Salt}
	tail.End, clean, err = lastFrame(l, l.file)
	if err != nil || clean {
		return tail, clean, err
	}
	if err := syncFile(dir, l.name); err != nil {
		return tail, false, err
	}
	around, err := mmapio.OpenAround(dir, l.name)
	if err != nil {
		return tail, false, err
	}
	defer around.Close()
	tail.End, clean, err = lastFrame(l, around)
	return tail, clean, err
}

// lastFrame returns the offset just past the last frame, and whether a trailer of a clean close follows.
func lastFrame(l *sealedLog, src io.ReaderAt) (end int64, closed bool, err error) {
	r := logrecord.NewReader(src, l.id, l.before.Position, 0)
	var trailer *format.Trailer
	for {
		frame, err := r.Next()
		var torn *logrecord.TornError
		switch {
		case errors.As(err, &torn):
			return r.Offset(), false, nil
		case err == io.EOF:
			if trailer.Salt != 0 {
				return 0, false, &format.CorruptionError{File: format.LogName(trailer.Generation), Offset: -1,
					FirstSeq: r.Position().Seq + 1, Err: fmt.Errorf("the log is missing, but the trailer of %s names it", l.name)}
			}
			return r.Offset(), true, nil
		case err != nil:
			return 0, false, l.readError(err)
		case frame.Header.Kind == format.FrameTrailer:
			trailer = &format.Trailer{Generation: frame.Trailer.Generation, Salt: frame.Trailer.Salt}
		}
	}
}

// syncFile makes what the page cache holds of a file durable, and evicts it.
func syncFile(dir mmapio.Dir, name string) error {
	f, err := dir.Open(name, mmapio.Write)
	if err != nil {
		return err
	}
	err = f.Sync()
	if err == nil {
		err = f.Evict()
	}
	return errors.Join(err, f.Close())
}

// cut makes durable where the newest log ends, in block 1 of a new log, so that no later open can decide otherwise, and
// begins a new epoch: sequences that a dropped write had used are used again. On
// a full disk that is left to the first write: what was read back is durable, and the same will be read again.
func (db *DB) cut() error {
	db.recovery.CutFile, db.recovery.CutAt = format.LogName(db.tail.Generation), db.tail.End
	db.tail.Position.Epoch++
	db.epoch.Store(db.tail.Position.Epoch)
	db.epochs = append(slices.Clip(db.epochs), format.EpochStart{Epoch: db.tail.Position.Epoch, FirstSeq: db.tail.Position.Seq + 1})
	err := db.firstLog(&logStart{generation: db.tail.Generation + 1, previous: db.tail, delta: db.view.Load().delta}, db.firstLogBytes())
	if errors.Is(diskError(err), ErrDiskFull) {
		db.logger.Warn("no room for a new log, the database is read-only until there is", "error", err)
		return nil
	}
	return err
}

// usableSpare reports whether the spare has the size that logs have now.
func (db *DB) usableSpare() bool {
	f, err := db.dir.Open(format.SpareName, mmapio.Read)
	if err != nil {
		return false
	}
	defer f.Close()
	size, err := f.Size()
	return err == nil && size == db.opts.LogFileBytes
}
