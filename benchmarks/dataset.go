package benchmarks

import (
	"encoding/binary"
	"fmt"

	"github.com/tongpengdl/small-db/format"
)

// Sizes of the data, in bytes.
const (
	KeyLen   = 16
	ValueLen = 128
)

// PutKey writes the key with number i to key, which has KeyLen bytes. Keys of neighbouring numbers lie anywhere in
// key order. Two numbers never have the same key.
func PutKey(key []byte, i uint64) {
	binary.LittleEndian.PutUint64(key, format.Mix(i, 1))
	binary.LittleEndian.PutUint64(key[8:], i)
}

// PutValue writes the value with number i to value, which has ValueLen bytes.
func PutValue(value []byte, i uint64) {
	for at := 0; at < ValueLen; at += 8 {
		binary.LittleEndian.PutUint64(value[at:], format.Mix(i, uint64(at)))
	}
}

// Numbers is a pseudo-random walk over the numbers below a bound, with repetitions. It is
// used by one goroutine.
type Numbers struct{ state, bound uint64 }

// NewNumbers starts a walk over the numbers below bound. Different seeds give different walks.
func NewNumbers(seed, bound uint64) Numbers { return Numbers{format.Mix(seed, 2), bound} }

// Next is the next number.
func (n *Numbers) Next() uint64 {
	n.state++
	return format.BucketOf(format.Mix(0, n.state), n.bound)
}

// CheckValue says how a value differs from that with number i; nil if it does not.
func CheckValue(value []byte, i uint64) error {
	var want [ValueLen]byte
	PutValue(want[:], i)
	if string(value) != string(want[:]) {
		return fmt.Errorf("value %d is wrong: %x", i, value)
	}
	return nil
}
