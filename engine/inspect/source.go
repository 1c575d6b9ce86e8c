package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tongpengdl/small-db/format"
)

// progress counts what was read and tells the caller.
type progress struct {
	tell        func(done, total int64)
	done, total int64
	ahead       int64 // how far done may come with the file at hand
}

// add counts n bytes, but no more than begin was told.
func (p *progress) add(n int64) {
	p.done = min(p.done+n, p.ahead)
	p.say()
}

// begin announces a part of the work, end completes it, however much of it was counted.
func (p *progress) begin(n int64) { p.ahead = min(p.done+n, p.total) }
func (p *progress) end()          { p.done = p.ahead; p.say() }

func (p *progress) say() {
	if p.tell != nil {
		p.tell(p.done, p.total)
	}
}

// source reads one file until ctx ends.
type source struct {
	ctx   context.Context
	ra    io.ReaderAt
	name  string
	size  int64 // in bytes
	count func(n int64)

	window   []byte // bytes of the file from windowAt on
	windowAt int64
	large    []byte
}

// ReadAt reads as io.ReaderAt does.
func (s *source) ReadAt(p []byte, off int64) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.ra.ReadAt(p, off)
	if s.count != nil {
		s.count(int64(n))
	}
	return n, err
}

// windowLen is how much is read at a time, in bytes.
const windowLen = 256 << 10

// bytes returns n bytes at off, valid until the next call. They must lie within the file.
func (s *source) bytes(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || n > s.size-off {
		return nil, fmt.Errorf("%w: %d bytes at %d of %d", format.ErrLength, n, off, s.size)
	}
	if n > windowLen {
		return s.exactly(off, n)
	}
	if off < s.windowAt || off+n > s.windowAt+int64(len(s.window)) {
		if s.window == nil {
			s.window = make([]byte, min(windowLen, s.size))
		}
		s.windowAt = off
		s.window = s.window[:min(windowLen, s.size-off)]
		if got, _ := s.ReadAt(s.window, off); got < len(s.window) {
			s.window = s.window[:0]
			return s.exactly(off, n) // a bad sector ahead must not hide these bytes
		}
	}
	at := off - s.windowAt
	return s.window[at : at+n], nil
}

// exactly reads n bytes at off and not one more.
func (s *source) exactly(off, n int64) ([]byte, error) {
	if int64(cap(s.large)) < n {
		s.large = make([]byte, n)
	}
	b := s.large[:n]
	got, err := s.ReadAt(b, off)
	switch {
	case int64(got) == n:
		return b, nil
	case s.ctx.Err() != nil:
		return nil, s.ctx.Err()
	case err == nil, errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return nil, &readError{fmt.Errorf("read %s at offset %d: %w", s.name, off+int64(got), err)}
}

// readError is an error of the disk and not of the bytes.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// lastByte is the offset just past the last byte from off on that is not zero, or off.
func (s *source) lastByte(off int64) (int64, error) {
	last := off
	for at := off; at < s.size; {
		n := min(windowLen, s.size-at)
		b, err := s.bytes(at, n)
		if err != nil {
			return last, err
		}
		for i := len(b); i > 0; i-- {
			if b[i-1] != 0 {
				last = at + int64(i)
				break
			}
		}
		at += n
	}
	return last, nil
}
