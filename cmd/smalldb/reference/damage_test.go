package reference_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/cmd/smalldb/reference"
	"github.com/tongpengdl/small-db/format"
)

// flip returns b with the bits of mask turned over at offset, from the end if that is negative.
func flip(b []byte, offset int, mask byte) []byte {
	b = slices.Clone(b)
	if offset < 0 {
		offset += len(b)
	}
	b[offset] ^= mask
	return b
}

func TestEndsOfLogs(t *testing.T) {
	good := join(set("a", "1"), set("b", "2"))
	inside := join(set("hidden", "1"), set("hidden", "2"))
	holder := set("c", string(inside)) // a record whose value holds records
	two := []pair{{"a", "1"}, {"b", "2"}}
	for _, row := range []struct {
		name   string
		tail   []byte // after two good records
		damage bool
		why    error
	}{
		{"one byte", []byte{9}, false, format.ErrLength},
		{"a length and no payload", u32(20), false, format.ErrLength},
		{"no checksum", set("c", "3")[:16], false, format.ErrLength},
		{"half a value", set("c", "a long value")[:20], false, format.ErrLength},
		{"length 2^32-1", join(u32(1<<32-1), payload(1, 1, 1, "c3")), false, format.ErrLength},
		{"a wrong last value", flip(set("c", "3"), -5, 1), false, format.ErrChecksum},
		{"a wrong last checksum", flip(set("c", "3"), -1, 0x80), false, format.ErrChecksum},
		{"zeros", make([]byte, 5000), false, format.ErrLength},
		{"eight zeros, as an empty payload", make([]byte, 8), false, format.ErrLength},
		{"ones", bytes.Repeat([]byte{0xff}, 5000), false, format.ErrLength},
		{"the first sector of a record, and zeros", join(set("c", strings.Repeat("x", 1000))[:512], make([]byte, 1000)), false, format.ErrChecksum},
		{"cut in a value that holds records", holder[:len(holder)-3], false, format.ErrLength},
		{"a wrong last value that holds records", flip(holder, -1, 1), false, format.ErrChecksum},

		{"a wrong value before a record", join(flip(set("c", "3"), -5, 1), set("d", "4")), true, format.ErrChecksum},
		{"a wrong checksum before a record", join(flip(set("c", "3"), -1, 1), del("d")), true, format.ErrChecksum},
		{"a wrong key length before a record", join(flip(set("c", "3"), 5, 1), set("d", "4")), true, format.ErrChecksum},
		{"a length that leads beyond the end", join(flip(set("c", "3"), 2, 1), set("d", "4")), true, format.ErrLength},
		{"a length that leads into the next record", join(flip(set("c", "3"), 0, 4), set("d", "4")), true, format.ErrChecksum},
		{"a length of 0", join(flip(set("c", "3"), 0, 11), set("d", "4")), true, format.ErrLength},
		{"two bad ones before a record", join(flip(set("c", "3"), -1, 1), flip(set("c", "3"), -1, 1), set("d", "4")), true, format.ErrChecksum},
		{"zeros before a record", join(make([]byte, 100), set("d", "4")), true, format.ErrLength},
		{"a wrong value that holds records, before one", join(flip(holder, -1, 1), set("d", "4")), true, format.ErrChecksum},
		{"a lost start of a record far away", join(make([]byte, 600<<10), set("d", "4")), true, format.ErrLength},

		{"lengths whose sum wraps around", framed(payload(1, 1<<32-1, 3, "c3")), true, format.ErrField},
		{"lengths whose sum wraps around to 0", framed(payload(1, 1<<31, 1<<31, "")), true, format.ErrField},
		{"key length 2^32-1", framed(payload(1, 1<<32-1, 0, "c3")), true, format.ErrField},
		{"value length 2^32-1", framed(payload(1, 1, 1<<32-1, "c3")), true, format.ErrField},
		{"a payload that is too long", framed(payload(1, 1, 1, "c3 and more")), true, format.ErrField},
		{"operation 0", framed(payload(0, 1, 1, "c3")), true, format.ErrField},
		{"operation 3", framed(payload(3, 1, 1, "c3")), true, format.ErrField},
		{"a delete with a value", framed(payload(2, 1, 1, "c3")), true, format.ErrField},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := files{"version": []byte("0\n"), "logfile.0": join(good, row.tail)}
			d, err := open(t, f, reference.Options{})
			if row.damage {
				var corrupt *format.CorruptionError
				require.ErrorAs(t, err, &corrupt)
				require.ErrorIs(t, err, row.why)
				assert.Equal(t, "logfile.0", corrupt.File)
				assert.EqualValues(t, len(good), corrupt.Offset)
				d, err = open(t, f, reference.Options{AcceptDamage: true})
			}
			require.NoError(t, err)
			assert.Equal(t, two, state(t, d))
			require.Len(t, d.Dropped(), 1)
			dropped := d.Dropped()[0]
			require.ErrorIs(t, dropped.Err, row.why)
			dropped.Err = nil
			assert.Equal(t, reference.Dropped{File: "logfile.0", Offset: int64(len(good)), Bytes: int64(len(row.tail)), Damage: row.damage}, dropped)
			assert.Contains(t, d.Dropped()[0].String(), "logfile.0: ")
		})
	}
}

// TestCutAtEveryLength: a log that is cut anywhere is its whole records, and that is no damage.
func TestCutAtEveryLength(t *testing.T) {
	records := [][]byte{set("a", "1"), set("b", string(join(set("c", "2"), set("d", "3")))), del("a"), set("e", "")}
	log := join(records...)
	ends := []int{0}
	for _, r := range records {
		ends = append(ends, ends[len(ends)-1]+len(r))
	}
	for n := range len(log) + 1 {
		d, err := open(t, files{"version": []byte("0\n"), "logfile.0": log[:n]}, reference.Options{})
		require.NoError(t, err)
		whole, exact := slices.BinarySearch(ends, n)
		if !exact {
			whole--
		}
		require.EqualValues(t, whole, d.Operations(), "cut at %d", n)
		require.Equal(t, exact, len(d.Dropped()) == 0, "cut at %d", n)
	}
}

// TestEveryByteOfALog: whichever byte changes, no operation is read that was not written, and none is
// left out without a word.
func TestEveryByteOfALog(t *testing.T) {
	records := [][]byte{set("a", "1"), set("b", "22"), del("a"), set("c", "")}
	log := join(records...)
	last := len(log) - len(records[3])
	for at := range log {
		for bit := range 8 {
			d, err := open(t, files{"version": []byte("0\n"), "logfile.0": flip(log, at, 1<<bit)}, reference.Options{})
			if at < last {
				require.ErrorIs(t, err, format.ErrCorrupt, "byte %d bit %d", at, bit)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, []pair{{"b", "22"}}, state(t, d))
			require.Len(t, d.Dropped(), 1)
		}
	}
}

func TestBadCheckpoints(t *testing.T) {
	good := checkpoint(1, 5, 2, entry("a", "1"), entry("b", "2"))
	for _, row := range []struct {
		name   string
		b      []byte
		want   error
		offset int64
	}{
		{"empty", nil, format.ErrLength, 0},
		{"half a header", good[:23], format.ErrLength, 0},
		{"magic", flip(good, 7, 1), format.ErrField, 0},
		{"version 0", checkpoint(0, 5, 0), format.ErrField, 0},
		{"another generation", checkpoint(1, 4, 0), format.ErrField, 0},
		{"another generation, above 32 bits", checkpoint(1, 1<<32|5, 0), format.ErrField, 0},
		{"count 2^32-1", checkpoint(1, 5, 1<<32-1, entry("a", "1")), format.ErrLength, 0},
		{"one entry too few", checkpoint(1, 5, 2, entry("a", "1"), make([]byte, 7)), format.ErrLength, 34},
		{"cut", good[:len(good)-1], format.ErrLength, 34},
		{"one entry too many", checkpoint(1, 5, 1, entry("a", "1"), entry("b", "2")), format.ErrLength, 34},
		{"a byte too many", join(good, []byte{0}), format.ErrLength, 44},
		{"a key twice", checkpoint(1, 5, 2, entry("a", "1"), entry("a", "2")), format.ErrField, 34},
		{"key length 2^32-1", checkpoint(1, 5, 1, u32(1<<32-1), u32(0), make([]byte, 40)), format.ErrLength, 24},
		{"lengths whose sum wraps around", checkpoint(1, 5, 1, u32(1<<32-1), u32(3), []byte("ab")), format.ErrLength, 24},
		{"lengths whose sum wraps around to 0", checkpoint(1, 5, 1, u32(1<<31), u32(1<<31)), format.ErrLength, 24},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, accept := range []bool{false, true} {
				_, err := open(t, files{"version": []byte("5\n"), "checkpoint.5": row.b, "logfile.5": nil}, reference.Options{AcceptDamage: accept})
				var corrupt *format.CorruptionError
				require.ErrorAs(t, err, &corrupt)
				require.ErrorIs(t, err, row.want)
				assert.Equal(t, "checkpoint.5", corrupt.File)
				assert.Equal(t, row.offset, corrupt.Offset)
			}
		})
	}
}

func TestNewerCheckpointIsRefusedByName(t *testing.T) {
	_, err := open(t, files{"version": []byte("5\n"), "checkpoint.5": checkpoint(2, 5, 0, []byte("of whatever layout")), "logfile.5": nil}, reference.Options{})
	require.ErrorIs(t, err, format.ErrVersion)
	require.NotErrorIs(t, err, format.ErrCorrupt)
	require.ErrorContains(t, err, "checkpoint.5: checkpoint format version 2; this release reads 1")
}
