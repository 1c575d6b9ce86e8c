package logrecord

import (
	"github.com/tongpengdl/small-db/format"
)

// Framer builds the frames of one log, one at a time: Begin, Add for each
// operation, End; then, once the frame is durable, Advance. It is used by one goroutine at a time.
type Framer struct {
	salt   uint64
	align  int64
	offset int64           // where the next frame goes
	last   format.Position // the history up to offset

	// The frame that is being built.
	buf     []byte // the frame from its first byte
	header  format.FrameHeader
	time    int64
	chain   format.Chain
	scratch []byte // of the chain
}

// keepBuffer is the size up to which a buffer is kept for the next frame, in bytes.
const keepBuffer = format.MaxGroupLen + 2*format.BlockSize

// NewFramer continues the history at last with a frame at offset of the log with this salt. Frames are aligned to align bytes.
func NewFramer(salt uint64, align, offset int64, last format.Position) *Framer {
	return &Framer{salt: salt, align: align, offset: offset, last: last}
}

// Offset is where the next frame goes, in bytes.
func (f *Framer) Offset() int64 { return f.offset }

// Position is where the history stands before the next frame.
func (f *Framer) Position() format.Position { return f.last }

// Empty builds a frame without operations: it records that engine time has come to now, and then belongs at Offset as
// the bytes of End do. Arguments are as for Begin.
func (f *Framer) Empty(epoch, commit uint64, now int64) []byte {
	f.Begin(epoch, commit, now)
	f.header.Kind = format.FrameEmpty
	return f.End()
}

// Begin starts a frame of operations. now is the wall clock in ns, epoch that of the operations, which is never
// below the last one; commit the highest seq known committed.
func (f *Framer) Begin(epoch, commit uint64, now int64) {
	if cap(f.buf) > keepBuffer {
		f.buf = nil
	}
	f.time = max(now, f.last.Time)
	f.header = format.FrameHeader{
		Kind:     format.FrameOperations,
		FirstSeq: f.last.Seq + 1,
		Epoch:    epoch,
		Index:    f.last.Index + 1,
		Commit:   commit,
		Time:     f.time,
		Synced:   uint64(f.offset),
	}
	f.chain = format.NewChain(f.scratch, f.last.Chain, epoch, f.header.FirstSeq, f.time)
	f.buf = append(f.buf[:0], make([]byte, format.FrameHeaderLen)...)
}

// Add appends the next operation and returns where its record lies, in bytes from the start of the
// frame. It sets r.Seq. The caller has checked the lengths.
func (f *Framer) Add(r *format.Record) (at int) {
	at = len(f.buf)
	r.Seq = f.header.FirstSeq + uint64(f.header.Count)
	f.header.Count++
	var hash uint64
	f.buf, hash = format.AppendRecord(f.buf, r, f.salt, uint64(f.offset)+uint64(at))
	f.chain.Add(hash)
	return at
}

// End completes the frame and returns its bytes with the padding to the next one. They belong at Offset, and are
// valid until the next Begin.
func (f *Framer) End() []byte {
	f.header.Chain = f.chain.Sum()
	f.scratch = f.chain.Scratch()
	f.seal()
	return f.buf
}

// seal fills in what depends on the payload, the header and the padding.
func (f *Framer) seal() {
	payload := f.buf[format.FrameHeaderLen:]
	f.header.Length = uint32(len(payload))
	f.header.PayloadSum = format.Sum(payload, f.salt, uint64(f.offset)+format.FrameHeaderLen)
	f.header.Encode(f.buf, f.salt, uint64(f.offset))
	padded := format.FrameLen(len(payload), f.align)
	f.buf = append(f.buf, make([]byte, padded-int64(len(f.buf)))...)
}

// Advance says that the frame of the last End is durable: the next one follows it.
func (f *Framer) Advance() {
	f.offset += int64(len(f.buf))
	f.last = format.Position{
		Epoch: f.header.Epoch, Seq: f.header.LastSeq(), Index: f.header.Index,
		Time: f.time, Chain: f.header.Chain,
	}
}

// Trailer returns the frame that seals the log. It belongs at Offset; nothing may follow it. now is the wall clock in ns: the trailer
// records it if it is later than the last frame.
func (f *Framer) Trailer(t format.Trailer, now int64) []byte {
	f.header = format.FrameHeader{
		Kind: format.FrameTrailer, FirstSeq: f.last.Seq + 1, Epoch: f.last.Epoch, Index: f.last.Index,
		Commit: f.last.Seq, Time: max(now, f.last.Time), Synced: uint64(f.offset), Chain: f.last.Chain,
	}
	f.buf = append(f.buf[:0], make([]byte, format.FrameHeaderLen)...)
	f.buf = t.Append(f.buf)
	f.seal()
	return f.buf
}

// TrailerLen is the space that a trailer takes in a log with this alignment, in bytes.
func TrailerLen(align int64) int64 { return format.FrameLen(format.TrailerLen, align) }
