package mmapio

import (
	"errors"
	"io"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Around reads a file around the page cache: what it returns came from the disk. Where
// the file system has no direct reads it evicts the cached copy first, which is
// weaker, for pages that are mapped or dirty stay. It is used by one goroutine at a time.
type Around struct {
	f      File
	size   int64
	direct bool
	buf    []byte // aligned for direct reads
}

// directAlign is the alignment of direct reads, in bytes: enough for any sector size.
const directAlign = 4096

// OpenAround opens name for reading around the page cache.
func OpenAround(d Dir, name string) (*Around, error) {
	f, err := d.Open(name, ReadAround)
	direct := err == nil && directFlag != 0
	if errors.Is(err, unix.EINVAL) { // a file system without direct reads
		f, err = d.Open(name, Read)
	}
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err == nil && !direct {
		err = f.Evict()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Around{f: f, size: size, direct: direct, buf: alignedBuffer(PieceSize + directAlign)}, nil
}

// alignedBuffer returns n bytes that start at a multiple of directAlign.
func alignedBuffer(n int) []byte {
	b := make([]byte, n+directAlign)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) % directAlign
	return b[skip : int(skip)+n]
}

// Size is the length of the file when it was opened, in bytes.
func (a *Around) Size() int64 { return a.size }

// ReadAt reads as io.ReaderAt does, at any offset and length.
func (a *Around) ReadAt(p []byte, off int64) (int, error) {
	if !a.direct {
		return a.f.ReadAt(p, off)
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		skip := at % directAlign
		want := min(int64(len(a.buf)), (skip+int64(len(p)-done)+directAlign-1)/directAlign*directAlign)
		n, err := a.f.ReadAt(a.buf[:want], at-skip)
		if int64(n) <= skip {
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return done, err
		}
		got := copy(p[done:], a.buf[skip:n])
		done += got
		if err != nil && done < len(p) {
			return done, err
		}
	}
	return done, nil
}

// Close closes the file.
func (a *Around) Close() error { return a.f.Close() }
