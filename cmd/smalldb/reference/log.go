package reference

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/tongpengdl/small-db/format"
)

const (
	opSet    = 1
	opDelete = 2

	payloadHeaderLen = 9 // op, key length, value length
	lengthLen        = 4 // of a record, before its payload
	crcLen           = 4 // of a record, after its payload
	recordHeaderLen  = lengthLen + payloadHeaderLen
)

// operation is a record of the log. Key and value are valid until the next call.
type operation struct {
	op         byte
	key, value []byte
}

// errEnd is the end of a log that ends with a whole record.
var errEnd = errors.New("end of the log")

// badRecord is the end of a log that does not.
type badRecord struct {
	damage bool   // it is no torn write, for a reason that proof gives
	proof  string // "" without damage
	err    error  // what is wrong with the record
}

func (b *badRecord) Error() string {
	if !b.damage {
		return fmt.Sprintf("torn record: %v", b.err)
	}
	return fmt.Sprintf("damaged record: %v (%s)", b.err, b.proof)
}

func (b *badRecord) Unwrap() error { return b.err }

// logReader reads the records of a log in order.
type logReader struct {
	window
	offset int64 // of the next record, in bytes
}

// next reads the next record. The error is errEnd, a *badRecord, or what the source returned.
func (r *logReader) next() (operation, error) {
	if r.offset == r.size {
		return operation{}, errEnd
	}
	op, length, err := r.record(r.offset)
	if err == nil {
		r.offset += length
		return op, nil
	}
	if !isBad(err) {
		return operation{}, err
	}
	if errors.Is(err, format.ErrField) {
		return operation{}, &badRecord{true, "its checksum is intact", err}
	}
	at, found, scanErr := r.findAfter(r.offset)
	if scanErr != nil {
		return operation{}, scanErr
	}
	if found {
		return operation{}, &badRecord{true, fmt.Sprintf("a valid record follows at offset %d", at), err}
	}
	return operation{}, &badRecord{err: err}
}

// isBad reports whether err is about the bytes, and not of the source.
func isBad(err error) bool {
	return errors.Is(err, format.ErrLength) || errors.Is(err, format.ErrChecksum) || errors.Is(err, format.ErrField)
}

// record reads and verifies the record at off, and returns its length as well. The error is format.ErrField if the checksum
// is right and the content is not: a write that was cut short leaves no such thing.
func (r *logReader) record(off int64) (op operation, length int64, err error) {
	left := r.size - off
	if left < lengthLen {
		return op, 0, fmt.Errorf("%w: %d bytes left", format.ErrLength, left)
	}
	b, err := r.bytes(off, lengthLen)
	if err != nil {
		return op, 0, err
	}
	n := int64(binary.LittleEndian.Uint32(b))
	// Zeros, which some file systems leave at the end of a file after a crash, would pass as empty payloads: CRC-32 of nothing is 0.
	if n < payloadHeaderLen || n > left-lengthLen-crcLen {
		return op, 0, fmt.Errorf("%w: payload of %d bytes, %d bytes left", format.ErrLength, n, left)
	}
	b, err = r.bytes(off+lengthLen, n+crcLen)
	if err != nil {
		return op, 0, err
	}
	want := binary.LittleEndian.Uint32(b[n:])
	if got := crc32.ChecksumIEEE(b[:n]); got != want {
		return op, 0, fmt.Errorf("%w: stored %08x, computed %08x", format.ErrChecksum, want, got)
	}
	op, err = decodePayload(b[:n:n])
	return op, lengthLen + n + crcLen, err
}

// decodePayload decodes the payload of a record, which has at least payloadHeaderLen bytes. It allocates nothing unless it fails.
func decodePayload(b []byte) (operation, error) {
	keyLen, valueLen := binary.LittleEndian.Uint32(b[1:]), binary.LittleEndian.Uint32(b[5:])
	// As 64-bit numbers: two of 32 bits may wrap around to the right sum.
	if payloadHeaderLen+uint64(keyLen)+uint64(valueLen) != uint64(len(b)) {
		return operation{}, fmt.Errorf("%w: key of %d and value of %d bytes in a payload of %d", format.ErrField, keyLen, valueLen, len(b))
	}
	op := operation{b[0], b[payloadHeaderLen:][:keyLen], b[payloadHeaderLen+keyLen:]}
	if op.op != opSet && (op.op != opDelete || valueLen != 0) {
		return operation{}, fmt.Errorf("%w: operation %d with a value of %d bytes", format.ErrField, op.op, valueLen)
	}
	return op, nil
}

// findAfter looks for a valid record after the bad one at off: where the bad one ends if its lengths agree, which
// then are believed, so that what its value holds is no record; and from there on, or else from off on, at every byte.
func (r *logReader) findAfter(off int64) (at int64, found bool, err error) {
	length, ok, err := r.plausible(off)
	if err != nil {
		return 0, false, err
	}
	if !ok {
		length = 1
	}
	for at = off + length; r.size-at >= recordHeaderLen+crcLen; at++ {
		_, ok, err := r.plausible(at)
		if err == nil && ok {
			_, _, err = r.record(at)
		}
		if err != nil && !isBad(err) {
			return 0, false, err
		}
		if err == nil && ok {
			return at, true, nil
		}
	}
	return 0, false, nil
}

// plausible reports whether the lengths of the record at off agree, and then its length, which may lead beyond the end. It verifies nothing.
func (r *logReader) plausible(off int64) (length int64, ok bool, err error) {
	if r.size-off < recordHeaderLen {
		return 0, false, nil
	}
	b, err := r.bytes(off, recordHeaderLen)
	if err != nil {
		return 0, false, err
	}
	n, op := binary.LittleEndian.Uint32(b), b[lengthLen]
	keyLen, valueLen := binary.LittleEndian.Uint32(b[5:]), binary.LittleEndian.Uint32(b[9:])
	ok = payloadHeaderLen+uint64(keyLen)+uint64(valueLen) == uint64(n) && (op == opSet || op == opDelete && valueLen == 0)
	return lengthLen + int64(n) + crcLen, ok, nil
}
