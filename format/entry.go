package format

import (
	"bytes"
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
	MaxEntryLen = maxEntryHead + expiryLen + MaxKeyLen + MaxValueLen + entrySumLen
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
func DecodeEntry(b []byte, salt, offset uint64) (e Entry, size int, err error) {
	p, err := partsOfEntry(b, len(b))
	if err != nil {
		return Entry{}, 0, err
	}
	if err := p.check(b, binary.LittleEndian.Uint32(b[p.body:]), Sum(b[:p.body], salt, offset)); err != nil {
		return Entry{}, 0, err
	}
	return p.entry(b[:p.value:p.value], b[p.value:p.body:p.body]), p.body + entrySumLen, nil
}

// Decode is DecodeEntry in place, which saves the copies on the way to a caller far up. After an error e is as it was.
func (e *Entry) Decode(b []byte, salt, offset uint64) error {
	p, err := partsOfEntry(b, len(b))
	if err != nil {
		return err
	}
	if err := p.check(b, binary.LittleEndian.Uint32(b[p.body:]), Sum(b[:p.body], salt, offset)); err != nil {
		return err
	}
	*e = p.entry(b[:p.value:p.value], b[p.value:p.body:p.body])
	return nil
}

// FetchEntry is FetchRecord for an entry: it copies that at the start of b and verifies the copy, if it is one of key.
func FetchEntry(small, dst, b, key []byte, salt, offset uint64) (e Entry, out []byte, same bool, err error) {
	p, err := partsOfEntry(b, len(b))
	if err != nil {
		return Entry{}, dst, false, err
	}
	if size := p.body + entrySumLen; size <= cap(small) {
		e, _, err = DecodeEntry(append(small[:0], b[:size]...), salt, offset)
		return e, dst, err == nil && bytes.Equal(e.Key, key), err
	}
	head := append(small[:0], b[:p.value]...)
	if q, err := partsOfEntry(head, len(b)); err != nil || q != p { // the lengths that were followed are those of the copy
		return Entry{}, dst, false, fmt.Errorf("checkpoint record: %w: its lengths have changed while it was read", ErrField)
	}
	stored := binary.LittleEndian.Uint32(b[p.body:])
	if !bytes.Equal(head[p.key:], key) { // that it is another key's is said of the copy, too
		return Entry{}, dst, false, p.check(head, stored, hashOf(head, b[p.value:p.body])^Mix(salt, offset))
	}
	out = append(dst, b[p.value:p.body]...)
	value := out[len(dst):len(out):len(out)]
	if err := p.check(head, stored, hashOf(head, value)^Mix(salt, offset)); err != nil {
		return Entry{}, out, false, err
	}
	return p.entry(head, value), out, true, nil
}

// check verifies an entry that begins with head, by the checksum that was stored and that of its bytes.
func (p *entryParts) check(head []byte, stored uint32, sum uint64) error {
	if got := uint32(sum); got != stored {
		return fmt.Errorf("checkpoint record: %w: stored %08x, computed %08x", ErrChecksum, stored, got)
	}
	if p.expires && p.expiry(head) <= 0 {
		return fmt.Errorf("checkpoint record: %w: deadline %d", ErrField, p.expiry(head))
	}
	return nil
}

func (p *entryParts) expiry(head []byte) int64 {
	return int64(binary.LittleEndian.Uint64(head[p.key-expiryLen:]))
}

// entry is the entry with this head, verified, and this value.
func (p *entryParts) entry(head, value []byte) Entry {
	e := Entry{SeqDelta: p.seqDelta, Key: head[p.key:], Value: value}
	if p.expires {
		e.Expiry = p.expiry(head)
	}
	return e
}

// EntryBytes returns the bytes of the entry at the start of b by its lengths alone: to copy the entry and verify the copy. If
// they are out of bounds it returns the first few bytes: they do not decode either, and the error says why.
func EntryBytes(b []byte) []byte {
	p, err := partsOfEntry(b, len(b))
	if err != nil {
		return b[:min(maxEntryHead, len(b))]
	}
	return b[:p.body+entrySumLen]
}

// maxEntryHead is the size of the longest lengths and sequence, in bytes.
const maxEntryHead = 3 * binary.MaxVarintLen64

// entryParts says where in an entry its parts begin, in bytes. A deadline lies just before the key.
type entryParts struct {
	key, value, body int // body: the end of the value, where the checksum begins
	seqDelta         int64
	expires          bool
}

// partsOfEntry finds the parts of the entry at the start of b, where there is room for so many bytes. They lie within those and
// within the limits; nothing is verified.
func partsOfEntry(b []byte, room int) (p entryParts, err error) {
	keyLen, n := uvarint(b)
	if n <= 0 || keyLen == 0 || keyLen > MaxKeyLen {
		return p, fmt.Errorf("checkpoint record: %w: key length %d in %d bytes", ErrLength, keyLen, n)
	}
	head, m := uvarint(b[n:])
	if m <= 0 || head>>1 > MaxValueLen {
		return p, fmt.Errorf("checkpoint record: %w: value length %d in %d bytes", ErrLength, head>>1, m)
	}
	n += m
	delta, m := uvarint(b[n:])
	if m <= 0 {
		return p, fmt.Errorf("checkpoint record: %w: sequence in %d bytes", ErrLength, m)
	}
	p.seqDelta = int64(delta>>1) ^ -int64(delta&1) // zigzag, as binary.AppendVarint
	p.expires = head&FlagExpiry != 0
	p.key = n + m + int(head&FlagExpiry)*expiryLen
	p.value = p.key + int(keyLen)
	p.body = p.value + int(head>>1)
	if p.body+entrySumLen > room {
		return p, fmt.Errorf("checkpoint record: %w: %d bytes, %d left", ErrLength, p.body+entrySumLen, room)
	}
	return p, nil
}

// uvarint is binary.Uvarint for the shortest encoding of a value only: n is not positive
// for any other, so that one entry has one form.
func uvarint(b []byte) (v uint64, n int) {
	switch { // almost all
	case len(b) > 0 && b[0] < 0x80:
		return uint64(b[0]), 1
	case len(b) > 1 && b[1] < 0x80 && b[1] != 0:
		return uint64(b[0]&0x7f) | uint64(b[1])<<7, 2
	}
	for i, c := range b {
		if i == binary.MaxVarintLen64-1 && c > 1 || i > 0 && c == 0 {
			return 0, -(i + 1) // more than 64 bits, or not the shortest
		}
		if c < 0x80 {
			return v | uint64(c)<<(7*i), i + 1
		}
		v |= uint64(c&0x7f) << (7 * i)
	}
	return 0, 0
}
