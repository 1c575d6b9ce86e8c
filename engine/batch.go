package engine

import (
	"fmt"
	"time"

	"github.com/tongpengdl/small-db/format"
)

// op is an operation on its way to the log.
type op struct {
	kind       format.Kind
	expiry     int64 // absolute deadline in ns since the Unix epoch; 0 means none
	key, value []byte
}

// recordLen is the size of its record in a log, in bytes.
func (o *op) recordLen() int { return format.RecordLen(len(o.key), len(o.value), o.expiry != 0) }

// Batch collects operations for Apply: all of them become durable and survive a crash together,
// or none does. Later operations win over earlier ones. With conditions, all are applied if all of these hold, and
// none otherwise. The zero value is an empty batch. It is used by one goroutine at a time, and may be applied again. Keys and
// values are copied.
type Batch struct {
	ops        []op
	conditions []condition
	arena      []byte // copies of keys and values; grows by new arrays, so that older ones stay valid
	bytes      int    // size of all records in a log
	weight     int    // of all conditions
	err        error  // the first thing wrong with an argument
}

// arenaSize is the size of the first array of an arena, in bytes; each further one is twice as large.
const arenaSize = 1 << 10

// Set adds an operation that sets key to value, without a deadline.
func (b *Batch) Set(key, value []byte) {
	b.add(op{kind: format.KindSet, key: b.copy(key), value: b.copy(value)})
}

// SetUntil adds an operation that sets key to value until a deadline; the zero time means none. Apply fails with
// ErrDeadline if it cannot be stored.
func (b *Batch) SetUntil(key, value []byte, deadline time.Time) {
	expiry, err := deadlineOf(deadline)
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("operation %d of the batch: %w", len(b.ops), err)
	}
	b.add(op{kind: format.KindSet, expiry: expiry, key: b.copy(key), value: b.copy(value)})
}

// Delete adds an operation that deletes key.
func (b *Batch) Delete(key []byte) { b.add(op{kind: format.KindDelete, key: b.copy(key)}) }

// IfAbsent adds the condition that key is not set, or has expired.
func (b *Batch) IfAbsent(key []byte) { b.require(condition{kind: ifAbsent, key: b.copy(key)}) }

// IfPresent adds the condition that key is set.
func (b *Batch) IfPresent(key []byte) { b.require(condition{kind: ifPresent, key: b.copy(key)}) }

// IfVersion adds the condition that key is set, and was set last by the operation with this version.
func (b *Batch) IfVersion(key []byte, v Version) {
	b.require(condition{kind: ifVersion, key: b.copy(key), version: v})
}

// IfValue adds the condition that key is set to value.
func (b *Batch) IfValue(key, value []byte) {
	b.require(condition{kind: ifValue, key: b.copy(key), value: b.copy(value)})
}

// Len is the number of operations; conditions do not count.
func (b *Batch) Len() int { return len(b.ops) }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	clear(b.ops)
	clear(b.conditions)
	b.ops, b.conditions, b.arena = b.ops[:0], b.conditions[:0], b.arena[:0]
	b.bytes, b.weight, b.err = 0, 0, nil
}

func (b *Batch) require(c condition) {
	b.conditions = append(b.conditions, c)
	b.weight += c.weight()
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

// checkBatch says what is wrong with a batch, before anything is written.
func (o *Options) checkBatch(b *Batch) error {
	if b.err != nil {
		return b.err
	}
	for i := range b.ops {
		if err := o.check(&b.ops[i]); err != nil {
			return fmt.Errorf("operation %d of the batch: %w", i, err)
		}
	}
	for i := range b.conditions {
		if err := checkKey(b.conditions[i].key); err != nil {
			return fmt.Errorf("condition %d of the batch: %w", i, err)
		}
	}
	if n := len(b.conditions); n > maxConditions || b.weight > format.MaxPayloadLen {
		return fmt.Errorf("%w: a batch with %d conditions on %d bytes, at most %d and %d", ErrValueTooLarge, n, b.weight, maxConditions, format.MaxPayloadLen)
	}
	if b.bytes > format.MaxPayloadLen {
		return fmt.Errorf("%w: a batch of %d bytes, at most %d", ErrValueTooLarge, b.bytes, format.MaxPayloadLen)
	}
	return nil
}

func checkKey(key []byte) error {
	switch {
	case len(key) == 0:
		return ErrKeyEmpty
	case len(key) > format.MaxKeyLen:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrKeyTooLarge, len(key), format.MaxKeyLen)
	}
	return nil
}

// check says what is wrong with an operation, before anything is written.
func (o *Options) check(p *op) error {
	switch err := checkKey(p.key); {
	case err != nil:
		return err
	case len(p.value) > o.MaxValueBytes:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrValueTooLarge, len(p.value), o.MaxValueBytes)
	}
	return nil
}
