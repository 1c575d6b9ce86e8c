package format

import (
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
	want := binary.LittleEndian.Uint64(b[p.body:])
	if got := hash ^ Mix(salt, offset); got != want {
		return Record{}, 0, fmt.Errorf("record: %w: stored %016x, computed %016x", ErrChecksum, want, got)
	}
	r = Record{
		Kind:  Kind(b[6]),
		Seq:   binary.LittleEndian.Uint64(b[8:]),
		Key:   b[p.key:p.value:p.value],
		Value: b[p.value:p.body:p.body],
		Hash:  hash,
	}
	if b[7]&FlagExpiry != 0 {
		r.Expiry = int64(binary.LittleEndian.Uint64(b[recordHeaderLen:]))
	}
	if err := r.validate(b[7]); err != nil {
		return Record{}, 0, err
	}
	// The record's last 8 bytes, less those of the checksum: 0 if there is no padding.
	padding := binary.LittleEndian.Uint64(b[p.size-RecordAlign:]) >> (8 * (p.body + SumLen + RecordAlign - p.size))
	if padding != 0 {
		return Record{}, 0, fmt.Errorf("record: %w: padding is not zero", ErrField)
	}
	return r, p.size, nil
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

// CopyTo copies b to small if it has room for it, and otherwise appends it to buf. It returns the copy, and buf, longer in that case.
func CopyTo(small, buf, b []byte) (copied, out []byte) {
	if len(b) <= cap(small) {
		return append(small[:0], b...), buf
	}
	out = append(buf, b...)
	return out[len(buf):], out
}

// recordParts says where in a record its parts begin, in bytes. Its checksum ends where its padding begins.
type recordParts struct{ key, value, body, size int } // body: the end of the value; size: the end of the padding

// parseRecord finds the parts of the record at the start of b. They lie within b and
// within the limits; nothing is verified. ok is false if they do not.
func parseRecord(b []byte) (p recordParts, ok bool) {
	if len(b) < MinRecordLen {
		return p, false
	}
	length := binary.LittleEndian.Uint32(b)
	if length > MaxRecordLen { // before it is converted: an int may have 32 bits
		return p, false
	}
	keyLen := int(binary.LittleEndian.Uint16(b[4:]))
	p.key = recordHeaderLen + int(b[7]&FlagExpiry)*expiryLen
	p.value = p.key + keyLen
	p.body = int(length) - SumLen
	p.size = (int(length) + RecordAlign - 1) &^ (RecordAlign - 1)
	return p, keyLen > 0 && p.value <= p.body && p.body-p.value <= MaxValueLen && p.size <= len(b)
}

// recordLengthError says why parseRecord failed.
func recordLengthError(b []byte) error {
	if len(b) < MinRecordLen {
		return fmt.Errorf("record: %w: %d bytes left", ErrLength, len(b))
	}
	return fmt.Errorf("record: %w: length %d, key length %d, %d bytes left",
		ErrLength, binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), len(b))
}

func (r *Record) validate(flags uint8) error {
	switch {
	case r.Kind != KindSet && r.Kind != KindDelete:
		return fmt.Errorf("record: %w: %v", ErrField, r.Kind)
	case flags&^knownFlags != 0:
		return fmt.Errorf("record: %w: flags %#x", ErrField, flags)
	case r.Kind == KindDelete && (len(r.Value) != 0 || flags != 0):
		return fmt.Errorf("record: %w: delete with a value or a deadline", ErrField)
	case flags&FlagExpiry != 0 && r.Expiry <= 0:
		return fmt.Errorf("record: %w: deadline %d", ErrField, r.Expiry)
	}
	return nil
}
