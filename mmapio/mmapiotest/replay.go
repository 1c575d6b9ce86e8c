package mmapiotest

import (
	"bytes"
	"fmt"
	"maps"
)

// Replayer follows a trace and knows at each point what is durable and what is pending. It is used by one goroutine
// at a time; several of one trace are independent.
type Replayer struct {
	// Block is the size in bytes of the blocks that a crash damages as a whole, durable bytes of them too,
	// if a byte of them is being written (in SizeGarbage, StaleSame and StaleAny). A power of two from 512 to 4096,
	// set before the first Image. Default: 4096.
	Block int64

	trace  Trace
	locks  map[string]bool // names of lock files, which are in no image
	at     int             // ops followed
	inodes map[int]*inode
	names  map[string]int // durable ones
	links  []link         // pending directory operations, in order
	stale  history
}

// link is a pending Create, Rename or Remove.
type link struct {
	op      int
	kind    Kind
	name    string // the new one of a Rename
	oldName string
	inode   int
}

// Replayer returns a replayer at the beginning of the trace.
func (t Trace) Replayer() *Replayer {
	r := &Replayer{Block: page, trace: t, locks: make(map[string]bool)}
	for _, op := range t {
		if op.Kind == LockDir {
			r.locks[op.Name] = true
		}
	}
	r.reset()
	return r
}

// Crash is one image of a trace; for many of one trace a Replayer is faster.
func (t Trace) Crash(cut Cut, mode Mode, seed uint64) Image {
	return t.Replayer().Image(cut, mode, seed)
}

func (r *Replayer) reset() {
	r.at = 0
	r.inodes = make(map[int]*inode)
	r.names = make(map[string]int)
	r.links = nil
	r.stale = history{at: make(map[int64][][]byte)}
}

// Image returns the directory as a crash at cut can leave it. The same arguments give the same image. Images are cheap
// in the order of cuts: an earlier cut than the last one starts over. A cut outside the trace panics.
func (r *Replayer) Image(cut Cut, mode Mode, seed uint64) Image {
	if cut.Op < 0 || cut.Op > len(r.trace) || cut.Inside && cut.Op == len(r.trace) {
		panic(fmt.Sprintf("cut %s of a trace of %d ops", cut, len(r.trace)))
	}
	if cut.Op < r.at {
		r.reset()
	}
	for r.at < cut.Op {
		r.begin(r.at)
		r.finish(r.at)
		r.at++
	}
	if cut.Inside {
		r.begin(cut.Op)
		defer r.undo(cut.Op)
	}
	return newCrash(r, cut, mode, seed).image()
}

// begin adds the effect of op i to what is pending. A directory operation that fails has none.
func (r *Replayer) begin(i int) {
	op := &r.trace[i]
	switch op.Kind {
	case WriteAt:
		r.inodes[op.Inode].add(write{op: i, off: op.Off, data: op.Data, doubt: doubtful(op.Err)})
	case Create, Rename, Remove:
		if !op.linked() {
			return
		}
		l := link{op: i, kind: op.Kind, name: op.Name, inode: op.Inode}
		switch op.Kind {
		case Create:
			r.inodes[op.Inode] = &inode{base: []byte{}}
		case Rename:
			l.name, l.oldName = op.NewName, op.Name
		}
		r.links = append(r.links, l)
	}
}

// linked says whether a directory operation had an effect on a file that is known.
func (o *Op) linked() bool { return o.Err == nil && o.Inode != 0 }

// undo takes back begin.
func (r *Replayer) undo(i int) {
	op := &r.trace[i]
	switch op.Kind {
	case WriteAt:
		n := r.inodes[op.Inode]
		n.pending, n.cached = n.pending[:len(n.pending)-1], nil
	case Create, Rename, Remove:
		if op.linked() {
			r.links = r.links[:len(r.links)-1]
		}
	}
}

// finish does what op i does on top of begin when it returns.
func (r *Replayer) finish(i int) {
	op := &r.trace[i]
	switch op.Kind {
	case Base:
		r.inodes[op.Inode] = &inode{base: op.Data, shared: true}
		r.names[op.Name] = op.Inode
		r.stale.add(0, op.Data)
	case WriteAt:
		n := r.inodes[op.Inode]
		if op.Durable && op.Err == nil {
			n.pending = n.pending[:len(n.pending)-1]
			n.settle(op.Off, op.Data)
		}
		r.stale.add(op.Off, op.Data)
	case Sync:
		r.inodes[op.Inode].sync(op.Err)
	case ReadAt:
		if len(op.Data) > 0 {
			r.inodes[op.Inode].observe(op.Off, op.Data)
		}
	case SyncDir:
		if op.Err == nil {
			r.names = applyLinks(r.names, r.links)
			r.links = nil
		}
	}
}

// applyLinks returns the names after these operations. Each acts on its inode by whatever name that has, for
// an operation before it may have been lost, and a file never has two names.
func applyLinks(names map[string]int, links []link) map[string]int {
	out := maps.Clone(names)
	for _, l := range links {
		if l.kind != Create {
			maps.DeleteFunc(out, func(_ string, inode int) bool { return inode == l.inode })
		}
		if l.kind != Remove {
			out[l.name] = l.inode
		}
	}
	return out
}

// history holds what was written earlier, by page. A reference is to the bytes of a write from the start of a page on.
type history struct {
	at  map[int64][][]byte // by number of the page in its file
	any [][]byte
}

func (h *history) add(off int64, data []byte) {
	end := off + int64(len(data))
	for b := (off + page - 1) / page; b*page < end; b++ {
		piece := data[b*page-off : min(end, (b+1)*page)-off]
		if len(bytes.Trim(piece, "\x00")) > 0 {
			h.at[b] = append(h.at[b], piece)
			h.any = append(h.any, piece)
		}
	}
}
