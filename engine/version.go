package engine

import "fmt"

// Version is the token of a state of the database: that after the operation with this
// sequence. No two operations of one history ever have the same. Later
// versions compare greater, epoch first.
type Version struct {
	Epoch uint64 // raised at each change of who may acknowledge
	Seq   uint64 // of the operation; contiguous
}

// String is epoch.seq.
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Epoch, v.Seq) }
