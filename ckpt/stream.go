package ckpt

import (
	"io"

	"github.com/tongpengdl/small-db/mmapio"
)

// stream writes a checkpoint from its first byte to its last. It hands over one piece
// of mmapio.PieceSize at a time, cut at multiples of that size, and waits for it.
type stream struct {
	name    string                          // of what is written, for errors
	put     func(p []byte, at uint64) error // writes p, which follows the at bytes before
	sync    func() error                    // makes durable what was put
	written uint64                          // bytes that were put
	piece   []byte                          // bytes that follow them
}

// toFile writes a file, waiting for the disk after each piece.
func toFile(f mmapio.File) stream {
	put := func(p []byte, at uint64) error { return mmapio.WritePieces(f, p, int64(at)) }
	return stream{name: f.Name(), put: put, sync: f.Sync, piece: make([]byte, 0, mmapio.PieceSize)}
}

// toWriter writes to w.
func toWriter(w io.Writer, name string) stream {
	put := func(p []byte, _ uint64) error {
		n, err := w.Write(p)
		if err == nil && n != len(p) {
			err = io.ErrShortWrite
		}
		return err
	}
	return stream{name: name, put: put, sync: func() error { return nil }, piece: make([]byte, 0, mmapio.PieceSize)}
}

// offset is where the next byte goes.
func (s *stream) offset() uint64 { return s.written + uint64(len(s.piece)) }

// write appends p.
func (s *stream) write(p []byte) error {
	for len(p) > 0 {
		left := mmapio.PieceSize - int(s.offset()%mmapio.PieceSize)
		n := min(left, len(p))
		s.piece = append(s.piece, p[:n]...)
		p = p[n:]
		if n == left {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush writes what there is of a piece.
func (s *stream) flush() error {
	if len(s.piece) == 0 {
		return nil
	}
	if err := s.put(s.piece, s.written); err != nil {
		return err
	}
	s.written += uint64(len(s.piece))
	s.piece = s.piece[:0]
	return nil
}

// padding is what align writes.
var padding [64]byte

// align appends zeros up to a multiple of n, which is a power of two up to 64.
func (s *stream) align(n uint64) error {
	return s.write(padding[:-s.offset()&(n-1)])
}
