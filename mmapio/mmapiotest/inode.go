package mmapiotest

import (
	"errors"
	"slices"
)

// inode is a file in a Replayer, whatever its name.
type inode struct {
	base    []byte  // durable content; its length is the durable size
	shared  bool    // base belongs to images too, so it must be copied before a change
	pending []write // not durable, in order
	synced  bool    // a Sync has succeeded since the last write or sync that failed
	cached  []byte  // see full; nil if not made yet
}

// write is a pending write, or what is left of one.
type write struct {
	op    int // in the trace
	off   int64
	data  []byte
	doubt bool // a failed call covered it: no later sync makes it durable
}

func (w write) end() int64 { return w.off + int64(len(w.data)) }

func (n *inode) add(w write) {
	n.pending = append(n.pending, w)
	n.cached = nil
	n.synced = n.synced && !w.doubt
}

// size is the length of the file as the process sees it.
func (n *inode) size() int64 {
	size := int64(len(n.base))
	for _, w := range n.pending {
		size = max(size, w.end())
	}
	return size
}

// grown returns a copy of the durable content, lengthened by zeros to size if that is longer.
func (n *inode) grown(size int64) []byte {
	out := make([]byte, max(size, int64(len(n.base))))
	copy(out, n.base)
	return out
}

// full is the content as the process sees it. It must not be changed.
func (n *inode) full() []byte {
	if n.cached == nil {
		n.cached = n.grown(n.size())
		for _, w := range n.pending {
			copy(n.cached[w.off:], w.data)
		}
	}
	return n.cached
}

// durable is the durable content. It must not be changed.
func (n *inode) durable() []byte {
	n.shared = true
	return n.base
}

// own makes base changeable and at least size bytes long.
func (n *inode) own(size int64) {
	if n.shared || size > int64(len(n.base)) {
		n.base, n.shared = n.grown(size), false
	}
}

// settle makes data at off durable, in place of whatever is pending there.
func (n *inode) settle(off int64, data []byte) {
	if len(n.pending) > 0 {
		n.pending = without(n.pending, off, off+int64(len(data)))
	}
	n.own(off + int64(len(data)))
	copy(n.base[off:], data)
	n.cached = nil
}

// sync does what a Sync does that ended with err.
func (n *inode) sync(err error) {
	if err != nil {
		n.synced = false
		for i := range n.pending {
			n.pending[i].doubt = true
		}
		return
	}
	n.synced = true
	if len(n.pending) == 0 {
		return
	}
	pending := n.pending
	n.pending, n.cached = nil, nil
	n.own(sizeOf(pending, int64(len(n.base))))
	for _, w := range pending {
		if w.doubt {
			n.pending = append(n.pending, w)
		} else {
			n.settle(w.off, w.data)
		}
	}
}

// sizeOf is the length that the writes no failed call has covered give a file of size bytes.
func sizeOf(writes []write, size int64) int64 {
	for _, w := range writes {
		if !w.doubt {
			size = max(size, w.end())
		}
	}
	return size
}

// observe settles doubts: these bytes were read around the page cache, so after a successful Sync they are what is
// on the disk.
func (n *inode) observe(off int64, data []byte) {
	if !n.synced {
		return
	}
	for _, w := range slices.Clone(n.pending) {
		from, to := max(off, w.off), min(off+int64(len(data)), w.end())
		if w.doubt && from < to {
			n.settle(from, data[from-off:to-off])
		}
	}
}

// without returns what is left of writes outside the bytes from..to.
func without(writes []write, from, to int64) []write {
	var left []write
	for _, w := range writes {
		if w.end() <= from || w.off >= to {
			left = append(left, w)
			continue
		}
		if w.off < from {
			left = append(left, write{op: w.op, off: w.off, data: w.data[:from-w.off], doubt: w.doubt})
		}
		if w.end() > to {
			left = append(left, write{op: w.op, off: to, data: w.data[to-w.off:], doubt: w.doubt})
		}
	}
	return left
}

// blocks lists the blocks of this size that hold pending bytes, sorted.
func (n *inode) blocks(size int64) []int64 {
	var out []int64
	for _, w := range n.pending {
		if len(w.data) == 0 {
			continue
		}
		for b := w.off / size; b <= (w.end()-1)/size; b++ {
			out = append(out, b)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// doubtful says whether a write that ended with err may never reach the disk, whatever is synced later. What
// a killed process wrote is in the page cache like anything else.
func doubtful(err error) bool { return err != nil && !errors.Is(err, ErrKilled) }
