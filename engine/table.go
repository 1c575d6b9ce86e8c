package engine

import (
	"errors"
	"sync/atomic"
	"unsafe"

	"github.com/tongpengdl/small-db/mmapio"
)

// table is a hash table of 8-byte slots with one writer and any number of
// readers, who take no lock. It is extendible hashing (Fagin, Nievergelt,
// Pippenger and Strong, 1979): a directory of segments, indexed by the top bits of
// the hash. A full segment is replaced by two, each built aside and then
// published with one atomic store; the old one stays as it is for readers
// that are still in it, and is collected after them. A split reads no record: a slot
// carries the bits that it needs. So the table grows by 4 KiB at a time and never stops the writer.
//
// A slot is stored only when its record is durable, may be replaced, and is never cleared.
type table struct {
	dir     atomic.Pointer[directory]
	entries atomic.Int64 // slots in use; stored by the writer
}

// A slot is 28 bits of the hash, the tag, over a 36-bit place. 0 is a free slot.
const (
	placeBits = 36
	placeMask = 1<<placeBits - 1

	bucketBits   = 6                           // the low bits of the tag choose the bucket within a segment,
	maxDepth     = 64 - placeBits - bucketBits // the others the segment
	bucketSlots  = 8                           // one cache line
	segmentSlots = bucketSlots << bucketBits
	segmentFull  = segmentSlots * 3 / 4 // slots in use at which a segment is split
)

// errTableFull: 2^22 segments are full. They hold over a thousand million slots, and
// a checkpoint empties the table long before.
var errTableFull = errors.New("the index of changed keys is full, a checkpoint must complete first")

// directory has 2^depth pointers. Those with the same top bits may point to one segment.
type directory struct {
	depth    uint
	segments []atomic.Pointer[segment]
}

// segment is 64 buckets of 8 slots. A slot lies in its bucket or, where that is
// full, in the first one after it, cyclically, with room.
type segment struct {
	slots [segmentSlots]atomic.Uint64
	depth uint // top bits of the hash that all its slots share; constant
	used  int  // slots in use; the writer's
}

func newTable() *table {
	t := new(table)
	d := &directory{segments: make([]atomic.Pointer[segment], 1)}
	d.segments[0].Store(new(segment))
	t.dir.Store(d)
	return t
}

// of returns the segment for a hash.
func (d *directory) of(hash uint64) *atomic.Pointer[segment] {
	return &d.segments[hash>>(64-d.depth)] // a shift by 64 gives 0
}

// home is the index of the first slot of the bucket of a hash.
func home(hash uint64) int {
	return int(hash>>placeBits) & (1<<bucketBits - 1) * bucketSlots
}

// search is a walk through the slots that may be of a key. It may run
// beside the writer, and then sees each slot as it was or as it became.
type search struct {
	segment *segment
	hash    uint64
	at      int // the next slot
	left    int // slots not looked at
}

// search begins one at the slots of a hash.
func (t *table) search(hash uint64) search {
	return search{t.segment(hash), hash, home(hash), segmentSlots}
}

// next returns the next slot that has the tag of the hash, and the place in it; nil if there is no more.
func (s *search) next() (slot *atomic.Uint64, place int64) {
	for ; s.left > 0; s.left-- {
		slot := &s.segment.slots[s.at%segmentSlots]
		v := slot.Load()
		if v == 0 {
			break
		}
		s.at++
		if (v^s.hash)>>placeBits == 0 {
			s.left--
			return slot, int64(v & placeMask)
		}
	}
	return nil, 0
}

// slotOf is the slot of a key with this hash and its record at place.
func slotOf(hash uint64, place int64) uint64 { return hash&^placeMask | uint64(place) }

// segment returns the segment in which the slots of hash lie.
func (t *table) segment(hash uint64) *segment { return t.dir.Load().of(hash).Load() }

// ask asks the processor for the first slots of a hash, and does not wait for them.
func (t *table) ask(hash uint64) {
	mmapio.Prefetch((*byte)(unsafe.Pointer(&t.segment(hash).slots[home(hash)])))
}

// insert stores a new slot. The writer only.
func (t *table) insert(hash uint64, place int64) error {
	s := t.segment(hash)
	for s.used >= segmentFull && s.depth < maxDepth {
		t.split(s, hash)
		s = t.segment(hash)
	}
	if !s.add(slotOf(hash, place)) {
		return errTableFull
	}
	t.entries.Add(1)
	return nil
}

// add stores a slot in the first free place from its home on.
func (s *segment) add(slot uint64) bool {
	at := home(slot)
	for range segmentSlots {
		if s.slots[at].Load() == 0 {
			s.slots[at].Store(slot)
			s.used++
			return true
		}
		at = (at + 1) % segmentSlots
	}
	return false
}

// split replaces the segment s, which holds hash, by two with one more bit.
func (t *table) split(s *segment, hash uint64) {
	children := [2]*segment{{depth: s.depth + 1}, {depth: s.depth + 1}}
	for i := range s.slots {
		if v := s.slots[i].Load(); v != 0 {
			children[v>>(63-s.depth)&1].add(v)
		}
	}
	d := t.dir.Load()
	if s.depth == d.depth {
		d = d.double()
		defer t.dir.Store(d) // once it holds the children
	}
	span := uint64(1) << (d.depth - s.depth - 1) // pointers to each child
	first := hash >> (64 - s.depth) << (d.depth - s.depth)
	for i := range 2 * span {
		d.segments[first+i].Store(children[i/span])
	}
}

// double returns a directory of twice the size with the same segments.
func (d *directory) double() *directory {
	next := &directory{depth: d.depth + 1, segments: make([]atomic.Pointer[segment], 2*len(d.segments))}
	for i := range next.segments {
		next.segments[i].Store(d.segments[i/2].Load())
	}
	return next
}

// places calls visit with the place of every slot until that fails, and returns its error. It may run while nothing is inserted.
func (t *table) places(visit func(place int64) error) error {
	d := t.dir.Load()
	var last *segment
	for i := range d.segments {
		s := d.segments[i].Load()
		if s == last {
			continue
		}
		last = s
		for j := range s.slots {
			if v := s.slots[j].Load(); v != 0 {
				if err := visit(int64(v & placeMask)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
