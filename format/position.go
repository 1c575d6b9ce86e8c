package format

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// UUID identifies one database through all its files, logs and checkpoints alike.
// A copied directory keeps it.
type UUID [16]byte

// String is the UUID as 32 hexadecimal digits.
func (u UUID) String() string { return hex.EncodeToString(u[:]) }

// Position says where a history stands: after which operation, and by which
// history it got there.
type Position struct {
	Epoch uint64 // of the last operation; at least 1
	Seq   uint64 // of the last operation; 0 before the first
	Index uint64 // of the last frame; frames are numbered without a gap, 0 before the first
	Time  int64  // engine time of the last frame, in ns since the Unix epoch; never decreases
	Chain uint64 // identifies the whole history up to here
}

// Start is the position of a new database.
func Start(id UUID, now int64) Position {
	return Position{Epoch: 1, Time: now, Chain: xxhash.Sum64(id[:])}
}

// String is the position as a person reads it: epoch.seq and the chain.
func (p Position) String() string {
	return fmt.Sprintf("%d.%d (chain %016x)", p.Epoch, p.Seq, p.Chain)
}

func (p Position) put(b []byte) {
	binary.LittleEndian.PutUint64(b[0:], p.Epoch)
	binary.LittleEndian.PutUint64(b[8:], p.Seq)
	binary.LittleEndian.PutUint64(b[16:], p.Index)
	binary.LittleEndian.PutUint64(b[24:], uint64(p.Time))
	binary.LittleEndian.PutUint64(b[32:], p.Chain)
}

func getPosition(b []byte) Position {
	return Position{
		Epoch: binary.LittleEndian.Uint64(b[0:]),
		Seq:   binary.LittleEndian.Uint64(b[8:]),
		Index: binary.LittleEndian.Uint64(b[16:]),
		Time:  int64(binary.LittleEndian.Uint64(b[24:])),
		Chain: binary.LittleEndian.Uint64(b[32:]),
	}
}

// Chain computes the chain of a frame from that of the frame before it. It
// covers what is the same on every node (the frame's epoch, first seq, time
// and the content of its records, in order) and none of the
// salts, offsets and local checksums. The zero value is not ready: use NewChain.
type Chain struct{ buf []byte }

// NewChain starts the chain of a frame. buf is scratch space, used from its start; it may be nil.
func NewChain(buf []byte, previous, epoch, firstSeq uint64, time int64) Chain {
	buf = buf[:0]
	for _, v := range [...]uint64{previous, epoch, firstSeq, uint64(time)} {
		buf = binary.LittleEndian.AppendUint64(buf, v)
	}
	return Chain{buf}
}

// Add adds the next record by its content hash (Record.Hash).
func (c *Chain) Add(hash uint64) { c.buf = binary.LittleEndian.AppendUint64(c.buf, hash) }

// Sum returns the chain after the frame.
func (c *Chain) Sum() uint64 { return xxhash.Sum64(c.buf) }

// Scratch returns the space that the chain was built in, for the next one.
func (c *Chain) Scratch() []byte { return c.buf }
