package mmapiotest

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
)

// crash makes one image.
type crash struct {
	r     *Replayer
	mode  Mode
	seed  uint64
	cut   uint64     // stirs the random numbers
	rng   *rand.Rand // for directory operations
	limit int        // of OrderedPrefix: effects of earlier ops are kept
}

func newCrash(r *Replayer, cut Cut, mode Mode, seed uint64) *crash {
	c := &crash{r: r, mode: mode, seed: seed, cut: uint64(cut.Op) << 1}
	if cut.Inside {
		c.cut |= 1
	}
	c.rng = c.random(0)
	if mode == OrderedPrefix {
		c.limit = c.prefix()
	}
	return c
}

// random returns the random numbers for one inode; 0 is the directory.
func (c *crash) random(inode int) *rand.Rand {
	return rand.New(rand.NewPCG(c.seed, c.cut<<32^uint64(inode)<<8^uint64(c.mode)))
}

// prefix chooses the first pending effect, in the order of the trace, that is lost.
func (c *crash) prefix() int {
	var ops []int
	for _, l := range c.r.links {
		ops = append(ops, l.op)
	}
	for _, n := range c.r.inodes {
		for _, w := range n.pending {
			ops = append(ops, w.op)
		}
	}
	slices.Sort(ops)
	ops = append(slices.Compact(ops), math.MaxInt)
	return ops[c.rng.IntN(len(ops))]
}

func (c *crash) image() Image {
	names := c.names()
	contents := make(map[int][]byte, len(names))
	image := make(Image, len(names))
	for name, id := range names {
		if c.r.locks[name] {
			continue
		}
		if _, ok := contents[id]; !ok {
			contents[id] = c.content(c.r.inodes[id], id)
		}
		image[name] = contents[id]
	}
	return image
}

// names decides what became of the pending directory operations.
func (c *crash) names() map[string]int {
	links := c.r.links
	switch c.mode {
	case SyncedOnly:
		links = nil
	case OrderedPrefix:
		links = c.filter(func(l link) bool { return l.op < c.limit })
	case TornSubset, TornGarbage, BlocksFew, BlocksHalf, StaleAny:
		links = links[:c.rng.IntN(len(links)+1)]
	case NamesWithData, NamesWithoutData:
		links = c.filter(func(link) bool { return c.coin() })
	case BothNames:
		return c.bothNames()
	}
	return applyLinks(c.r.names, links)
}

func (c *crash) coin() bool { return c.rng.IntN(2) == 0 }

func (c *crash) filter(keep func(link) bool) []link {
	return slices.DeleteFunc(slices.Clone(c.r.links), func(l link) bool { return !keep(l) })
}

func (c *crash) bothNames() map[string]int {
	out := maps.Clone(c.r.names)
	neither := make(map[int]bool)
	for _, l := range c.r.links {
		switch {
		case neither[l.inode]:
		case l.kind == Create && c.coin():
			neither[l.inode] = true
		case l.kind != Remove:
			out[l.name] = l.inode
		case c.coin():
			maps.DeleteFunc(out, func(_ string, inode int) bool { return inode == l.inode })
		}
	}
	return out
}

// content decides what became of the pending writes of a file.
func (c *crash) content(n *inode, id int) []byte {
	if len(n.pending) == 0 {
		return n.durable()
	}
	rng := c.random(id)
	switch c.mode {
	case SyncedOnly, NamesWithoutData:
		return n.durable()
	case OrderedPrefix:
		return c.ordered(n)
	case SizeZeros:
		return zeroed(n)
	case SizeGarbage:
		return c.garbage(n, rng)
	case DataWithoutSize:
		return n.full()[:len(n.base)]
	case TornPrefix, TornSubset, TornGarbage:
		return c.torn(n, rng)
	case BlocksFew:
		return someBlocks(n, rng, 1)
	case BlocksHalf:
		return someBlocks(n, rng, 2)
	case BlocksMost:
		return someBlocks(n, rng, 3)
	case StaleSame, StaleAny:
		return c.staleBlocks(n, rng)
	}
	return n.full()
}

// apply returns the durable content with these writes on top.
func (n *inode) apply(writes []write) []byte {
	size := int64(len(n.base))
	for _, w := range writes {
		size = max(size, w.end())
	}
	out := n.grown(size)
	for _, w := range writes {
		copy(out[w.off:], w.data)
	}
	return out
}

func (c *crash) ordered(n *inode) []byte {
	i := slices.IndexFunc(n.pending, func(w write) bool { return w.op >= c.limit })
	if i < 0 {
		return n.full()
	}
	return n.apply(n.pending[:i])
}

func zeroed(n *inode) []byte {
	out := n.grown(n.size())
	for _, w := range n.pending {
		clear(out[w.off:w.end()])
	}
	return out
}

// noise is where garbage comes from: random bytes from a random place on.
var noise = func() []byte {
	rng := rand.NewChaCha8([32]byte{})
	out := make([]byte, 64<<10)
	_, _ = rng.Read(out) // never fails
	return out
}()

func (c *crash) garbage(n *inode, rng *rand.Rand) []byte {
	out := n.grown(n.size())
	for _, b := range n.blocks(c.r.Block) {
		copy(out[b*c.r.Block:min(int64(len(out)), (b+1)*c.r.Block)], noise[rng.IntN(len(noise)-page):])
	}
	return out
}

// torn keeps some sectors of each write.
func (c *crash) torn(n *inode, rng *rand.Rand) []byte {
	var kept []write
	for _, w := range n.pending {
		var pieces []write
		for off := w.off; off < w.end(); {
			next := min(w.end(), off/sector*sector+sector)
			pieces = append(pieces, write{off: off, data: w.data[off-w.off : next-w.off]})
			off = next
		}
		switch c.mode {
		case TornPrefix:
			pieces = pieces[:rng.IntN(len(pieces)+1)]
		case TornSubset:
			pieces = slices.DeleteFunc(pieces, func(write) bool { return rng.IntN(2) == 0 })
		default:
			for i, p := range pieces {
				if rng.IntN(2) == 0 {
					at := rng.IntN(len(noise) - sector)
					pieces[i].data = noise[at : at+len(p.data)]
				}
			}
		}
		kept = append(kept, pieces...)
	}
	return n.apply(kept)
}

// someBlocks keeps this many quarters of the blocks, at random.
func someBlocks(n *inode, rng *rand.Rand, quarters int) []byte {
	full := n.full()
	out, size := n.grown(int64(len(full))), len(n.base)
	for _, b := range n.blocks(page) {
		if rng.IntN(4) < quarters {
			end := min(len(full), int(b+1)*page)
			size = max(size, end)
			copy(out[b*page:end], full[b*page:end])
		}
	}
	if rng.IntN(2) == 0 {
		return out[:size]
	}
	return out
}

// staleBlocks puts bytes of earlier writes into half of the blocks.
func (c *crash) staleBlocks(n *inode, rng *rand.Rand) []byte {
	full := n.full()
	out := n.grown(int64(len(full)))
	for _, b := range n.blocks(c.r.Block) {
		from, to := b*c.r.Block, min(int64(len(out)), (b+1)*c.r.Block)
		switch rng.IntN(4) {
		case 0:
			copy(out[from:to], full[from:to])
		case 1: // as it was
		default:
			c.stale(out[from:to], from, rng)
		}
	}
	return out
}

// stale fills out, the bytes at off of a file, with others written earlier; with noise if there are none.
func (c *crash) stale(out []byte, off int64, rng *rand.Rand) {
	pieces := c.r.stale.at[off/page]
	if c.mode == StaleAny {
		pieces = c.r.stale.any
	}
	if len(pieces) == 0 {
		copy(out, noise[rng.IntN(len(noise)-page):])
		return
	}
	piece := pieces[rng.IntN(len(pieces))]
	copy(out, piece[min(off%page, int64(len(piece))):])
}
