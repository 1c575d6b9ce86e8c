package format

import (
	"encoding/binary"
	"fmt"
)

// FrameKind says what a frame holds.
type FrameKind uint8

// The kinds of frames.
const (
	FrameOperations    FrameKind = 1 // the records of a group
	FrameEmpty         FrameKind = 2 // nothing: it only has a place in the numbering
	FrameConfiguration FrameKind = 3 // who takes part; opaque to the engine
	FrameTrailer       FrameKind = 4 // the end of a sealed log; no part of the history
)

const (
	frameMagic = 0x464d5242 // "BRMF" when read as bytes

	// FrameHeaderLen is the size of a frame's header, in bytes.
	FrameHeaderLen = 88
)

// FrameHeader describes the payload that follows it.
type FrameHeader struct {
	Kind       FrameKind
	Length     uint32 // of the payload, in bytes, without the padding to the next frame; a multiple of 8
	Count      uint32 // operations in the payload
	FirstSeq   uint64 // of the first operation; the next one to be given if there is none
	Epoch      uint64
	Index      uint64 // of this frame; a trailer repeats that of the last frame
	Commit     uint64 // highest seq known committed when the frame was written
	Time       int64  // engine time, in ns since the Unix epoch
	Synced     uint64 // this log was known durable up to this offset when the frame was written
	Chain      uint64 // the history up to and with this frame; a trailer repeats that of the last frame
	PayloadSum uint64 // local checksum of the payload at its offset
}

// Encode writes the header of a frame at offset of the log with this salt to b.
func (h *FrameHeader) Encode(b []byte, salt, offset uint64) {
	b = b[:FrameHeaderLen]
	le := binary.LittleEndian
	le.PutUint32(b[0:], frameMagic)
	b[4], b[5], b[6], b[7] = uint8(h.Kind), 0, 0, 0
	le.PutUint32(b[8:], h.Length)
	le.PutUint32(b[12:], h.Count)
	le.PutUint64(b[16:], h.FirstSeq)
	le.PutUint64(b[24:], h.Epoch)
	le.PutUint64(b[32:], h.Index)
	le.PutUint64(b[40:], h.Commit)
	le.PutUint64(b[48:], uint64(h.Time))
	le.PutUint64(b[56:], h.Synced)
	le.PutUint64(b[64:], h.Chain)
	le.PutUint64(b[72:], h.PayloadSum)
	putSum(b, salt, offset)
}

// DecodeFrameHeader reads and validates the header at the start of b, which lies
// at offset in the log with this salt. A header that passes was written there, so its Length may be used.
func DecodeFrameHeader(b []byte, salt, offset uint64) (FrameHeader, error) {
	if len(b) < FrameHeaderLen {
		return FrameHeader{}, fmt.Errorf("frame header: %w: %d bytes left", ErrLength, len(b))
	}
	b = b[:FrameHeaderLen]
	le := binary.LittleEndian
	if m := le.Uint32(b); m != frameMagic {
		return FrameHeader{}, fmt.Errorf("frame header: %w: %08x", ErrMagic, m)
	}
	if err := checkSum(b, salt, offset); err != nil {
		return FrameHeader{}, fmt.Errorf("frame header: %w", err)
	}
	h := FrameHeader{
		Kind:       FrameKind(b[4]),
		Length:     le.Uint32(b[8:]),
		Count:      le.Uint32(b[12:]),
		FirstSeq:   le.Uint64(b[16:]),
		Epoch:      le.Uint64(b[24:]),
		Index:      le.Uint64(b[32:]),
		Commit:     le.Uint64(b[40:]),
		Time:       int64(le.Uint64(b[48:])),
		Synced:     le.Uint64(b[56:]),
		Chain:      le.Uint64(b[64:]),
		PayloadSum: le.Uint64(b[72:]),
	}
	if !allZero(b[5:8]) {
		return FrameHeader{}, fmt.Errorf("frame header: %w", errReserved)
	}
	if err := h.Validate(); err != nil {
		return FrameHeader{}, err
	}
	return h, nil
}

// Validate checks the values of the fields.
func (h *FrameHeader) Validate() error {
	switch {
	case h.Kind < FrameOperations || h.Kind > FrameTrailer:
		return fmt.Errorf("frame header: %w: kind %d", ErrField, h.Kind)
	case h.Length > MaxPayloadLen || h.Length%RecordAlign != 0:
		return fmt.Errorf("frame header: %w: payload of %d bytes", ErrLength, h.Length)
	case h.Kind == FrameOperations && h.Count == 0, h.Kind != FrameOperations && h.Count != 0:
		return fmt.Errorf("frame header: %w: kind %d with %d operations", ErrField, h.Kind, h.Count)
	case uint64(h.Count)*MinRecordLen > uint64(h.Length):
		return fmt.Errorf("frame header: %w: %d operations in %d bytes", ErrLength, h.Count, h.Length)
	case h.Kind == FrameTrailer && h.Length != TrailerLen, h.Kind == FrameEmpty && h.Length != 0:
		return fmt.Errorf("frame header: %w: kind %d with %d bytes", ErrLength, h.Kind, h.Length)
	case h.FirstSeq == 0 || h.Epoch == 0:
		return fmt.Errorf("frame header: %w: first seq %d, epoch %d", ErrField, h.FirstSeq, h.Epoch)
	case h.FirstSeq+uint64(h.Count) < h.FirstSeq:
		return fmt.Errorf("frame header: %w: %d operations from seq %d", ErrField, h.Count, h.FirstSeq)
	}
	return nil
}

// LastSeq is the sequence of the frame's last operation, or of the last before it.
func (h *FrameHeader) LastSeq() uint64 { return h.FirstSeq + uint64(h.Count) - 1 }

// FrameLen is the space that a frame with this payload takes in a log, in bytes.
func FrameLen(payload int, align int64) int64 { return Align(FrameHeaderLen+int64(payload), align) }

// CheckPayload verifies the payload of the frame at offset in the log with this salt.
func (h *FrameHeader) CheckPayload(payload []byte, salt, offset uint64) error {
	if got := Sum(payload, salt, offset+FrameHeaderLen); got != h.PayloadSum {
		return fmt.Errorf("frame payload: %w: stored %016x, computed %016x", ErrChecksum, h.PayloadSum, got)
	}
	return nil
}

// TrailerLen is the payload of a trailer, in bytes.
const TrailerLen = 16

// Trailer is the payload of the frame that seals a log.
type Trailer struct {
	Generation uint64 // of the successor
	Salt       uint64 // of the successor; 0 if the log was closed before it had one
}

// Append appends the payload to dst.
func (t *Trailer) Append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, t.Generation)
	return binary.LittleEndian.AppendUint64(dst, t.Salt)
}

// DecodeTrailer reads the payload of a trailer whose checksum was verified.
func DecodeTrailer(payload []byte) (Trailer, error) {
	if len(payload) != TrailerLen {
		return Trailer{}, fmt.Errorf("trailer: %w: %d bytes", ErrLength, len(payload))
	}
	return Trailer{
		Generation: binary.LittleEndian.Uint64(payload),
		Salt:       binary.LittleEndian.Uint64(payload[8:]),
	}, nil
}
