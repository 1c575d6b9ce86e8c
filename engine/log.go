package engine

import (
	"errors"
	"fmt"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/logrecord"
	"github.com/tongpengdl/small-db/mmapio"
)

// liveLog is the newest log, which groups are appended to. It belongs to the holder of the pipeline.
type liveLog struct {
	id     format.LogIdentity
	name   string
	sync   SyncMode
	direct mmapio.File // opened with O_DSYNC; nil in other sync modes
	plain  mmapio.File
	framer *logrecord.Framer
	start  int64 // where it is mapped in the memory of the delta, in bytes
}

// room reports whether a frame with this payload fits, and a trailer after it.
func (l *liveLog) room(payload int) bool {
	align := int64(l.id.Align)
	return l.framer.Offset()+format.FrameLen(payload, align)+logrecord.TrailerLen(align) <= l.id.Size
}

// write makes a frame durable at the framer's offset, whatever its size with one O_DSYNC write, if that is the mode: up to 256 KiB that is as fast as pieces and an
// fdatasync, and beyond faster by two thirds, up to the largest group (seen: BenchmarkLogWrite in benchmarks).
func (l *liveLog) write(frame []byte) error {
	off := l.framer.Offset()
	if off+int64(len(frame)) > l.id.Size { // never: there was room, or a larger log was taken
		return fmt.Errorf("a frame of %d bytes does not fit into a log of %d", len(frame), l.id.Size)
	}
	if l.direct != nil {
		_, err := l.direct.WriteAt(frame, off)
		return err
	}
	if l.sync == SyncNone {
		_, err := l.plain.WriteAt(frame, off)
		return err
	}
	if err := mmapio.WritePieces(l.plain, frame, off); err != nil {
		return err
	}
	return l.plain.Sync()
}

// close closes the descriptors.
func (l *liveLog) close() error {
	err := l.plain.Close()
	if l.direct != nil {
		err = errors.Join(err, l.direct.Close())
	}
	return err
}

// logStart is what block 1 of the next log says, and where its operations go.
type logStart struct {
	generation uint64 // of the next log
	previous   format.Predecessor
	delta      *delta // that the log is mapped into
}

// goLive makes the file prepared under this name the log of a generation: blocks 0 and 1
// become durable, then the name. From the moment of the renaming the log before it has ended where block 1 says, so nothing may be
// written there any more, whatever happens here; to call it again with the same start is right.
func (db *DB) goLive(prepared string, size int64, start *logStart) (*liveLog, error) {
	id := format.LogIdentity{
		Align: uint32(db.opts.FrameAlign), UUID: db.uuid, Generation: start.generation, Salt: randomUint64(), Size: size,
	}
	l := &liveLog{id: id, name: format.LogName(id.Generation), sync: db.opts.Sync}
	var err error
	if l.plain, err = db.dir.Open(prepared, mmapio.Write); err != nil {
		return nil, err
	}
	if err := db.baptise(l, prepared, start); err != nil {
		// After a failed sync the file is not to be trusted: a later try makes another one.
		return nil, errors.Join(err, l.close(), ignoreMissing(db.dir.Remove(prepared)))
	}
	l.framer = logrecord.NewFramer(id.Salt, int64(id.Align), format.LogHeaderSize, start.previous.Position)
	return l, nil
}

// baptise gives the log its identity and its name, opens it for durable writes and maps it.
func (db *DB) baptise(l *liveLog, prepared string, start *logStart) error {
	blocks := make([]byte, format.LogHeaderSize)
	l.id.Encode(blocks)
	start.previous.Encode(blocks[format.BlockSize:], l.id.Salt)
	if _, err := l.plain.WriteAt(blocks, 0); err != nil {
		return err
	}
	if err := l.plain.Sync(); err != nil {
		return err
	}
	if err := db.dir.Rename(prepared, l.name); err != nil {
		return err
	}
	if err := db.dir.Sync(); err != nil {
		return err
	}
	var err error
	if l.sync == SyncDsync {
		if l.direct, err = db.dir.Open(l.name, mmapio.WriteDurable); err != nil {
			return err
		}
	}
	if l.start, err = start.delta.attach(renamedFile{l.plain, l.name}, &l.id); err != nil {
		return err
	}
	db.lockLater(start.delta.memory, l.start, l.id.Size)
	return nil
}

// renamedFile is a file under the name that it has now: what is said of its mapping must name that.
type renamedFile struct {
	mmapio.File
	name string
}

func (f renamedFile) Name() string { return f.name }

// rotate ends the live log, if there is one, and makes the next one live, mapped into d and large enough for a
// frame with this payload. It is called by the holder of the pipeline. An
// error leaves the history as it is; until a rotation has succeeded nothing can be written.
func (db *DB) rotate(d *delta, payload int) error {
	prepared, size, err := db.spares.take(db.logNeed(payload))
	if err != nil {
		return diskError(fmt.Errorf("prepare the next log: %w", err))
	}
	old := db.live
	if old != nil && old.sync == SyncNone { // a later log may be written durably, and would be worth nothing without this one
		if err := old.plain.Sync(); err != nil {
			return db.fail(fmt.Errorf("sync %s: %w", old.name, err))
		}
	}
	start := &logStart{generation: db.tail.Generation + 1, previous: db.tail, delta: d}
	if old != nil {
		db.mustRotate = true
		start.previous.End = old.framer.Offset()
		start.previous.Position = old.framer.Position()
		start.previous.Commit = start.previous.Position.Seq
	}
	next, err := db.goLive(prepared, size, start)
	if err != nil {
		return diskError(fmt.Errorf("start %s: %w", format.LogName(start.generation), err))
	}
	if old != nil {
		// The successor's block 1 is what ends the old log; the trailer only proves later
		// that the successor was there, so nothing waits for it to be durable.
		trailer := old.framer.Trailer(format.Trailer{Generation: next.id.Generation, Salt: next.id.Salt}, 0)
		if _, err := old.plain.WriteAt(trailer, old.framer.Offset()); err != nil {
			return db.fail(errors.Join(fmt.Errorf("seal %s: %w", old.name, err), next.close()))
		}
		if err := old.close(); err != nil {
			return db.fail(errors.Join(fmt.Errorf("close %s: %w", old.name, err), next.close()))
		}
	}
	db.live, db.mustRotate = next, false
	db.tail = format.Predecessor{Generation: next.id.Generation, Salt: next.id.Salt}
	db.spares.want()
	return nil
}

// logNeed is the size of the smallest log that holds a frame with this payload, in bytes.
func (db *DB) logNeed(payload int) int64 {
	align := int64(db.opts.FrameAlign)
	return format.LogHeaderSize + format.FrameLen(payload, align) + logrecord.TrailerLen(align)
}

// seal writes the trailer of a clean close: the log has ended and has no successor yet.
func (db *DB) seal() error {
	l := db.live
	if l == nil {
		return nil
	}
	if db.mustRotate { // a log under the next name may say already where this one ends
		return l.close()
	}
	trailer := l.framer.Trailer(format.Trailer{Generation: l.id.Generation + 1}, db.clock.now()) // what was due stays due
	err := l.write(trailer)
	if l.sync == SyncNone {
		err = errors.Join(err, l.plain.Sync())
	}
	return errors.Join(err, l.close())
}
