package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/format"
)

// pair is a key and its value. The key is text, so that it stands in a path as it is; the value is any bytes, but begins with the key, so
// that whoever reads it can tell that it is the right one.
type pair struct {
	key   [benchmarks.KeyLen]byte
	value [benchmarks.ValueLen]byte
}

// choose makes the key that with number i, which is below 2^32, and the value its. Keys of neighbouring numbers lie anywhere in key order.
func (p *pair) choose(i uint64) {
	var bin [benchmarks.KeyLen / 2]byte
	binary.BigEndian.PutUint32(bin[:], uint32(format.Mix(i, 1)))
	binary.BigEndian.PutUint32(bin[4:], uint32(i))
	hex.Encode(p.key[:], bin[:])
	copy(p.value[:], p.key[:])
}

// check says how a value is wrong; nil if it is not.
func (p *pair) check(value []byte) error {
	if len(value) != benchmarks.ValueLen || !bytes.HasPrefix(value, p.key[:]) {
		return wrong(fmt.Sprintf("value of %s", p.key), value)
	}
	return nil
}
