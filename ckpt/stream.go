package ckpt

import "github.com/tongpengdl/small-db/mmapio"

// stream writes a file from its first byte to its last. It hands the disk one piece
// of mmapio.PieceSize at a time, cut at multiples of that size, and waits for it.
type stream struct {
	f       mmapio.File
	written uint64 // bytes in the file
	piece   []byte // bytes that follow them
}

func newStream(f mmapio.File) stream {
	return stream{f: f, piece: make([]byte, 0, mmapio.PieceSize)}
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

// flush writes what is left of a piece, so that it can be read back.
func (s *stream) flush() error {
	if err := mmapio.WritePieces(s.f, s.piece, int64(s.written)); err != nil {
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
