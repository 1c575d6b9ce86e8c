package ckpt

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"

	"github.com/tongpengdl/small-db/format"
)

// Due counts the records that are due at t, in ns since the Unix epoch: those that have a deadline, and not
// one after t. It reads no record. What it reads of the deadlines it verifies: nothing if there are none, one block
// (format.WordBlockLen) if the first is after t, and else 2 + log2(deadlines / 63) of them at the most. It
// allocates nothing. Damage is a *format.CorruptionError. See the package comment about reading mapped memory.
func (r *Reader) Due(t int64) (uint64, error) {
	deadlines := words{r, r.outline.footer.DeadlinesAt, r.outline.footer.Deadlines}
	if deadlines.n == 0 || t <= 0 { // no deadline is before 1
		return 0, nil
	}
	if first, err := deadlines.get(0); err != nil || first > uint64(t) {
		return 0, err
	}
	return deadlines.count(func(d uint64) (bool, error) { return d <= uint64(t), nil })
}

// deadlineBalance is 0 when the same deadlines, each as often, were added as were taken away. The sum of
// their keyed hashes stands for them, whatever their order and number (MSet-Add-Hash: Clarke and others,
// "Incremental Multiset Hash Functions", ASIACRYPT 2003); that others give 0 is a matter of chance, and of 1 in 2^64 as a rule.
type deadlineBalance struct {
	seed maphash.Seed
	sum  uint64
}

func (b *deadlineBalance) add(d uint64)  { b.sum += b.hash(d) }
func (b *deadlineBalance) take(d uint64) { b.sum -= b.hash(d) }

func (b *deadlineBalance) hash(d uint64) uint64 {
	var word [8]byte
	binary.LittleEndian.PutUint64(word[:], d)
	return maphash.Bytes(b.seed, word[:])
}

// verifyDeadlines verifies the deadlines, which must be those of the records, all of which were read.
func (v *verifier) verifyDeadlines() error {
	f := &v.footer
	if v.expiring != f.Deadlines {
		return corrupt(v.name, f.DeadlinesAt, fmt.Errorf("deadlines: %w: %d of them, %d records have one", format.ErrField, f.Deadlines, v.expiring))
	}
	left, last := f.Deadlines, uint64(1)
	for i := range v.segments {
		if v.segments[i].Kind != format.SegmentDeadlines {
			continue
		}
		err := v.index.units(&v.segments[i], format.WordBlockLen, func(b []byte, offset uint64) error {
			deadlines, n, err := v.decodeWords(b, offset, left)
			if err != nil {
				return err
			}
			for _, d := range deadlines[:n] {
				if d < last || d > math.MaxInt64 {
					return fmt.Errorf("deadlines: %w: %d, the least possible is %d", format.ErrField, int64(d), last)
				}
				v.deadlines.take(d)
				last = d
			}
			left -= n
			return nil
		})
		if err != nil {
			return err
		}
	}
	if v.deadlines.sum != 0 {
		return corrupt(v.name, f.DeadlinesAt, fmt.Errorf("deadlines: %w: they are not those of the records", format.ErrField))
	}
	return nil
}
