package ckpt

import (
	"bytes"
	"fmt"

	"github.com/tongpengdl/small-db/format"
)

// entries is how many records the ordered index holds.
func (r *Reader) entries() uint64 { return r.outline.footer.Entries }

// orderedBlock verifies block i of the ordered index.
func (r *Reader) orderedBlock(i uint64) (format.OrderedBlock, error) {
	at := r.outline.footer.OrderedAt + i*format.OrderedBlockLen
	block, err := format.DecodeOrderedBlock(r.data[at:], r.salt, at)
	if err != nil {
		return block, corrupt(r.name, at, err)
	}
	return block, nil
}

// indexed returns the offset of the record in entry i of the ordered index.
func (r *Reader) indexed(i uint64) (uint64, error) {
	block, err := r.orderedBlock(i / format.OrderedBlockEntries)
	return block[i%format.OrderedBlockEntries], err
}

// countIndexed counts the entries of the ordered index whose records fulfil before,
// which holds for a number of them from the first on and for none after. It looks for
// the last such block first, so that few blocks are verified.
func (r *Reader) countIndexed(before func(offset uint64) (bool, error)) (uint64, error) {
	var last format.OrderedBlock // the last block known to begin with such an entry
	low, high := uint64(0), format.OrderedBlocks(r.entries())
	for low < high {
		middle := (low + high) / 2
		block, err := r.orderedBlock(middle)
		if err != nil {
			return 0, err
		}
		switch ok, err := before(block[0]); {
		case err != nil:
			return 0, err
		case ok:
			low, last = middle+1, block
		default:
			high = middle
		}
	}
	if low == 0 {
		return 0, nil
	}
	first := (low - 1) * format.OrderedBlockEntries
	low, high = 1, min(format.OrderedBlockEntries, r.entries()-first)
	for low < high {
		middle := (low + high) / 2
		switch ok, err := before(last[middle]); {
		case err != nil:
			return 0, err
		case ok:
			low = middle + 1
		default:
			high = middle
		}
	}
	return first + low, nil
}

// countBelow counts the entries of the ordered index whose keys are less than key.
func (r *Reader) countBelow(key []byte) (uint64, error) {
	return r.countIndexed(func(offset uint64) (bool, error) {
		record, _, err := r.record(offset, r.spanOf(offset))
		return bytes.Compare(record.Key, key) < 0, err
	})
}

// countUpTo counts the entries of the ordered index whose records lie up to offset.
func (r *Reader) countUpTo(offset uint64) (uint64, error) {
	return r.countIndexed(func(o uint64) (bool, error) { return o <= offset, nil })
}

// run appends to dst the offsets of the records from entry i of the ordered index up to the next
// entry: few more than format.OrderedStride bytes of them, or one large one.
func (r *Reader) run(dst []uint64, i uint64) ([]uint64, error) {
	offset, err := r.indexed(i)
	if err != nil {
		return dst, err
	}
	at := r.spanOf(offset)
	end := uint64(0) // the end of the segment, or the next entry where that comes first
	if at >= 0 {
		end = r.spans[at].end
	}
	if i+1 < r.entries() {
		next, err := r.indexed(i + 1)
		if err != nil {
			return dst, err
		}
		end = min(end, next)
	}
	for first := offset; offset != end; {
		if offset > end {
			return dst, corrupt(r.name, first, fmt.Errorf("ordered index: %w: entry %d does not end at %d", format.ErrField, i, end))
		}
		_, size, err := r.record(offset, at)
		if err != nil {
			return dst, err
		}
		dst = append(dst, offset)
		offset += size
	}
	return dst, nil
}
