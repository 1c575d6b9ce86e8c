package fuzz_test

import (
	"encoding/binary"
	"errors"
	"runtime/metrics"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

// Where the structures that are decoded by themselves lie.
const (
	salt   = 0x5a17ed0f5eed
	offset = 3 * format.BlockSize
)

// allocated is the number of bytes that f allocates, roughly: the runtime counts small objects a page at a time, and those of
// other goroutines as well.
func allocated(f func()) uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	before := sample[0].Value.Uint64()
	f()
	metrics.Read(sample)
	return sample[0].Value.Uint64() - before
}

// bounded runs f and holds that it allocates no more than some multiple of the n bytes of its input, and what it may
// take for nothing.
func bounded(t *testing.T, n int, f func()) {
	t.Helper()
	const times, free = 64, 1 << 20
	require.LessOrEqual(t, allocated(f), uint64(times*n+free), "bytes allocated for an input of %d", n)
}

// requireOneKind holds that err is one of the errors of package format, and one only.
func requireOneKind(t *testing.T, err error) {
	t.Helper()
	n := 0
	for _, kind := range []error{format.ErrMagic, format.ErrVersion, format.ErrChecksum, format.ErrLength, format.ErrField} {
		if errors.Is(err, kind) {
			n++
		}
	}
	if n != 1 {
		t.Fatalf("%v is %d kinds of error", err, n)
	}
}

// resum makes the checksum at the end of b right, which lies at this offset of the file with this salt.
func resum(b []byte, salt, offset uint64) {
	n := len(b) - format.SumLen
	binary.LittleEndian.PutUint64(b[n:], format.Sum(b[:n], salt, offset))
}

// tape is a script that is read from its start. Beyond its end are zeros.
type tape struct{ rest []byte }

func (s *tape) done() bool { return len(s.rest) == 0 }

func (s *tape) byte() byte {
	if s.done() {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return b
}

func (s *tape) uint16() int { return int(s.byte()) | int(s.byte())<<8 }

// bytes reads n bytes, and fills up with a pattern what the script lacks.
func (s *tape) bytes(n int) []byte {
	b := make([]byte, n)
	got := copy(b, s.rest)
	s.rest = s.rest[got:]
	for i := got; i < n; i++ {
		b[i] = byte(i)
	}
	return b
}

// operation is what a script has written.
type operation struct {
	kind       format.Kind
	key, value string
	expiry     int64
}

// Parts of the first byte of an operation in a script.
const (
	asDelete  = 1 << iota // a delete
	asExpiry              // a set with a deadline
	asLong                // a longer value
	asPattern             // a value that is not in the script
	asStored              // a value that was stored: bytes of the file so far
	asLast                // the last of its group
)

// operation reads the next operation. stored has the bytes of a file, as far as it is written.
func (s *tape) operation(stored []byte) (op operation, last bool) {
	how := s.byte()
	op = operation{kind: format.KindSet, key: string(s.bytes(1 + int(s.byte()%8)))}
	n := int(s.byte())
	if how&asLong != 0 {
		n *= 16
	}
	switch {
	case how&asDelete != 0:
		op.kind = format.KindDelete
		return op, how&asLast != 0
	case how&asStored != 0 && len(stored) > 0:
		at := s.uint16() % len(stored)
		op.value = string(stored[at:min(at+n, len(stored))])
	case how&asPattern != 0:
		op.value = string((&tape{}).bytes(n))
	default:
		op.value = string(s.bytes(n))
	}
	if how&asExpiry != 0 {
		op.expiry = 1 + int64(s.byte())
	}
	return op, how&asLast != 0
}

// What damage does: a byte that says what, 16 bits that say where, and 16 more.
const (
	turnBits   = iota // to the byte there
	endThere          // the bytes from there on are zeros, or gone
	copySector        // to there from another sector
	zeroSector        // there
	damageKinds
)

const sector = 512

// damage is what happened to a file.
type damage struct {
	file   []byte
	length int // to which it was cut
}

// inflict damages a copy of file as the script says.
func inflict(script, file []byte) damage {
	d := damage{append([]byte(nil), file...), len(file)}
	for s := (&tape{script}); !s.done() && len(file) > 0; {
		what, at, more := s.byte(), s.uint16()%len(file), s.uint16()
		from := at &^ (sector - 1)
		to := min(from+sector, len(file))
		switch what % damageKinds {
		case turnBits:
			d.file[at] ^= byte(more)
		case endThere:
			clear(d.file[at:])
			d.length = min(d.length, at)
		case copySector:
			source := more % len(file) &^ (sector - 1)
			copy(d.file[from:to], d.file[source:])
		case zeroSector:
			clear(d.file[from:to])
		}
	}
	return d
}

// at is a piece of damage for a seed.
func at(what byte, where, more int) []byte {
	return []byte{what, byte(where), byte(where >> 8), byte(more), byte(more >> 8)}
}

// written is a set with a short value in a script.
func written(how byte, key, value string) []byte {
	return append(append([]byte{how, byte(len(key) - 1)}, key...), append([]byte{byte(len(value))}, value...)...)
}

// join concatenates parts of a script.
func join(parts ...[]byte) []byte {
	out := []byte{}
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}
