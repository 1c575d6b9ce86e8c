package reference

import (
	"fmt"
	"io"
)

// windowLen is how much is read from a file at a time, in bytes, unless a record is larger.
const windowLen = 256 << 10

// window reads a file in pieces.
type window struct {
	src  io.ReaderAt
	size int64 // of src, in bytes
	held []byte
	at   int64 // offset of held
}

// bytes returns n bytes at off, which lie within the file. They are valid until the next call.
func (w *window) bytes(off, n int64) ([]byte, error) {
	if off < w.at || off+n > w.at+int64(len(w.held)) {
		want := min(max(n, windowLen), w.size-off)
		if int64(cap(w.held)) < want {
			w.held = make([]byte, want)
		}
		w.held, w.at = w.held[:want], off
		if got, err := w.src.ReadAt(w.held, off); int64(got) < want {
			w.held = w.held[:0]
			return nil, fmt.Errorf("read %d bytes at offset %d: %w", want, off, err)
		}
	}
	return w.held[off-w.at:][:n], nil
}
