package format

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// Kind says what an operation does.
type Kind uint8

// The operations.
const (
	KindSet    Kind = 1
	KindDelete Kind = 2
)

// String is the kind's name.
func (k Kind) String() string {
	switch k {
	case KindSet:
		return "set"
	case KindDelete:
		return "delete"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Flags of a record.
const (
	// FlagExpiry: the record holds an absolute deadline.
	FlagExpiry = 1 << 0

	knownFlags = FlagExpiry
)

const (
	recordHeaderLen = 16 // length, key length, kind, flags, seq
	expiryLen       = 8

	// MinRecordLen is the size of the smallest record in a log, in bytes, padding included.
	MinRecordLen = 32
	// MaxRecordLen is the size of the largest record in a log, in bytes, padding included.
	MaxRecordLen = recordHeaderLen + expiryLen + MaxKeyLen + 1 + MaxValueLen + SumLen
	// RecordAlign is the alignment of records within a frame, in bytes: what lets a
	// slot of the delta count offsets in units of it.
	RecordAlign = 8
)

// Record is one operation as a log stores it. Key and Value point into the
// bytes it was decoded from.
type Record struct {
	Kind   Kind
	Seq    uint64
	Expiry int64 // absolute deadline in ns since the Unix epoch; 0 means none
	Key    []byte
	Value  []byte // empty for a delete
	Hash   uint64 // xxHash64 of the record's bytes before its checksum: what the chain covers; set by DecodeRecord
}

// RecordLen is the size of the record of an operation in a log, in bytes, padding included.
func RecordLen(keyLen, valueLen int, expires bool) int {
	n := recordHeaderLen + keyLen + valueLen + SumLen
	if expires {
		n += expiryLen
	}
	return int(Align(int64(n), RecordAlign))
}

// AppendRecord appends the record of r at offset in the log with this
// salt, and returns its content hash for the chain. The caller has checked the lengths.
func AppendRecord(dst []byte, r *Record, salt, offset uint64) (out []byte, hash uint64) {
	start := len(dst)
	length := recordHeaderLen + len(r.Key) + len(r.Value) + SumLen
	var flags uint8
	if r.Expiry != 0 {
		length += expiryLen
		flags |= FlagExpiry
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(length))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(r.Key)))
	dst = append(dst, uint8(r.Kind), flags)
	dst = binary.LittleEndian.AppendUint64(dst, r.Seq)
	if r.Expiry != 0 {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(r.Expiry))
	}
	dst = append(dst, r.Key...)
	dst = append(dst, r.Value...)
	hash = xxhash.Sum64(dst[start:])
	dst = binary.LittleEndian.AppendUint64(dst, hash^Mix(salt, offset))
	for (len(dst)-start)%RecordAlign != 0 {
		dst = append(dst, 0)
	}
	return dst, hash
}

// DecodeRecord reads the record at the start of b, which lies at offset in the log
// with this salt, verifies its checksum, and returns it and its size
// with padding. It allocates nothing, and reads no byte of b past the record.
func DecodeRecord(b []byte, salt, offset uint64) (r Record, size int, err error) {
	p, ok := parseRecord(b)
	if !ok {
		return Record{}, 0, recordLengthError(b)
	}
	hash := xxhash.Sum64(b[:p.body])
	if err := p.check(b, b[p.body:p.size], hash^Mix(salt, offset)); err != nil {
		return Record{}, 0, err
	}
	return p.record(b[:p.value:p.value], b[p.value:p.body:p.body], hash), p.size, nil
}

// Decode is DecodeRecord in place, which saves the copies on the way to a caller far up. After an error r is as it was.
func (r *Record) Decode(b []byte, salt, offset uint64) error {
	p, ok := parseRecord(b)
	if !ok {
		return recordLengthError(b)
	}
	hash := xxhash.Sum64(b[:p.body])
	if err := p.check(b, b[p.body:p.size], hash^Mix(salt, offset)); err != nil {
		return err
	}
	*r = p.record(b[:p.value:p.value], b[p.value:p.body:p.body], hash)
	return nil
}

// FetchRecord copies the record at the start of b and verifies the copy, if it is one of key: as a whole to small, if that has room for
// it, or else the value to the end of dst and the rest to small or to memory of its own. It does not touch dst before it knows that the record is one of key, which may
// lie in there. same is false for another key's record, whose head is copied and verified as well. out is dst, longer if the value lies there.
func FetchRecord(small, dst, b, key []byte, salt, offset uint64) (r Record, out []byte, same bool, err error) {
	p, ok := parseRecord(b)
	if !ok {
		return Record{}, dst, false, recordLengthError(b)
	}
	if p.size <= cap(small) {
		r, _, err = DecodeRecord(append(small[:0], b[:p.size]...), salt, offset)
		return r, dst, err == nil && bytes.Equal(r.Key, key), err
	}
	head := append(small[:0], b[:p.value]...)
	if q, ok := partsOfRecord(head, len(b)); !ok || q != p { // the lengths that were followed are those of the copy
		return Record{}, dst, false, fmt.Errorf("record: %w: its header has changed while it was read", ErrField)
	}
	var tail [SumLen + RecordAlign]byte
	n := copy(tail[:], b[p.body:p.size])
	if !bytes.Equal(head[p.key:], key) { // that it is another key's is said of the copy, too
		return Record{}, dst, false, p.check(head, tail[:n], hashOf(head, b[p.value:p.body])^Mix(salt, offset))
	}
	out = append(dst, b[p.value:p.body]...)
	value := out[len(dst):len(out):len(out)]
	hash := hashOf(head, value)
	if err := p.check(head, tail[:n], hash^Mix(salt, offset)); err != nil {
		return Record{}, out, false, err
	}
	return p.record(head, value, hash), out, true, nil
}

// check verifies a record that begins with head and ends, with its checksum and its padding, with tail; sum is the checksum of its bytes.
func (p *recordParts) check(head, tail []byte, sum uint64) error {
	if stored := binary.LittleEndian.Uint64(tail); sum != stored {
		return fmt.Errorf("record: %w: stored %016x, computed %016x", ErrChecksum, stored, sum)
	}
	kind, flags := Kind(head[6]), head[7]
	switch {
	case kind != KindSet && kind != KindDelete:
		return fmt.Errorf("record: %w: %v", ErrField, kind)
	case flags&^knownFlags != 0:
		return fmt.Errorf("record: %w: flags %#x", ErrField, flags)
	case kind == KindDelete && (p.body > p.value || flags != 0):
		return fmt.Errorf("record: %w: delete with a value or a deadline", ErrField)
	case flags&FlagExpiry != 0 && recordExpiry(head) <= 0:
		return fmt.Errorf("record: %w: deadline %d", ErrField, recordExpiry(head))
	}
	for _, c := range tail[SumLen:] {
		if c != 0 {
			return fmt.Errorf("record: %w: padding is not zero", ErrField)
		}
	}
	return nil
}

// recordExpiry is the deadline in the head of a record that has one.
func recordExpiry(head []byte) int64 {
	return int64(binary.LittleEndian.Uint64(head[recordHeaderLen:]))
}

// record is the record with this head, verified, and this value.
func (p *recordParts) record(head, value []byte, hash uint64) Record {
	r := Record{Kind: Kind(head[6]), Seq: binary.LittleEndian.Uint64(head[8:]), Key: head[p.key:], Value: value, Hash: hash}
	if head[7]&FlagExpiry != 0 {
		r.Expiry = recordExpiry(head)
	}
	return r
}

// RecordKey returns the key and the kind of the record at the start of b without
// verifying anything but lengths: to ask whether it is worth to decode the record, never to
// answer a caller. The key is nil if the lengths are out of bounds.
func RecordKey(b []byte) ([]byte, Kind) {
	p, ok := parseRecord(b)
	if !ok {
		return nil, 0
	}
	return b[p.key:p.value:p.value], Kind(b[6])
}

// RecordBytes returns the bytes of the record at the start of b, padding included, by
// its lengths alone: to copy the record and verify the copy. If they are out of bounds
// it returns the first few bytes: they do not decode either, and the error says why.
func RecordBytes(b []byte) []byte {
	p, ok := parseRecord(b)
	if !ok {
		return b[:min(MinRecordLen, len(b))]
	}
	return b[:p.size]
}

// recordParts says where in a record its parts begin, in bytes. Its checksum ends where its padding begins.
type recordParts struct{ key, value, body, size int } // body: the end of the value; size: the end of the padding

// parseRecord finds the parts of the record at the start of b. They lie within b and
// within the limits; nothing is verified. ok is false if they do not.
func parseRecord(b []byte) (p recordParts, ok bool) {
	if len(b) < MinRecordLen {
		return p, false
	}
	return partsOfRecord(b, len(b))
}

// partsOfRecord is parseRecord of the header at the start of b, where there is room for so many bytes.
func partsOfRecord(b []byte, room int) (p recordParts, ok bool) {
	length := binary.LittleEndian.Uint32(b)
	if length > MaxRecordLen { // before it is converted: an int may have 32 bits
		return p, false
	}
	keyLen := int(binary.LittleEndian.Uint16(b[4:]))
	p.key = recordHeaderLen + int(b[7]&FlagExpiry)*expiryLen
	p.value = p.key + keyLen
	p.body = int(length) - SumLen
	p.size = (int(length) + RecordAlign - 1) &^ (RecordAlign - 1)
	return p, keyLen > 0 && p.value <= p.body && p.body-p.value <= MaxValueLen && p.size <= room
}

// recordLengthError says why parseRecord failed.
func recordLengthError(b []byte) error {
	if len(b) < MinRecordLen {
		return fmt.Errorf("record: %w: %d bytes left", ErrLength, len(b))
	}
	return fmt.Errorf("record: %w: length %d, key length %d, %d bytes left",
		ErrLength, binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), len(b))
}
