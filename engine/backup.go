package engine

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// Backup writes one consistent copy of the database to w, while writes go on: a checkpoint of all that was acknowledged before
// the call. The version is that of the state in it. Restore makes a database of it again. w is called with at
// most 256 KiB at a time; how fast it takes them holds up nobody else. What w got is a backup only once Backup has returned nil. Errors are those of w
// and ctx, ErrClosed, and ErrCorrupt for damage that was met: then there is no backup.
func (db *DB) Backup(ctx context.Context, w io.Writer) (Version, error) {
	s, at, err := db.pin(ctx)
	if err != nil {
		return Version{}, fmt.Errorf("backup: %w", err)
	}
	if err := s.backup(ctx, w, at); err != nil {
		return Version{}, fmt.Errorf("backup: %w", s.db.meet(readError(err)))
	}
	return s.Version(), nil
}

// pin takes a snapshot between two groups, and says where the history stands there.
func (db *DB) pin(ctx context.Context) (s *Snapshot, at format.Position, err error) {
	err = db.pipeline.between(ctx, func() error {
		if db.failed() == nil {
			// Engine time goes with the copy. Without room for that it is a little older.
			if err := db.stamp(); err != nil && !errors.Is(err, ErrDiskFull) {
				return err
			}
		}
		s, at = db.Snapshot(), db.tail.Position
		if db.live != nil {
			at = db.live.framer.Position()
		}
		if err := s.Err(); err != nil {
			return err
		}
		if at.Seq != s.seq { // a group was written and could not be entered: the engine has failed
			return db.failed()
		}
		return nil
	})
	return s, at, err
}

// backup writes the state, as of the engine time of the position, as a checkpoint of the first generation.
func (s *Snapshot) backup(ctx context.Context, w io.Writer, at format.Position) error {
	header := format.CheckpointHeader{UUID: s.db.uuid, Generation: firstGeneration, Salt: randomUint64(), Position: at}
	b, err := ckpt.NewStreamBuilder(interruptibleWriter{ctx, w}, header, s.view.keysAtMost())
	if err != nil {
		return err
	}
	s.time = at.Time
	walk, err := s.walk(nil, nil, false)
	if err != nil {
		return err
	}
	if err := walk.build(b, ctx.Err); err != nil {
		return err
	}
	_, err = b.Finish(s.db.epochs)
	return err
}

// interruptibleWriter writes nothing any more once its context has ended.
type interruptibleWriter struct {
	ctx context.Context
	w   io.Writer
}

func (w interruptibleWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

// Restore makes a database in opts.Dir of what Backup wrote: the same keys, values, deadlines and versions. The directory must not exist or be empty. Nothing is put
// in place before all of r was received and verified from the disk. If Restore fails, there is no database and it may be tried again, unless the error
// wraps ErrIndeterminate: then the last step has failed, and the database may be there. The history goes on in a new epoch that no other history of this database
// will come to, so that no version is ever given twice.
//
// Errors: ErrNotBackup for bytes that are no backup, or not all of one; ErrNotEmpty, ErrLocked, ErrDiskFull, ErrIndeterminate, and those of r and the file system.
func Restore(opts Options, r io.Reader) error {
	opts.Create = true
	db, err := newDB(opts)
	if err != nil {
		return err
	}
	if err := db.receive(r); err != nil {
		return fmt.Errorf("restore into %s: %w", opts.Dir, db.giveUp(err))
	}
	if err := db.dir.Close(); err != nil {
		return fmt.Errorf("restore into %s: %w: %w", opts.Dir, ErrIndeterminate, err)
	}
	return nil
}

// maxRestoredEpoch is far beyond what 2^30 restores, each of the last, come to.
const maxRestoredEpoch = 1 << 62

// receive makes the database.
func (db *DB) receive(r io.Reader) error {
	c, err := db.lockEmpty()
	if err != nil {
		return err
	}
	if err := db.clear(c); err != nil {
		return err
	}
	base, err := db.receiveCheckpoint(r)
	if err != nil {
		return err
	}
	db.uuid = base.Header().UUID
	at := base.Header().Position
	if at.Epoch > maxRestoredEpoch {
		return fmt.Errorf("%w: it is of epoch %d", ErrNotBackup, at.Epoch)
	}
	// The database that was copied, and other copies of it, raise their epochs one by one.
	at.Epoch += 1 + randomUint64()>>32
	if err := db.startWith(base, at); err != nil {
		return err
	}
	err = publish(db.dir, versionFor(base))
	if err == nil { // it is there, and only its closing is left
		err = db.seal()
		db.live = nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrIndeterminate, err)
	}
	return nil
}

// lockEmpty locks the directory and reads it: there is no database in it, and none that another process is just making.
func (db *DB) lockEmpty() (*contents, error) {
	c, err := readContents(db.dir)
	if err != nil {
		return nil, err
	}
	if err := db.refuseReference(c); err != nil {
		return nil, err
	}
	if len(c.foreign) > 0 { // not ours, not even to lock
		return nil, db.mayCreate(c)
	}
	if err := db.dir.Lock(format.LockName); err != nil {
		return nil, err
	}
	if c, err = readContents(db.dir); err != nil { // what another process did before it released the lock
		return nil, err
	}
	pointer, _, err := db.readPointer(c)
	if err != nil {
		return nil, err
	}
	if pointer != nil {
		return nil, fmt.Errorf("%w: there is a database already", ErrNotEmpty)
	}
	return c, db.mayCreate(c)
}

// receiveCheckpoint makes what r yields the first checkpoint, once it is verified.
func (db *DB) receiveCheckpoint(r io.Reader) (*ckpt.Reader, error) {
	name := format.CheckpointName(firstGeneration)
	temp := name + format.TempSuffix
	err := receiveFile(db.dir, temp, r)
	if err == nil {
		if err = verifyCheckpoint(db.dir, temp, nil); errors.Is(err, ErrCorrupt) {
			err = fmt.Errorf("%w: %w", ErrNotBackup, err)
		}
	}
	var base *ckpt.Reader
	if err == nil {
		base, err = openCheckpoint(db.dir, temp)
	}
	if err == nil && base.Header().Generation != firstGeneration {
		err = fmt.Errorf("%w: it is the checkpoint of generation %d of a database", ErrNotBackup, base.Header().Generation)
	}
	if err != nil {
		return nil, errors.Join(err, ignoreMissing(db.dir.Remove(temp)))
	}
	if err := db.dir.Rename(temp, name); err != nil { // durable with the name of the first log
		return nil, err
	}
	return openCheckpoint(db.dir, name)
}

// receiveFile makes a new file of what r yields, durably.
func receiveFile(dir mmapio.Dir, name string, r io.Reader) error {
	f, err := dir.Create(name)
	if err != nil {
		return err
	}
	buf := make([]byte, mmapio.PieceSize)
	var at int64
	for err == nil {
		n := 0
		for n < len(buf) && err == nil {
			var m int
			m, err = r.Read(buf[n:])
			n += m
		}
		if n > 0 {
			if err := mmapio.WritePieces(f, buf[:n], at); err != nil {
				return errors.Join(err, f.Close())
			}
			at += int64(n)
		}
	}
	if err != io.EOF { //nolint:errorlint // a wrapped one is not the end, but what has gone wrong
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}
