package ckpt

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tongpengdl/small-db/format"
)

// Record is one key of a checkpoint.
type Record struct {
	Seq    uint64 // of the operation that set it
	Expiry int64  // absolute deadline in ns since the Unix epoch; 0 means none
	Key    []byte // 1 to format.MaxKeyLen bytes
	Value  []byte // up to format.MaxValueLen bytes
}

// ErrOrder is what Builder.Add returns for a key that is not above the one before it.
var ErrOrder = errors.New("keys do not rise")

// check says why r cannot follow a record with the key previous in a checkpoint that stands at lastSeq.
func (r *Record) check(previous []byte, lastSeq uint64) error {
	switch {
	case len(r.Key) == 0 || len(r.Key) > format.MaxKeyLen:
		return fmt.Errorf("%w: key of %d bytes", format.ErrLength, len(r.Key))
	case len(r.Value) > format.MaxValueLen:
		return fmt.Errorf("%w: value of %d bytes", format.ErrLength, len(r.Value))
	case r.Expiry < 0:
		return fmt.Errorf("%w: deadline %d", format.ErrField, r.Expiry)
	case bytes.Compare(r.Key, previous) <= 0:
		return fmt.Errorf("%w: %.40q follows %.40q", ErrOrder, r.Key, previous)
	}
	return checkSeq(r.Seq, lastSeq)
}

// checkSeq fails unless seq is that of an operation up to the position of the checkpoint.
func checkSeq(seq, lastSeq uint64) error {
	if seq == 0 || seq > lastSeq {
		return fmt.Errorf("%w: sequence %d in a checkpoint of the operations 1 to %d", format.ErrField, seq, lastSeq)
	}
	return nil
}
