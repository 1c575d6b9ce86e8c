package engine

import (
	"fmt"

	"github.com/tongpengdl/small-db/format"
)

// op is an operation on its way to the log.
type op struct {
	kind       format.Kind
	key, value []byte
}

// recordLen is the size of its record in a log, in bytes.
func (o *op) recordLen() int { return format.RecordLen(len(o.key), len(o.value), false) }

// Batch collects operations for Apply: all of them become durable and survive a crash together,
// or none does. Later operations win over earlier ones. The zero value is an empty
// batch. It is used by one goroutine at a time, and may be applied again.
type Batch struct {
	ops   []op
	arena []byte // copies of keys and values; grows by new arrays, so that older ones stay valid
	bytes int    // size of all records in a log
}

// arenaSize is the size of the first array of an arena, in bytes; each further one is twice as large.
const arenaSize = 1 << 10

// Set adds an operation that sets key to value. Both are copied.
func (b *Batch) Set(key, value []byte) { b.add(op{format.KindSet, b.copy(key), b.copy(value)}) }

// Delete adds an operation that deletes key, which is copied.
func (b *Batch) Delete(key []byte) { b.add(op{format.KindDelete, b.copy(key), nil}) }

// Len is the number of operations.
func (b *Batch) Len() int { return len(b.ops) }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	clear(b.ops)
	b.ops, b.arena, b.bytes = b.ops[:0], b.arena[:0], 0
}

func (b *Batch) add(o op) {
	b.ops = append(b.ops, o)
	b.bytes += o.recordLen()
}

func (b *Batch) copy(p []byte) []byte {
	if cap(b.arena)-len(b.arena) < len(p) {
		b.arena = make([]byte, 0, max(arenaSize, 2*cap(b.arena), len(p)))
	}
	start := len(b.arena)
	b.arena = append(b.arena, p...)
	return b.arena[start:len(b.arena):len(b.arena)]
}

// check says what is wrong with an operation, before anything is written.
func (o *Options) check(p *op) error {
	switch {
	case len(p.key) == 0:
		return ErrKeyEmpty
	case len(p.key) > format.MaxKeyLen:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrKeyTooLarge, len(p.key), format.MaxKeyLen)
	case len(p.value) > o.MaxValueBytes:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrValueTooLarge, len(p.value), o.MaxValueBytes)
	}
	return nil
}
