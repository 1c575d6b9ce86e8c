package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// publish makes v the content of version: the commit point of a switch and of a creation is
// the renaming in it, once the directory is synced. What v points to is durable already.
func publish(dir mmapio.Dir, v *format.VersionFile) error {
	if err := ignoreMissing(dir.Remove(format.NewVersionName)); err != nil {
		return err
	}
	f, err := dir.Create(format.NewVersionName)
	if err != nil {
		return err
	}
	buf := make([]byte, format.VersionFileLen)
	v.Encode(buf)
	_, err = f.WriteAt(buf, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, dir.Remove(format.NewVersionName))
	}
	if err := dir.Rename(format.NewVersionName, format.VersionName); err != nil {
		return err
	}
	return dir.Sync()
}

// readPointer returns what version says, nil if there is none. A complete newVersion is a switch, or a creation, that a crash ended just
// before its commit: it counts, for all that it points to is durable. A damaged version is rebuilt. The
// caller publishes the pointer, if publishIt says so, once it has led to a state.
func (db *DB) readPointer(c *contents) (pointer *format.VersionFile, publishIt bool, err error) {
	current, err := readVersionFile(db.dir, format.VersionName)
	if failed := ignoreMissing(err); failed != nil && !errors.Is(failed, ErrCorrupt) {
		return nil, false, failed
	}
	next, nextErr := readVersionFile(db.dir, format.NewVersionName)
	if failed := ignoreMissing(nextErr); failed != nil && !errors.Is(failed, ErrCorrupt) {
		return nil, false, failed
	}
	switch {
	case next != nil && (current == nil || next.UUID == current.UUID && next.Generation > current.Generation):
		// It is written anew: what is read here may be in the page cache alone.
		return next, true, nil
	case current != nil:
		return current, false, nil
	case !c.version:
		return nil, false, nil
	case errors.Is(err, format.ErrVersion):
		return nil, false, err
	}
	pointer, rebuildErr := db.rebuildPointer(c)
	if rebuildErr != nil {
		return nil, false, errors.Join(err, rebuildErr)
	}
	db.repaired(fmt.Sprintf("%v; rebuilt from %s", err, format.CheckpointName(pointer.Generation)))
	return pointer, true, nil
}

// isDecimal reports whether b is a number and perhaps a newline: what the reference implementation keeps in version.
func isDecimal(b []byte) bool {
	b = bytes.TrimSuffix(b, []byte("\n"))
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

// readVersionFile reads version or newVersion. A bad one is ErrCorrupt, or ErrReference.
func readVersionFile(dir mmapio.Dir, name string) (*format.VersionFile, error) {
	f, err := dir.Open(name, mmapio.Read)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return decodeVersionFile(f, name)
}

func decodeVersionFile(f io.ReaderAt, name string) (*format.VersionFile, error) {
	buf := make([]byte, format.VersionFileLen+1) // one more, to see a file that is too long
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	v, err := format.DecodeVersionFile(buf[:n])
	if err != nil && isDecimal(buf[:n]) {
		return nil, ErrReference
	}
	if err != nil {
		return nil, &format.CorruptionError{File: name, Offset: 0, Err: err}
	}
	return &v, nil
}

// rebuildPointer finds out what version must have said. A checkpoint gets its name only when it is whole and
// verified, and every checkpoint together with all logs from its generation on is the same state. So
// the newest checkpoint that still verifies, whole and from the disk, is as good as the one that was named.
func (db *DB) rebuildPointer(c *contents) (*format.VersionFile, error) {
	var errs []error
	for i := len(c.checkpoints) - 1; i >= 0; i-- {
		name := format.CheckpointName(c.checkpoints[i])
		if err := verifyCheckpoint(db.dir, name, nil); err != nil {
			errs = append(errs, err)
			continue
		}
		r, err := openCheckpoint(db.dir, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		v := versionFor(r)
		v.Previous = db.previousTo(c, i)
		return v, nil
	}
	return nil, errors.Join(append(errs, errors.New("no intact checkpoint to rebuild it from"))...)
}

// previousTo is the generation of the newest checkpoint before the ith that can repair it: it verifies, and all logs since are there. 0 if there is none.
func (db *DB) previousTo(c *contents, i int) uint64 {
	for j := i - 1; j >= 0; j-- {
		from := c.checkpoints[j]
		whole := true
		for n := from; n <= c.checkpoints[i] && whole; n++ {
			_, whole = slices.BinarySearch(c.logs, n)
		}
		if whole && verifyCheckpoint(db.dir, format.CheckpointName(from), nil) == nil {
			return from
		}
	}
	return 0
}

// versionFor is the version file that names a checkpoint, without a previous one.
func versionFor(r *ckpt.Reader) *format.VersionFile {
	h := r.Header()
	return &format.VersionFile{
		UUID: h.UUID, Generation: h.Generation, Epoch: h.Position.Epoch,
		CheckpointLen: r.Footer().FileLen, CheckpointSum: r.FooterSum(),
	}
}

// openCheckpoint maps a checkpoint.
func openCheckpoint(dir mmapio.Dir, name string) (*ckpt.Reader, error) {
	f, err := dir.Open(name, mmapio.Read)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ckpt.Open(f)
}

// verifyCheckpoint reads a whole checkpoint from the disk, unless interrupted, which may be nil, says why not.
func verifyCheckpoint(dir mmapio.Dir, name string, interrupted func() error) error {
	around, err := mmapio.OpenAround(dir, name)
	if err != nil {
		return err
	}
	defer around.Close()
	return ckpt.Verify(interruptible{around, interrupted}, around.Size(), name)
}

// verifySums compares a checkpoint on the disk with its checksums, unless interrupted says why not.
func verifySums(dir mmapio.Dir, name string, interrupted func() error) error {
	around, err := mmapio.OpenAround(dir, name)
	if err != nil {
		return err
	}
	defer around.Close()
	return ckpt.VerifySums(interruptible{around, interrupted}, around.Size(), name)
}

// interruptible is a reader that asks before each piece whether to stop.
type interruptible struct {
	io.ReaderAt
	interrupted func() error
}

func (r interruptible) ReadAt(p []byte, off int64) (n int, err error) {
	for err == nil && n < len(p) {
		if r.interrupted != nil {
			if err := r.interrupted(); err != nil {
				return n, err
			}
		}
		var m int
		m, err = r.ReaderAt.ReadAt(p[n:min(len(p), n+mmapio.PieceSize)], off+int64(n))
		n += m
	}
	return n, err
}

// openBase opens the checkpoint that v names. If it is damaged or gone, the one before it is opened
// instead, which is kept for this, with all logs since: the state is the same.
func (db *DB) openBase(v *format.VersionFile) (*ckpt.Reader, error) {
	r, err := db.openNamed(v.Generation, v)
	if err == nil || v.Previous == 0 || errors.Is(err, format.ErrVersion) {
		return r, err
	}
	previous, previousErr := db.openNamed(v.Previous, nil)
	if previousErr != nil {
		return nil, errors.Join(err, previousErr)
	}
	db.repaired(fmt.Sprintf("%v; state rebuilt from %s and the logs since", err, format.CheckpointName(v.Previous)))
	return previous, nil
}

// openNamed opens the checkpoint of a generation and checks that it belongs here, and, with v, that it is the very file that v names.
func (db *DB) openNamed(generation uint64, v *format.VersionFile) (*ckpt.Reader, error) {
	name := format.CheckpointName(generation)
	r, err := openCheckpoint(db.dir, name)
	if err != nil {
		if ignoreMissing(err) == nil {
			err = &format.CorruptionError{File: name, Offset: -1, Err: err}
		}
		return nil, err
	}
	h := r.Header()
	if h.Generation != generation || h.UUID != db.uuid {
		return nil, &format.CorruptionError{File: name, Offset: 0,
			Err: fmt.Errorf("%w: it is generation %d of database %v, not of %v", format.ErrField, h.Generation, h.UUID, db.uuid)}
	}
	if v != nil && (v.CheckpointLen != r.Footer().FileLen || v.CheckpointSum != r.FooterSum()) {
		return nil, &format.CorruptionError{File: name, Offset: int64(r.Footer().FileLen) - format.FooterLen,
			Err: fmt.Errorf("%w: it is not the checkpoint that the version file names", format.ErrField)}
	}
	return r, nil
}

// repaired notes a repair for Stats and the log.
func (db *DB) repaired(what string) {
	db.recovery.Repaired = append(db.recovery.Repaired, what)
	db.logger.Warn("repaired", "what", what)
}
