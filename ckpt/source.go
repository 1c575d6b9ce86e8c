package ckpt

import (
	"errors"
	"fmt"
	"io"

	"github.com/tongpengdl/small-db/format"
)

// source reads the segments of a checkpoint into memory, one at a time.
type source struct {
	ra   io.ReaderAt
	name string
	salt uint64
	buf  []byte // the bytes read last
}

// corrupt is the error for what is wrong at offset of the file.
func corrupt(name string, offset uint64, err error) error {
	return &format.CorruptionError{File: name, Offset: int64(offset), Err: err}
}

// readFull reads all of p at offset. A file that ends before is corrupt: the caller has compared with its size.
func readFull(ra io.ReaderAt, name string, p []byte, offset uint64) error {
	n, err := ra.ReadAt(p, int64(offset))
	switch {
	case n == len(p):
		return nil
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return corrupt(name, offset, fmt.Errorf("%w: the file ends after %d of %d bytes", format.ErrLength, n, len(p)))
	}
	return fmt.Errorf("read %s at offset %d: %w", name, offset, err)
}

// segmentEnd is the offset of the first byte after the segment.
func segmentEnd(seg *format.Segment) uint64 { return seg.Offset + seg.Length }

// read reads the segment and the padding up to next, which must be zero. The bytes
// are valid until the next call; nothing else of them is verified.
func (s *source) read(seg *format.Segment, next uint64) ([]byte, error) {
	n := next - seg.Offset
	if uint64(cap(s.buf)) < n || cap(s.buf) > 2*format.SegmentSize { // the latter after a large record
		s.buf = make([]byte, n+n/8) // the next one may be somewhat larger
	}
	s.buf = s.buf[:n]
	if err := readFull(s.ra, s.name, s.buf, seg.Offset); err != nil {
		return nil, err
	}
	for i, c := range s.buf[seg.Length:] {
		if c != 0 {
			return nil, corrupt(s.name, segmentEnd(seg)+uint64(i), fmt.Errorf("%w: padding is not zero", format.ErrField))
		}
	}
	return s.buf[:seg.Length], nil
}

// checkSum verifies the sum of the segment that holds data.
func (s *source) checkSum(seg *format.Segment, data []byte) error {
	if got := format.Sum(data, s.salt, seg.Offset); got != seg.Sum {
		return corrupt(s.name, seg.Offset, fmt.Errorf("segment: %w: stored %016x, computed %016x", format.ErrChecksum, seg.Sum, got))
	}
	return nil
}

// records verifies a record segment, with its padding up to next, and calls visit with each record and its offset. What
// the entry points to is valid during the call.
func (s *source) records(seg *format.Segment, next uint64, visit func(e *format.Entry, offset uint64) error) error {
	data, err := s.read(seg, next)
	if err != nil {
		return err
	}
	at := 0
	for n := uint32(0); n < seg.Count; n++ {
		offset := seg.Offset + uint64(at)
		e, size, err := format.DecodeEntry(data[at:], s.salt, offset)
		if err != nil {
			return corrupt(s.name, offset, err)
		}
		if err := visit(&e, offset); err != nil {
			return err
		}
		at += size
	}
	if at != len(data) {
		return corrupt(s.name, seg.Offset+uint64(at), fmt.Errorf("segment: %w: %d bytes after %d records", format.ErrLength, len(data)-at, seg.Count))
	}
	return s.checkSum(seg, data)
}

// units verifies a segment of an index and calls visit with each of its parts, of size bytes, and their offsets.
func (s *source) units(seg *format.Segment, size int, visit func(b []byte, offset uint64) error) error {
	data, err := s.read(seg, segmentEnd(seg))
	if err != nil {
		return err
	}
	for at := 0; at < len(data); at += size {
		offset := seg.Offset + uint64(at)
		if err := visit(data[at:at+size], offset); err != nil {
			return corrupt(s.name, offset, err)
		}
	}
	return s.checkSum(seg, data)
}
