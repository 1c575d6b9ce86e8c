package ckpt

import (
	"fmt"

	"github.com/tongpengdl/small-db/format"
)

// ordered is the ordered index: the offsets of some records, in the order of their keys.
func (r *Reader) ordered() words {
	return words{r, r.outline.footer.OrderedAt, r.outline.footer.Entries}
}

// entries is how many records the ordered index holds.
func (r *Reader) entries() uint64 { return r.outline.footer.Entries }

// indexed returns the offset of the record in entry i of the ordered index.
func (r *Reader) indexed(i uint64) (uint64, error) { return r.ordered().get(i) }

// countUpTo counts the entries of the ordered index whose records lie up to offset.
func (r *Reader) countUpTo(offset uint64) (uint64, error) {
	return r.ordered().count(func(o uint64) (bool, error) { return o <= offset, nil })
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
