package agent

import (
	"encoding/binary"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
	"github.com/tongpengdl/small-db/format"
)

const (
	// loadBatch is the keys in a batch, and loadBytes the bytes of its values, at most.
	loadBatch = 5000
	loadBytes = 4 << 20
)

// valueLen is the length of the values of a request.
func (r *Request) valueLen() int {
	if r.Size > 0 {
		return r.Size
	}
	return benchmarks.ValueLen
}

// putValue writes the value with number i, whose length is a multiple of 8. Of the usual length it is that of benchmarks.PutValue.
func putValue(value []byte, i uint64) {
	for at := 0; at < len(value); at += 8 {
		binary.LittleEndian.PutUint64(value[at:], format.Mix(i, uint64(at)))
	}
}

// batch is pairs whose memory is used again.
type batch struct {
	pairs    []rival.Pair
	memory   []byte
	valueLen int
	most     int // pairs
}

func newBatch(valueLen int) *batch {
	b := &batch{valueLen: valueLen, most: max(1, min(loadBatch, loadBytes/valueLen))}
	b.memory = make([]byte, 0, b.most*(benchmarks.KeyLen+valueLen))
	return b
}

// add adds the key with a number, and the value with the same number.
func (b *batch) add(i uint64) {
	at := len(b.memory)
	b.memory = b.memory[:at+benchmarks.KeyLen+b.valueLen]
	key, value := b.memory[at:at+benchmarks.KeyLen], b.memory[at+benchmarks.KeyLen:]
	benchmarks.PutKey(key, i)
	putValue(value, i)
	b.pairs = append(b.pairs, rival.Pair{Key: key, Value: value})
}

func (b *batch) full() bool { return len(b.pairs) == b.most }

func (b *batch) reset() { b.pairs, b.memory = b.pairs[:0], b.memory[:0] }
