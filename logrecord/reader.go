package logrecord

import (
	"errors"
	"fmt"
	"io"

	"github.com/tongpengdl/small-db/format"
)

// Record is an operation of a frame and where its record lies.
type Record struct {
	format.Record
	Offset int64 // in the log, in bytes
}

// Frame is a verified frame. Its records are valid until the next call of Next.
type Frame struct {
	Header  format.FrameHeader
	Offset  int64          // in the log, in bytes
	Records []Record       // of an operations frame
	Trailer format.Trailer // of a trailer
}

// TornError says where a log ends whose last write did not complete.
type TornError struct {
	Offset int64 // just past the last frame that counts, in bytes
	Err    error // why what lies there is no frame
}

// Error says where, and what lies there.
func (e *TornError) Error() string { return fmt.Sprintf("log ends at offset %d: %v", e.Offset, e.Err) }

// Unwrap returns why what lies there is no frame.
func (e *TornError) Unwrap() error { return e.Err }

// DamageError says which part of a log was durable and cannot be read any more.
type DamageError struct {
	Offset            int64  // of the damaged frame, in bytes
	FirstSeq, LastSeq uint64 // operations that are lost; LastSeq is 0 if it is not known
	Proof             string // what proves that the frame was durable
	Err               error  // what is wrong with it
}

// Error says where, what and why it is no torn write.
func (e *DamageError) Error() string {
	return fmt.Sprintf("damaged frame at offset %d: %v (%s)", e.Offset, e.Err, e.Proof)
}

// Unwrap returns what is wrong with the frame.
func (e *DamageError) Unwrap() error { return e.Err }

// Reader reads the frames of one log in order. It is used by one goroutine.
type Reader struct {
	src      io.ReaderAt
	size     int64
	end      int64 // where the successor says that the log ends; 0 if there is none
	salt     uint64
	align    int64
	offset   int64           // of the next frame
	last     format.Position // the history up to offset
	sealed   bool            // a trailer was read
	closed   int64           // its engine time
	window   []byte          // bytes of the log from windowAt on
	windowAt int64
	records  []Record
	scratch  []byte // of the chain
}

// NewReader reads the log with this identity from src, from its first frame on; last is the
// position that its block 1 names. end is where its successor says that it ends, in
// bytes, 0 if it has none.
func NewReader(src io.ReaderAt, id format.LogIdentity, last format.Position, end int64) *Reader {
	return &Reader{
		src: src, size: id.Size, end: end, salt: id.Salt, align: int64(id.Align),
		offset: format.LogHeaderSize, last: last,
	}
}

// Offset is just past the last frame read, in bytes, a trailer not counted.
func (r *Reader) Offset() int64 { return r.offset }

// Position is where the history stands after the last frame read.
func (r *Reader) Position() format.Position { return r.last }

// Next reads and verifies the next frame. A trailer is returned once, as a frame. At the end of the
// log the error is io.EOF; otherwise a *TornError, a *DamageError, or what
// the source returned. After an error every call returns an error.
func (r *Reader) Next() (*Frame, error) {
	if r.sealed || r.end != 0 && r.offset == r.end {
		return nil, io.EOF
	}
	frame, err := r.read()
	if err == nil {
		err = r.follows(&frame.Header)
		if err == nil && r.end != 0 && (frame.Header.Kind == format.FrameTrailer || r.after(frame) > r.end) {
			err = fmt.Errorf("%w: the successor says that the log ends at %d", format.ErrField, r.end)
		}
		if err != nil { // it was written here and does not belong here: no torn write
			return nil, r.damage("its header is intact", 0, err)
		}
		r.advance(frame)
		return frame, nil
	}
	var source *sourceError
	if errors.As(err, &source) {
		return nil, source.err
	}
	if r.size-r.offset >= format.FrameHeaderLen && !errors.Is(err, format.ErrMagic) && !errors.Is(err, format.ErrChecksum) {
		return nil, r.damage("its checksums are intact", 0, err) // what a torn write leaves does not pass them
	}
	return nil, r.judge(err)
}

// Closed returns the engine time of the trailer that follows the last frame read, in ns; ok is false if there is none that
// can be read. It is for a log that has ended: with end set, Next stops before the trailer.
func (r *Reader) Closed() (time int64, ok bool) {
	if r.sealed {
		return r.closed, true
	}
	frame, err := r.read()
	if err != nil || frame.Header.Kind != format.FrameTrailer || r.follows(&frame.Header) != nil {
		return 0, false
	}
	return frame.Header.Time, true
}

// sourceError is an error of the source and not of the bytes.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }

// read decodes and verifies the frame at r.offset by itself.
func (r *Reader) read() (*Frame, error) {
	header, err := r.header(r.offset)
	if err != nil {
		return nil, err
	}
	n := int64(header.Length)
	if n > r.size-r.offset-format.FrameHeaderLen {
		return nil, fmt.Errorf("frame: %w: payload of %d bytes", format.ErrLength, n)
	}
	payload, err := r.bytes(r.offset+format.FrameHeaderLen, n)
	if err != nil {
		return nil, err
	}
	if err := header.CheckPayload(payload, r.salt, uint64(r.offset)); err != nil {
		return nil, err
	}
	frame := &Frame{Header: header, Offset: r.offset}
	switch header.Kind {
	case format.FrameOperations:
		frame.Records, err = r.decode(&header, payload)
	case format.FrameTrailer:
		frame.Trailer, err = format.DecodeTrailer(payload)
	}
	return frame, err
}

// header reads the frame header at off.
func (r *Reader) header(off int64) (format.FrameHeader, error) {
	if r.size-off < format.FrameHeaderLen {
		return format.FrameHeader{}, fmt.Errorf("frame: %w: %d bytes left", format.ErrLength, r.size-off)
	}
	b, err := r.bytes(off, format.FrameHeaderLen)
	if err != nil {
		return format.FrameHeader{}, err
	}
	return format.DecodeFrameHeader(b, r.salt, uint64(off))
}

// windowLen is how much is read from the source at a time, in bytes, unless a frame is larger.
const windowLen = 256 << 10

// bytes returns n bytes at off, which lie within the log. They are valid until the next call.
func (r *Reader) bytes(off, n int64) ([]byte, error) {
	if off < r.windowAt || off+n > r.windowAt+int64(len(r.window)) {
		want := min(max(n, windowLen), r.size-off)
		if int64(cap(r.window)) < want {
			r.window = make([]byte, want)
		}
		r.window, r.windowAt = r.window[:want], off
		if got, err := r.src.ReadAt(r.window, off); int64(got) < want {
			r.window = r.window[:0]
			return nil, &sourceError{fmt.Errorf("read log at offset %d: %w", off, err)}
		}
	}
	at := off - r.windowAt
	return r.window[at : at+n], nil
}

// decode verifies the records of a payload. The payload is intact, so an error is a defect of the writer.
func (r *Reader) decode(h *format.FrameHeader, payload []byte) ([]Record, error) {
	r.records = r.records[:0]
	base := r.offset + format.FrameHeaderLen
	for at := 0; at < len(payload); {
		rec, size, err := format.DecodeRecord(payload[at:], r.salt, uint64(base)+uint64(at))
		if err != nil {
			return nil, err
		}
		if want := h.FirstSeq + uint64(len(r.records)); rec.Seq != want {
			return nil, fmt.Errorf("record: %w: sequence %d instead of %d", format.ErrField, rec.Seq, want)
		}
		r.records = append(r.records, Record{rec, base + int64(at)})
		at += size
	}
	if len(r.records) != int(h.Count) {
		return nil, fmt.Errorf("frame: %w: %d records instead of %d", format.ErrField, len(r.records), h.Count)
	}
	return r.records, nil
}

// follows checks that the frame with this header continues the history.
func (r *Reader) follows(h *format.FrameHeader) error {
	index, chain := r.last.Index+1, r.last.Chain
	switch h.Kind {
	case format.FrameTrailer:
		index = r.last.Index
	case format.FrameOperations, format.FrameEmpty, format.FrameConfiguration:
		c := format.NewChain(r.scratch, r.last.Chain, h.Epoch, h.FirstSeq, h.Time)
		for i := range r.records[:h.Count] {
			c.Add(r.records[i].Hash)
		}
		chain = c.Sum()
		r.scratch = c.Scratch()
	}
	if h.FirstSeq != r.last.Seq+1 || h.Index != index || h.Epoch < r.last.Epoch || h.Time < r.last.Time ||
		h.Synced > uint64(r.offset) || h.Commit >= h.FirstSeq || h.Chain != chain {
		return fmt.Errorf("frame: %w: seq %d, index %d, epoch %d, time %d, chain %016x do not continue %v, index %d, time %d",
			format.ErrField, h.FirstSeq, h.Index, h.Epoch, h.Time, h.Chain, r.last, r.last.Index, r.last.Time)
	}
	return nil
}

// after is the offset just past a frame.
func (r *Reader) after(f *Frame) int64 {
	return f.Offset + format.FrameLen(int(f.Header.Length), r.align)
}

func (r *Reader) advance(f *Frame) {
	if f.Header.Kind == format.FrameTrailer {
		r.sealed, r.closed = true, f.Header.Time
		return
	}
	h := &f.Header
	r.offset = r.after(f)
	r.last = format.Position{Epoch: h.Epoch, Seq: h.LastSeq(), Index: h.Index, Time: h.Time, Chain: h.Chain}
}

// judge decides whether the bad frame at r.offset, which is bad for the reason cause, is torn or corrupt.
func (r *Reader) judge(cause error) error {
	if r.end != 0 {
		return r.damage(fmt.Sprintf("the successor says that the log ends at %d", r.end), 0, cause)
	}
	for off := r.offset + r.align; off < r.size; off += r.align {
		h, err := r.header(off)
		var source *sourceError
		if errors.As(err, &source) {
			return source.err
		}
		if err == nil && h.Synced > uint64(r.offset) {
			return r.damage(fmt.Sprintf("a frame at %d says that the log was durable up to %d", off, h.Synced), h.FirstSeq-1, cause)
		}
	}
	return &TornError{Offset: r.offset, Err: cause}
}

func (r *Reader) damage(proof string, lastSeq uint64, cause error) error {
	return &DamageError{Offset: r.offset, FirstSeq: r.last.Seq + 1, LastSeq: lastSeq, Proof: proof, Err: cause}
}
