package torture

import (
	"encoding/binary"
	"fmt"
)

// Sizes of values, in bytes.
const (
	// MinValueBytes and MaxValueBytes bound Options.ValueBytes. The shortest value names its operation, and no more.
	MinValueBytes = 16
	MaxValueBytes = 64 << 10
)

// ref names an operation: every one of a run has its own, and so has the value that it sets.
type ref struct {
	Unit  uint64
	Index int // in the unit
}

// value is what an operation sets: the name of the operation, the size, and bytes that follow from both.
func value(r ref, size int) []byte {
	out := make([]byte, max(size, MinValueBytes))
	binary.LittleEndian.PutUint64(out, r.Unit)
	binary.LittleEndian.PutUint32(out[8:], uint32(r.Index))
	binary.LittleEndian.PutUint32(out[12:], uint32(len(out)))
	fill(out, r)
	return out
}

// fill writes what follows the name: numbers of a linear congruential sequence, scattered.
func fill(out []byte, r ref) {
	x := r.Unit*0x9e3779b97f4a7c15 + uint64(r.Index) + 1
	for i := MinValueBytes; i < len(out); i += 8 {
		x = x*6364136223846793005 + 1442695040888963407
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], x^x>>29)
		copy(out[i:], word[:])
	}
}

// parse names the operation that a value is of. Any other bytes are an error.
func parse(v []byte) (ref, error) {
	if len(v) < MinValueBytes {
		return ref{}, fmt.Errorf("a value of %d bytes was never written", len(v))
	}
	r := ref{binary.LittleEndian.Uint64(v), int(binary.LittleEndian.Uint32(v[8:]))}
	if string(value(r, len(v))) != string(v) {
		return ref{}, fmt.Errorf("a value of %d bytes that begins with %x was never written", len(v), v[:MinValueBytes])
	}
	return r, nil
}
