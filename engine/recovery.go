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

// sealedLog is a log that is being recovered: its file and what its first two blocks say.
type sealedLog struct {
	name   string
	file   mmapio.File
	id     format.LogIdentity
	before format.Predecessor
}

// recover brings back the state: the checkpoint that the pointer names, and every consecutive log from its generation on. Where
// the last log was not closed it decides where that ends, and makes the decision durable.
func (db *DB) recover(c *contents, pointer *format.VersionFile) error {
	base, err := db.openBase(pointer)
	if err != nil {
		return err
	}
	logs, err := db.openLogs(c, base.Header().Generation)
	defer func() {
		for _, l := range logs {
			l.file.Close() // read only
		}
	}()
	if err != nil {
		return err
	}
	var span int64 // those of two deltas may be there
	for _, l := range logs {
		span += format.Align(l.id.Size, logStride)
	}
	d, err := newDelta(db.seed, base.Footer().FileLen, span)
	if err != nil {
		return err
	}
	position := base.Header().Position
	db.restore(base, d, position)
	tail, clean, err := db.findEnd(logs[len(logs)-1])
	if err != nil {
		return err
	}
	for i, l := range logs {
		if err := continues(l, position); err != nil {
			return err
		}
		if l.before.Position.Epoch > position.Epoch {
			db.startEpoch(l.before.Position.Epoch, l.before.Position.Seq+1) // of a cut; perhaps no frame followed it
		}
		end := tail.End
		if i+1 < len(logs) {
			end = logs[i+1].before.End
		}
		if position, err = db.replay(l, d, end); err != nil {
			return err
		}
	}
	db.recovery.Logs, db.recovery.Clean = len(logs), clean
	db.tail = tail
	db.tail.Position = position
	db.tail.Commit = position.Seq
	if !clean {
		return db.cut(d)
	}
	db.restoreVersion(position)
	return nil
}

// restoreVersion sets the version of the state that was recovered.
func (db *DB) restoreVersion(at format.Position) {
	db.epoch.Store(at.Epoch)
	db.applied.Store(at.Seq)
}

// openLogs opens the logs from a generation on. The first must be there, and no other may be missing in between.
func (db *DB) openLogs(c *contents, from uint64) ([]*sealedLog, error) {
	var logs []*sealedLog
	for generation := from; ; generation++ {
		if _, found := slices.BinarySearch(c.logs, generation); !found {
			if generation == from || c.logs[len(c.logs)-1] > generation {
				return logs, &format.CorruptionError{File: format.LogName(generation), Offset: -1, Err: errors.New("the log is missing")}
			}
			return logs, nil
		}
		l, err := db.openLog(generation)
		if err != nil {
			return logs, err
		}
		logs = append(logs, l)
		if l.id.UUID != db.uuid {
			return logs, l.corrupt(0, fmt.Errorf("%w: it belongs to database %v, not to %v", format.ErrField, l.id.UUID, db.uuid))
		}
		if n := len(logs); n > 1 && (l.before.Generation != generation-1 || l.before.Salt != logs[n-2].id.Salt) {
			return logs, l.corrupt(format.BlockSize, fmt.Errorf("%w: it does not follow %s", format.ErrField, logs[n-2].name))
		}
	}
}

// openLog opens a log and reads its first two blocks.
func (db *DB) openLog(generation uint64) (*sealedLog, error) {
	l := &sealedLog{name: format.LogName(generation)}
	var err error
	if l.file, err = db.dir.Open(l.name, mmapio.Read); err != nil {
		return nil, err
	}
	if err := l.readHeader(generation); err != nil {
		return nil, errors.Join(err, l.file.Close())
	}
	return l, nil
}

func (l *sealedLog) readHeader(generation uint64) error {
	blocks := make([]byte, format.LogHeaderSize)
	if n, err := l.file.ReadAt(blocks, 0); err != nil {
		if !errors.Is(err, io.EOF) {
			return err
		}
		return l.corrupt(int64(n), fmt.Errorf("%w: the file ends there", format.ErrLength))
	}
	var err error
	if l.id, err = format.DecodeLogIdentity(blocks); err != nil {
		return l.corrupt(0, err)
	}
	if l.id.Generation != generation {
		return l.corrupt(0, fmt.Errorf("%w: it is generation %d", format.ErrField, l.id.Generation))
	}
	if l.before, err = format.DecodePredecessor(blocks[format.BlockSize:], l.id.Salt); err != nil {
		return l.corrupt(format.BlockSize, err)
	}
	size, err := l.file.Size()
	if err == nil && size != l.id.Size {
		err = l.corrupt(min(size, l.id.Size), fmt.Errorf("%w: the file has %d bytes instead of %d", format.ErrLength, size, l.id.Size))
	}
	return err
}

func (l *sealedLog) corrupt(offset int64, err error) error {
	return &format.CorruptionError{File: l.name, Offset: offset, Err: err}
}

// readError gives an error of the log's reader its file.
func (l *sealedLog) readError(err error) error {
	var damage *logrecord.DamageError
	if errors.As(err, &damage) {
		return &format.CorruptionError{File: l.name, Offset: damage.Offset,
			FirstSeq: damage.FirstSeq, LastSeq: damage.LastSeq, Err: damage}
	}
	return fmt.Errorf("%s: %w", l.name, err)
}

// continues checks that a log starts where the history stands. Its epoch may be a later one.
func continues(l *sealedLog, at format.Position) error {
	starts := l.before.Position
	starts.Epoch = at.Epoch
	if starts != at || l.before.Position.Epoch < at.Epoch {
		return l.corrupt(format.BlockSize, fmt.Errorf("%w: it starts at %v, the history stands at %v", format.ErrField, l.before.Position, at))
	}
	return nil
}

// findEnd finds out where the newest log ends, without applying anything. clean says that it was closed. Otherwise what
// the page cache shows may not be on the disk, whatever earlier calls have returned: it
// is synced, and then the disk decides.
func (db *DB) findEnd(l *sealedLog) (tail format.Predecessor, clean bool, err error) {
	tail = format.Predecessor{Generation: l.id.Generation, Salt: l.id.Salt}
	tail.End, clean, err = lastFrame(l, l.file)
	if err != nil || clean {
		return tail, clean, err
	}
	if err := syncFile(db.dir, l.name); err != nil {
		return tail, false, err
	}
	around, err := mmapio.OpenAround(db.dir, l.name)
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

// replay applies a log up to its end, and returns where the history stands then.
func (db *DB) replay(l *sealedLog, d *delta, end int64) (format.Position, error) {
	start, err := d.attach(l.file, &l.id)
	if err != nil {
		return format.Position{}, err
	}
	v := db.view.Load()
	r := logrecord.NewReader(l.file, l.id, l.before.Position, end)
	for {
		frame, err := r.Next()
		if err == io.EOF {
			d.bytes.Add(r.Offset() - format.LogHeaderSize)
			if closed, ok := r.Closed(); ok {
				db.clock.raise(closed)
			}
			return r.Position(), nil
		}
		if err != nil {
			return format.Position{}, l.readError(err)
		}
		db.startEpoch(frame.Header.Epoch, frame.Header.FirstSeq)
		for i := range frame.Records {
			rec := &frame.Records[i]
			is := state{rec.Kind, rec.Expiry}
			if err := v.enter(d.hash(rec.Key), rec.Key, is, (start+rec.Offset)/placeUnit, frame.Header.Time); err != nil {
				return format.Position{}, err
			}
			db.logged.Add(int64(format.RecordLen(len(rec.Key), len(rec.Value), rec.Expiry != 0)))
		}
		d.references.publish()
		db.clock.raise(frame.Header.Time)
		db.recovery.Frames++
		db.recovery.Operations += uint64(len(frame.Records))
		db.updates.Add(uint64(len(frame.Records)))
	}
}

// startEpoch notes that operations from seq on are of this epoch.
func (db *DB) startEpoch(epoch, seq uint64) {
	if n := len(db.epochs); n == 0 || db.epochs[n-1].Epoch < epoch {
		db.epochs = append(slices.Clip(db.epochs), format.EpochStart{Epoch: epoch, FirstSeq: seq})
	}
}

// cut makes durable where the newest log ends, in block 1 of a new log, so that no later open can decide otherwise, and
// begins a new epoch: sequences that a dropped write had used are used again. On
// a full disk that is left to the first write: what was read back is durable, and the same will be read again.
func (db *DB) cut(d *delta) error {
	db.recovery.CutFile, db.recovery.CutAt = format.LogName(db.tail.Generation), db.tail.End
	db.tail.Position.Epoch++
	db.restoreVersion(db.tail.Position)
	db.startEpoch(db.tail.Position.Epoch, db.tail.Position.Seq+1)
	err := db.firstLog(&logStart{generation: db.tail.Generation + 1, previous: db.tail, delta: d}, db.firstLogBytes())
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
