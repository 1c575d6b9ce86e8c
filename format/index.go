package format

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// The hash index of a checkpoint is an array of buckets the size of a cache line. A
// key belongs into bucket BucketOf(hash) or, where that is full, into the first
// bucket after it (cyclically) that is not, fewer than MaxProbe buckets on. A lookup may stop
// at the first bucket with a free slot.
const (
	// BucketLen is the size of a bucket, in bytes.
	BucketLen = 64
	// BucketSlots is the number of slots in a bucket.
	BucketSlots = 7
	// MaxProbe is how many buckets a lookup reads at the most.
	MaxProbe = 64

	slotOffsetBits = 40
)

// BucketOf maps a key's hash to one of n buckets, in the order of the hashes, by
// multiply-shift (Lemire, "Fast Random Integer Generation in an Interval", 2019).
func BucketOf(hash, n uint64) uint64 {
	bucket, _ := bits.Mul64(hash, n)
	return bucket
}

// Slot is an entry of a bucket: 24 low bits of the key's hash over the offset of its record. 0 is a free slot.
type Slot uint64

// NewSlot makes the slot of the record at offset, which is below MaxCheckpointLen.
func NewSlot(hash, offset uint64) Slot { return Slot(hash<<slotOffsetBits | offset) }

// Offset is where the record lies in the file.
func (s Slot) Offset() uint64 { return uint64(s) & (1<<slotOffsetBits - 1) }

// Bucket is a decoded bucket. Slots fill from the first on.
type Bucket [BucketSlots]Slot

// Encode writes the bucket at offset of the checkpoint with this salt to b.
func (k *Bucket) Encode(b []byte, salt, offset uint64) {
	b = b[:BucketLen]
	for i, s := range k {
		binary.LittleEndian.PutUint64(b[8*i:], uint64(s))
	}
	putSum(b, salt, offset)
}

// DecodeBucket reads and verifies the bucket at the start of b, which lies at offset
// in the checkpoint with this salt. It allocates nothing.
func DecodeBucket(b []byte, salt, offset uint64) (k Bucket, err error) {
	if err := CheckBucket(b, salt, offset); err != nil {
		return Bucket{}, err
	}
	for i := range k {
		k[i] = SlotAt(b, i)
	}
	return k, nil
}

// CheckBucket verifies what DecodeBucket does, for who then reads the slots in place.
func CheckBucket(b []byte, salt, offset uint64) error {
	if len(b) < BucketLen {
		return fmt.Errorf("bucket: %w: %d bytes", ErrLength, len(b))
	}
	if err := checkSum(b[:BucketLen], salt, offset); err != nil {
		return fmt.Errorf("bucket: %w", err)
	}
	return nil
}

// Candidates are the slots of the bucket at the start of b that may be of a key with this hash: bit i for slot i. It has no branch that depends on
// them: which slot it is cannot be predicted, and to guess wrong would cost more than all seven comparisons.
func Candidates(b []byte, hash uint64) (mask uint) {
	b = b[:BucketSlots*8]
	tag := hash << slotOffsetBits
	for i := range uint(BucketSlots) {
		differ := (binary.LittleEndian.Uint64(b[8*i:]) ^ tag) >> slotOffsetBits
		mask |= uint((differ-1)>>63) << i // differ is below 2^24: less 1, only 0 has the highest bit
	}
	return mask
}

// SlotAt is slot i of the bucket at the start of b. i is below BucketSlots.
func SlotAt(b []byte, i int) Slot { return Slot(binary.LittleEndian.Uint64(b[8*i:])) }

// OrderedStride is the distance between indexed records, in bytes. The ordered index of a checkpoint is an
// array of record offsets, in key order: the first record of each segment and then the first one past
// every OrderedStride bytes. Keys are not repeated; a search reads them in the records.
const OrderedStride = 4096

// The ordered index and the deadlines of a checkpoint are arrays of words, never 0, in word blocks. The
// last block of an array is filled up with zeros. The deadlines are those of all records that have one, in rising order,
// each as often as there are records with it.
const (
	// WordBlockLen is the size of a word block, in bytes.
	WordBlockLen = 512
	// WordBlockWords is the number of words in a word block.
	WordBlockWords = (WordBlockLen - SumLen) / 8
)

// WordBlocks is the number of blocks that hold n words.
func WordBlocks(n uint64) uint64 { return n/WordBlockWords + min(n%WordBlockWords, 1) }

// WordBlock is a decoded word block.
type WordBlock [WordBlockWords]uint64

// Encode writes the block at offset of the checkpoint with this salt to b.
func (w *WordBlock) Encode(b []byte, salt, offset uint64) {
	b = b[:WordBlockLen]
	for i, v := range w {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	putSum(b, salt, offset)
}

// DecodeWordBlock reads and verifies the block at the start of b, which lies at
// offset in the checkpoint with this salt. It allocates nothing.
func DecodeWordBlock(b []byte, salt, offset uint64) (w WordBlock, err error) {
	if len(b) < WordBlockLen {
		return WordBlock{}, fmt.Errorf("word block: %w: %d bytes", ErrLength, len(b))
	}
	b = b[:WordBlockLen]
	if err := checkSum(b, salt, offset); err != nil {
		return WordBlock{}, fmt.Errorf("word block: %w", err)
	}
	for i := range w {
		w[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return w, nil
}
