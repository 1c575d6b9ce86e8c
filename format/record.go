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
	r, body, size, err := parseRecord(b)
	if err != nil {
		return Record{}, 0, err
	}
	r.Hash = xxhash.Sum64(b[:body])
	want := binary.LittleEndian.Uint64(b[body:])
	if got := r.Hash ^ Mix(salt, offset); got != want {
		return Record{}, 0, fmt.Errorf("record: %w: stored %016x, computed %016x", ErrChecksum, want, got)
	}
	return r, size, nil
}

// RecordKey returns the key and the kind of the record at the start of b without
// verifying its checksum: to ask whether it is worth to decode the record, never to answer a caller. The key is
// nil if the lengths are out of bounds.
func RecordKey(b []byte) ([]byte, Kind) {
	r, _, _, err := parseRecord(b)
	if err != nil {
		return nil, 0
	}
	return r.Key, r.Kind
}

// parseRecord slices the record at the start of b. Its lengths and fields are within bounds, nothing is
// verified. body is the number of bytes before the checksum.
func parseRecord(b []byte) (r Record, body, size int, err error) {
	if len(b) < MinRecordLen {
		return Record{}, 0, 0, fmt.Errorf("record: %w: %d bytes left", ErrLength, len(b))
	}
	length := binary.LittleEndian.Uint32(b)
	keyLen := int(binary.LittleEndian.Uint16(b[4:]))
	flags := b[7]
	head := recordHeaderLen
	if flags&FlagExpiry != 0 {
		head += expiryLen
	}
	if uint64(length) > uint64(len(b)) || length > MaxRecordLen || int(length) < head+keyLen+SumLen {
		return Record{}, 0, 0, fmt.Errorf("record: %w: length %d, key length %d, %d bytes left", ErrLength, length, keyLen, len(b))
	}
	body = int(length) - SumLen
	size = int(Align(int64(length), RecordAlign))
	r = Record{
		Kind:  Kind(b[6]),
		Seq:   binary.LittleEndian.Uint64(b[8:]),
		Key:   b[head : head+keyLen : head+keyLen],
		Value: b[head+keyLen : body : body],
	}
	if flags&FlagExpiry != 0 {
		r.Expiry = int64(binary.LittleEndian.Uint64(b[recordHeaderLen:]))
	}
	if err := r.validate(flags); err != nil {
		return Record{}, 0, 0, err
	}
	if size > len(b) {
		return Record{}, 0, 0, fmt.Errorf("record: %w: padding cut off", ErrLength)
	}
	return r, body, size, nil
}

func (r *Record) validate(flags uint8) error {
	switch {
	case r.Kind != KindSet && r.Kind != KindDelete:
		return fmt.Errorf("record: %w: %v", ErrField, r.Kind)
	case flags&^knownFlags != 0:
		return fmt.Errorf("record: %w: flags %#x", ErrField, flags)
	case len(r.Key) == 0:
		return fmt.Errorf("record: %w: empty key", ErrField)
	case len(r.Value) > MaxValueLen:
		return fmt.Errorf("record: %w: value of %d bytes", ErrLength, len(r.Value))
	case r.Kind == KindDelete && (len(r.Value) != 0 || flags != 0):
		return fmt.Errorf("record: %w: delete with a value or a deadline", ErrField)
	case flags&FlagExpiry != 0 && r.Expiry <= 0:
		return fmt.Errorf("record: %w: deadline %d", ErrField, r.Expiry)
	}
	return nil
}
