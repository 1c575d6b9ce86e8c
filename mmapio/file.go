package mmapio

import (
	"fmt"
	"os"
)

// File is an open file. ReadAt, WriteAt, Flush and Sync may be called
// concurrently; Close must come last.
type File interface {
	// Name is the name it was opened under.
	Name() string
	// Size is its length in bytes.
	Size() (int64, error)
	// ReadAt reads as io.ReaderAt does.
	ReadAt(p []byte, off int64) (int, error)
	// WriteAt writes all of p at off or returns an error. After an error any part of
	// p may have been written.
	WriteAt(p []byte, off int64) (int, error)
	// Flush asks the system to write this range to the disk and waits until it has. It
	// spreads the work of a later Sync and makes nothing durable by itself.
	Flush(off, n int64) error
	// Sync makes all that was written so far durable (fdatasync).
	Sync() error
	// Evict asks the system to forget its cached copy of the file. What is mapped, dirty or under
	// way stays.
	Evict() error
	// Fd is the descriptor, valid until Close: for mapping.
	Fd() uintptr
	// Close releases the descriptor. Mappings of the file stay valid.
	Close() error
}

// osFile is the File of the operating system.
type osFile struct {
	name string
	f    *os.File
}

func (f *osFile) Name() string { return f.name }

func (f *osFile) Size() (int64, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is not a regular file", f.f.Name())
	}
	return info.Size(), nil
}

func (f *osFile) ReadAt(p []byte, off int64) (int, error)  { return f.f.ReadAt(p, off) }
func (f *osFile) WriteAt(p []byte, off int64) (int, error) { return f.f.WriteAt(p, off) }
func (f *osFile) Fd() uintptr                              { return f.f.Fd() }
func (f *osFile) Close() error                             { return f.f.Close() }

func (f *osFile) Flush(off, n int64) error {
	if err := flushRange(f.f.Fd(), off, n); err != nil {
		return &os.PathError{Op: "sync_file_range", Path: f.f.Name(), Err: err}
	}
	return nil
}

func (f *osFile) Sync() error {
	if err := dataSync(f.f.Fd()); err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.f.Name(), Err: err}
	}
	return nil
}

func (f *osFile) Evict() error {
	if err := evict(f.f.Fd()); err != nil {
		return &os.PathError{Op: "fadvise", Path: f.f.Name(), Err: err}
	}
	return nil
}

// PieceSize is how much of a long write is handed to the disk at a time, in
// bytes. Each piece is waited for, so that a commit never queues behind
// more than one of them.
const PieceSize = 256 << 10

// WritePieces writes p at off in pieces of PieceSize, each flushed before the next. The
// bytes are durable only after Sync.
func WritePieces(f File, p []byte, off int64) error {
	for len(p) > 0 {
		n := min(len(p), PieceSize)
		if _, err := f.WriteAt(p[:n], off); err != nil {
			return err
		}
		if err := f.Flush(off, int64(n)); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// zeros is what Prepare writes.
var zeros [PieceSize]byte

// Prepare creates the file name with size bytes of real zeros and makes them durable under that name in
// the sense of the package comment: the directory still needs its Sync. Writing in
// it later changes neither its size nor its allocation, so a durable
// write of data is one write to the disk and not also one of the file system's journal.
//
// It writes a temporary file first and renames it, so that a file under the final
// name is whole. A failure leaves nothing but that temporary file behind.
func Prepare(d Dir, tempName, name string, size int64) error {
	f, err := d.Create(tempName)
	if err != nil {
		return err
	}
	defer f.Close()
	for off := int64(0); off < size; off += PieceSize {
		if err := WritePieces(f, zeros[:min(PieceSize, size-off)], off); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return d.Rename(tempName, name)
}
