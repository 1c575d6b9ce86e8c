package format

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// SumLen is the size of a full checksum, in bytes.
const SumLen = 8

// Mix turns a salt and a place into 64 bits that look independent of both. It is
// the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast Splittable
// Pseudorandom Number Generators", OOPSLA 2014).
func Mix(salt, place uint64) uint64 {
	x := salt + place*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Sum is the local checksum of data that lies at offset in the file with this salt:
// its xxHash64, masked with Mix(salt, offset). Bytes that are intact but belong to
// another file, to the file's former life or to another offset do not pass it.
//
// The mask is applied after the hash and not as its seed, so that one pass
// over a record gives both its local checksum and its part of the chain.
func Sum(data []byte, salt, offset uint64) uint64 {
	return xxhash.Sum64(data) ^ Mix(salt, offset)
}

// hashOf is the xxHash64 of a and b, one after the other.
func hashOf(a, b []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(a) // never fails
	_, _ = d.Write(b)
	return d.Sum64()
}

// putSum stores the checksum of b[:len(b)-SumLen] in the last bytes of b.
func putSum(b []byte, salt, offset uint64) {
	body := len(b) - SumLen
	binary.LittleEndian.PutUint64(b[body:], Sum(b[:body], salt, offset))
}

// checkSum verifies what putSum stored.
func checkSum(b []byte, salt, offset uint64) error {
	body := len(b) - SumLen
	want := binary.LittleEndian.Uint64(b[body:])
	if got := Sum(b[:body], salt, offset); got != want {
		return fmt.Errorf("%w: stored %016x, computed %016x", ErrChecksum, want, got)
	}
	return nil
}

// errReserved is ErrField for bytes that this version leaves to later ones.
var errReserved = fmt.Errorf("%w: reserved bytes are not zero", ErrField)

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// prologueLen is the size of what every file begins with, in bytes: magic, version and 4 bytes
// that are a log's alignment and zero elsewhere.
const prologueLen = 16

// checkPrologue verifies the magic and the version at the start of b, which in this version has size bytes and a checksum with this
// salt and offset. It asks for no more bytes than the first: a newer version may have another size, and is still to be named as such.
func checkPrologue(b []byte, magic string, size int, salt, offset uint64) error {
	if len(b) < prologueLen {
		return fmt.Errorf("%w: %d bytes", ErrLength, len(b))
	}
	if string(b[:8]) != magic {
		return fmt.Errorf("%w: want %q, found %q", ErrMagic, magic, b[:8])
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != Version {
		if len(b) >= size && sumsAsVersion(b[:size], salt, offset) {
			return fmt.Errorf("%w: it says format version %d, and its checksum is right for %d", ErrChecksum, v, Version)
		}
		return fmt.Errorf("%w: %d, this release reads %d; open it with the release that wrote it or a newer one", ErrVersion, v, Version)
	}
	return nil
}

// sumsAsVersion reports whether the checksum of a structure that names another version would be right if it named this one:
// then nobody has written it so.
func sumsAsVersion(b []byte, salt, offset uint64) bool {
	b = bytes.Clone(b)
	binary.LittleEndian.PutUint32(b[8:], Version)
	return checkSum(b, salt, offset) == nil
}

// putPrologue writes what checkPrologue verifies.
func putPrologue(b []byte, magic string) {
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], Version)
}
