package format

import (
	"encoding/binary"
	"fmt"
)

const (
	logMagic         = "SMDBLOG\x00"
	predecessorMagic = "SMDBPRED"
)

// LogIdentity is block 0 of a log: which log of which database this is. It is
// durable under the log's final name before the first frame, and never rewritten.
type LogIdentity struct {
	Align      uint32 // frames start at multiples of this many bytes: a power of two from MinFrameAlign to BlockSize
	UUID       UUID
	Generation uint64 // at least 1
	Salt       uint64 // random; seeds the local checksums of block 1, of the frames and of the records
	Size       int64  // of the file, in bytes
}

// Encode writes block 0 to b, which must be BlockSize bytes.
func (id *LogIdentity) Encode(b []byte) {
	clear(b[:BlockSize])
	putPrologue(b, logMagic)
	binary.LittleEndian.PutUint32(b[12:], id.Align)
	copy(b[16:32], id.UUID[:])
	binary.LittleEndian.PutUint64(b[32:], id.Generation)
	binary.LittleEndian.PutUint64(b[40:], id.Salt)
	binary.LittleEndian.PutUint64(b[48:], uint64(id.Size))
	putSum(b[:BlockSize], 0, 0)
}

// DecodeLogIdentity reads and validates block 0 from b.
func DecodeLogIdentity(b []byte) (LogIdentity, error) {
	if err := checkPrologue(b, logMagic, BlockSize, 0, 0); err != nil {
		return LogIdentity{}, fmt.Errorf("log identity: %w", err)
	}
	if len(b) < BlockSize {
		return LogIdentity{}, fmt.Errorf("log identity: %w: %d bytes", ErrLength, len(b))
	}
	b = b[:BlockSize]
	if err := checkSum(b, 0, 0); err != nil {
		return LogIdentity{}, fmt.Errorf("log identity: %w", err)
	}
	if !allZero(b[56 : BlockSize-SumLen]) {
		return LogIdentity{}, fmt.Errorf("log identity: %w", errReserved)
	}
	id := LogIdentity{
		Align:      binary.LittleEndian.Uint32(b[12:]),
		UUID:       UUID(b[16:32]),
		Generation: binary.LittleEndian.Uint64(b[32:]),
		Salt:       binary.LittleEndian.Uint64(b[40:]),
		Size:       int64(binary.LittleEndian.Uint64(b[48:])),
	}
	if err := id.Validate(); err != nil {
		return LogIdentity{}, err
	}
	return id, nil
}

// Validate checks the values of the fields.
func (id *LogIdentity) Validate() error {
	switch {
	case !ValidAlign(int64(id.Align)):
		return fmt.Errorf("log identity: %w: alignment %d", ErrField, id.Align)
	case id.Generation == 0:
		return fmt.Errorf("log identity: %w: generation 0", ErrField)
	case id.Size < LogHeaderSize || id.Size > MaxLogLen || id.Size%BlockSize != 0:
		return fmt.Errorf("log identity: %w: size %d", ErrField, id.Size)
	}
	return nil
}

// ValidAlign reports whether frames may be aligned to n bytes.
func ValidAlign(n int64) bool { return n >= MinFrameAlign && n <= BlockSize && n&(n-1) == 0 }

// Predecessor is block 1 of a log: the durable statement of where the log before it ends.
// After a crash it is what makes the decision where to cut the old log final.
type Predecessor struct {
	Generation uint64   // of the log before this one; 0 if this is the first
	Salt       uint64   // of that log
	End        int64    // offset in that log just past its last frame that counts, aligned
	Commit     uint64   // highest seq known committed; at most Position.Seq
	Position   Position // the history up to End: this log's first frame continues it
}

// Encode writes block 1 of the log with this salt to b, which must be BlockSize bytes.
func (p *Predecessor) Encode(b []byte, salt uint64) {
	clear(b[:BlockSize])
	putPrologue(b, predecessorMagic)
	binary.LittleEndian.PutUint64(b[16:], p.Generation)
	binary.LittleEndian.PutUint64(b[24:], p.Salt)
	binary.LittleEndian.PutUint64(b[32:], uint64(p.End))
	binary.LittleEndian.PutUint64(b[40:], p.Commit)
	p.Position.put(b[48:])
	putSum(b[:BlockSize], salt, BlockSize)
}

// DecodePredecessor reads and validates block 1 of the log with this salt.
func DecodePredecessor(b []byte, salt uint64) (Predecessor, error) {
	if err := checkPrologue(b, predecessorMagic, BlockSize, salt, BlockSize); err != nil {
		return Predecessor{}, fmt.Errorf("log predecessor: %w", err)
	}
	if len(b) < BlockSize {
		return Predecessor{}, fmt.Errorf("log predecessor: %w: %d bytes", ErrLength, len(b))
	}
	b = b[:BlockSize]
	if err := checkSum(b, salt, BlockSize); err != nil {
		return Predecessor{}, fmt.Errorf("log predecessor: %w", err)
	}
	if !allZero(b[12:16]) || !allZero(b[88:BlockSize-SumLen]) {
		return Predecessor{}, fmt.Errorf("log predecessor: %w", errReserved)
	}
	p := Predecessor{
		Generation: binary.LittleEndian.Uint64(b[16:]),
		Salt:       binary.LittleEndian.Uint64(b[24:]),
		End:        int64(binary.LittleEndian.Uint64(b[32:])),
		Commit:     binary.LittleEndian.Uint64(b[40:]),
		Position:   getPosition(b[48:]),
	}
	if p.End < 0 || p.End > MaxLogLen || p.Commit > p.Position.Seq || p.Position.Epoch == 0 {
		return Predecessor{}, fmt.Errorf("log predecessor: %w: %+v", ErrField, p)
	}
	return p, nil
}
