package engine

import "sync/atomic"

// references are the places of all records of a delta, in the order of their sequences, which have no
// gaps: 8 bytes a record, with nothing in them for the garbage collector to follow. A commit only appends here; whoever needs
// the keys in order sorts for himself (order.go). The holder of the pipeline writes, any number of readers look into what was
// published.
type references struct {
	first  uint64                              // sequence before the first record; constant
	last   atomic.Uint64                       // sequence of the last record published: all before it are entered in the table
	chunks atomic.Pointer[[]*[chunkLen]uint64] // full but for the last; a longer list replaces it
	n      int                                 // records appended; the writer's
}

// chunkLen is the number of places that are allocated at a time.
const chunkLen = 4096

// start says what sequence the history stands at. Before anything is appended.
func (r *references) start(seq uint64) {
	r.first = seq
	r.last.Store(seq)
	r.chunks.Store(new([]*[chunkLen]uint64))
}

// append adds the place of the record with the next sequence.
func (r *references) append(place int64) {
	if r.n%chunkLen == 0 {
		r.grow()
	}
	(*r.chunks.Load())[r.n/chunkLen][r.n%chunkLen] = uint64(place)
	r.n++
}

func (r *references) grow() {
	chunks := append(*r.chunks.Load(), new([chunkLen]uint64)) // readers of the shorter list do not look beyond it
	r.chunks.Store(&chunks)
}

// publish lets readers see what was appended. By then the records are in the table.
func (r *references) publish() { r.last.Store(r.first + uint64(r.n)) }

// upTo is how many records there are up to a sequence that was published.
func (r *references) upTo(seq uint64) int { return int(seq - r.first) }

// places calls visit with the places of the records from index from up to to, which were published.
func (r *references) places(from, to int, visit func(place int64) error) error {
	chunks := *r.chunks.Load()
	for i := from; i < to; i++ {
		if err := visit(int64(chunks[i/chunkLen][i%chunkLen])); err != nil {
			return err
		}
	}
	return nil
}
