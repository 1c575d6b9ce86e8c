package format

import (
	"encoding/binary"
	"fmt"
)

// Entry is a set that survived into a checkpoint: one record of a record segment, which stores it
// unpadded and without what the checkpoint makes redundant. Key and
// Value point into the bytes it was decoded from.
type Entry struct {
	SeqDelta int64 // seq of the operation less BaseSeq of its segment
	Expiry   int64 // absolute deadline in ns since the Unix epoch; 0 means none
	Key      []byte
	Value    []byte
}

// Sizes of an entry.
const (
	entrySumLen = 4
	// MinEntryLen is the size of the smallest entry, in bytes.
	MinEntryLen = 3 + 1 + entrySumLen
	// MaxEntryLen is the size of the largest entry, in bytes.
	MaxEntryLen = 3*binary.MaxVarintLen64 + expiryLen + MaxKeyLen + MaxValueLen + entrySumLen
)

// AppendEntry appends e as it lies at offset in the checkpoint with this salt. The caller has checked the lengths.
func AppendEntry(dst []byte, e *Entry, salt, offset uint64) []byte {
	start := len(dst)
	dst = binary.AppendUvarint(dst, uint64(len(e.Key)))
	head := uint64(len(e.Value)) << 1
	if e.Expiry != 0 {
		head |= FlagExpiry
	}
	dst = binary.AppendUvarint(dst, head)
	dst = binary.AppendVarint(dst, e.SeqDelta)
	if e.Expiry != 0 {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Expiry))
	}
	dst = append(dst, e.Key...)
	dst = append(dst, e.Value...)
	return binary.LittleEndian.AppendUint32(dst, uint32(Sum(dst[start:], salt, offset)))
}

// DecodeEntry reads the entry at the start of b, which lies at offset in the
// checkpoint with this salt, verifies its checksum, and returns it and its size. It allocates nothing, and reads no byte of b past the entry.
func DecodeEntry(b []byte, salt, offset uint64) (Entry, int, error) {
	e, body, err := parseEntry(b)
	if err != nil {
		return Entry{}, 0, err
	}
	want := binary.LittleEndian.Uint32(b[body:])
	if got := uint32(Sum(b[:body], salt, offset)); got != want {
		return Entry{}, 0, fmt.Errorf("checkpoint record: %w: stored %08x, computed %08x", ErrChecksum, want, got)
	}
	return e, body + entrySumLen, nil
}

// parseEntry slices the entry at the start of b; its lengths are within bounds, nothing is
// verified. body is the number of bytes before the checksum.
func parseEntry(b []byte) (e Entry, body int, err error) {
	keyLen, n := binary.Uvarint(b)
	if n <= 0 || keyLen == 0 || keyLen > MaxKeyLen {
		return Entry{}, 0, fmt.Errorf("checkpoint record: %w: key length %d", ErrLength, keyLen)
	}
	head, m := binary.Uvarint(b[n:])
	if m <= 0 || head>>1 > MaxValueLen {
		return Entry{}, 0, fmt.Errorf("checkpoint record: %w: value length %d", ErrLength, head>>1)
	}
	n += m
	e.SeqDelta, m = binary.Varint(b[n:])
	if m <= 0 {
		return Entry{}, 0, fmt.Errorf("checkpoint record: %w: sequence", ErrLength)
	}
	n += m
	valueLen := int(head >> 1)
	expires := head&FlagExpiry != 0
	body = n + int(keyLen) + valueLen
	if expires {
		body += expiryLen
	}
	if body+entrySumLen > len(b) {
		return Entry{}, 0, fmt.Errorf("checkpoint record: %w: %d bytes of %d left", ErrLength, body+entrySumLen, len(b))
	}
	if expires {
		e.Expiry = int64(binary.LittleEndian.Uint64(b[n:]))
		n += expiryLen
		if e.Expiry <= 0 {
			return Entry{}, 0, fmt.Errorf("checkpoint record: %w: deadline %d", ErrField, e.Expiry)
		}
	}
	keyEnd := n + int(keyLen)
	e.Key = b[n:keyEnd:keyEnd]
	e.Value = b[keyEnd:body:body]
	return e, body, nil
}
