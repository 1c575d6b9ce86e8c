package format_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

var sentinels = []error{format.ErrMagic, format.ErrVersion, format.ErrChecksum, format.ErrLength, format.ErrField}

// magicLen is the length of the magic that a structure begins with.
func magicLen(s structure) int {
	if s.fields[0].name == "magic" {
		return s.fields[0].size
	}
	return 0
}

func hasVersion(s structure) bool { return s.fields[1].name == "version" }

// decodeChanged decodes a changed copy.
func decodeChanged(s structure, change func(b []byte) []byte) error {
	_, err := s.decode(change(slices.Clone(s.bytes)))
	return err
}

// reseal makes the checksum of b right again, which lies at the end as those of the fixed structures do: what is wrong
// is then found by a check other than that.
func reseal(s structure, b []byte) []byte {
	last := s.fields[len(s.fields)-1]
	mask := xxhash.Sum64(s.bytes[:last.at]) ^ last.want.(uint64)
	binary.LittleEndian.PutUint64(b[last.at:], xxhash.Sum64(b[:last.at])^mask)
	return b
}

// TestFlippedBits flips every bit of every structure.
func TestFlippedBits(t *testing.T) {
	for _, s := range structures(newRandom(1)) {
		for bit := range 8 * len(s.bytes) {
			at := bit / 8
			got, err := s.decode(decodeFlipped(s.bytes, bit))
			require.Error(t, err, "%s: bit %d", s.name, bit)
			require.Zero(t, got, "%s: no value comes with an error", s.name)
			want := []error{format.ErrChecksum}
			switch {
			case at < magicLen(s):
				want = []error{format.ErrMagic}
			case s.mayChange[at]:
				want = []error{format.ErrChecksum, format.ErrLength, format.ErrField}
			}
			require.True(t, slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) }), "%s: bit %d: %v", s.name, bit, err)
			require.Equal(t, 1, count(err), "%s: %v is one kind of error", s.name, err)
		}
	}
}

func decodeFlipped(b []byte, bit int) []byte {
	b = slices.Clone(b)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}

// count is how many of the sentinels err is.
func count(err error) (n int) {
	for _, s := range sentinels {
		if errors.Is(err, s) {
			n++
		}
	}
	return n
}

func TestTruncated(t *testing.T) {
	for seed := range uint64(4) {
		for _, s := range structures(newRandom(seed)) {
			for n := range s.bytes {
				got, err := s.decode(s.bytes[:n:n])
				require.ErrorIs(t, err, format.ErrLength, "%s cut to %d bytes", s.name, n)
				require.Zero(t, got)
			}
		}
	}
	trailer := new(format.Trailer).Append(nil)
	segment := (&format.Segment{Kind: format.SegmentRecords, Offset: 4096}).Append(nil)
	epochs := format.EpochStart{Epoch: 1}.Append(format.EpochStart{Epoch: 1}.Append(nil))
	for n := range segment {
		_, err := format.DecodeSegment(segment[:n], 1<<20)
		require.ErrorIs(t, err, format.ErrLength)
	}
	for n := range trailer {
		_, err := format.DecodeTrailer(trailer[:n])
		require.ErrorIs(t, err, format.ErrLength)
	}
	for n := range epochs {
		if _, err := format.DecodeEpochs(epochs[:n]); n%16 != 0 {
			require.ErrorIs(t, err, format.ErrLength)
		} else {
			require.NoError(t, err)
		}
	}
	_, err := format.DecodeTrailer(append(trailer, 0))
	require.ErrorIs(t, err, format.ErrLength)
	_, err = format.DecodeVersionFile(append(drawn("version file").bytes, 0))
	require.ErrorIs(t, err, format.ErrLength, "a version file has no more bytes either")
}

// TestOrderOfChecks breaks several things at once: the first in the order of the checks is reported.
func TestOrderOfChecks(t *testing.T) {
	magic := func(b []byte) []byte { b[0] ^= 1; return b }
	version := func(b []byte) []byte { b[8] ^= 2; return b }
	checksum := func(b []byte) []byte { b[len(b)-1] ^= 1; return b }
	for _, s := range structures(newRandom(2)) {
		if magicLen(s) == 0 {
			continue
		}
		field := reservedByte(s)
		seal := func(b []byte) []byte { return reseal(s, b) }
		rows := []struct {
			what    string
			changes []func([]byte) []byte
			want    error
		}{
			{"field, checksum right", []func([]byte) []byte{field, seal}, format.ErrField},
			{"field and checksum", []func([]byte) []byte{field, checksum}, format.ErrChecksum},
			{"magic, checksum right", []func([]byte) []byte{magic, seal}, format.ErrMagic},
			{"everything", []func([]byte) []byte{field, version, magic, checksum}, format.ErrMagic},
		}
		if hasVersion(s) {
			rows = append(rows, []struct {
				what    string
				changes []func([]byte) []byte
				want    error
			}{
				{"version, checksum right", []func([]byte) []byte{version, seal}, format.ErrVersion},
				{"field and version, checksum right", []func([]byte) []byte{field, version, seal}, format.ErrVersion},
				{"field, version and checksum", []func([]byte) []byte{field, version, checksum}, format.ErrVersion},
				{"magic and version, checksum right", []func([]byte) []byte{magic, version, seal}, format.ErrMagic},
				{"version 0", []func([]byte) []byte{func(b []byte) []byte { b[8] = 0; return b }, seal}, format.ErrVersion},
				{"version in a shorter file", []func([]byte) []byte{version, func(b []byte) []byte { return b[:16] }}, format.ErrVersion},
				{"version damaged", []func([]byte) []byte{version}, format.ErrChecksum},
				{"version in a longer file", []func([]byte) []byte{version, seal, func(b []byte) []byte { return append(b, 0) }}, format.ErrVersion},
				{"magic in a shorter file", []func([]byte) []byte{magic, func(b []byte) []byte { return b[:16] }}, format.ErrMagic},
			}...)
		}
		for _, row := range rows {
			t.Run(s.name+"/"+row.what, func(t *testing.T) {
				err := decodeChanged(s, func(b []byte) []byte {
					for _, change := range row.changes {
						b = change(b)
					}
					return b
				})
				assert.ErrorIs(t, err, row.want)
				assert.Equal(t, 1, count(err), "%v is one kind of error", err)
			})
		}
	}
}

// reservedByte returns a change of the last reserved byte.
func reservedByte(s structure) func([]byte) []byte {
	i := slices.IndexFunc(s.fields, func(f field) bool { return f.name == "reserved" && f.at > 0 })
	f := s.fields[i]
	return func(b []byte) []byte { b[f.at+f.size-1] ^= 0x80; return b }
}

// TestReserved shows that every reserved byte of every structure is looked at.
func TestReserved(t *testing.T) {
	for _, s := range structures(newRandom(3)) {
		for _, f := range s.fields {
			if f.name != "reserved" {
				continue
			}
			for at := f.at; at < f.at+f.size; at++ {
				err := decodeChanged(s, func(b []byte) []byte { b[at] = 1; return reseal(s, b) })
				require.ErrorIs(t, err, format.ErrField, "%s: byte %d", s.name, at)
			}
		}
	}
}
