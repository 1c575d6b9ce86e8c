package format_test

import (
	"encoding/binary"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

// TestMix compares it with SplitMix64, of which Mix(seed, n) is the nth output. The
// numbers are those that other implementations publish.
func TestMix(t *testing.T) {
	assert.Equal(t, uint64(0xe220a8397b1dcdaf), format.Mix(0, 1))
	for i, want := range []uint64{
		6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
	} {
		assert.Equal(t, want, format.Mix(1234567, uint64(i+1)))
	}
	assert.Zero(t, format.Mix(0, 0), "files are named by a plain xxHash64")
}

// TestXXHash64 holds the hash itself to a known value.
func TestXXHash64(t *testing.T) {
	assert.Equal(t, uint64(0xef46db3751d8e999), format.Sum(nil, 0, 0))
	assert.Equal(t, uint64(0x44bc2cf5ad770999), format.Sum([]byte("abc"), 0, 0))
}

// TestSumKnowsItsPlace: bytes that are right in one place are wrong in every other.
func TestSumKnowsItsPlace(t *testing.T) {
	r := newRandom(1)
	for range 20_000 {
		data, salt, offset := r.data(0, 64), r.u64(), r.u64()
		sum := format.Sum(data, salt, offset)
		require.Equal(t, local(data, salt, offset), sum)
		if other := r.u64(); other != offset {
			require.NotEqual(t, sum, format.Sum(data, salt, other))
		}
		if other := r.u64(); other != salt {
			require.NotEqual(t, sum, format.Sum(data, other, offset))
			require.NotEqual(t, sum, format.Sum(data, other, offset+salt-other), "salt and offset do not make up for each other")
		}
		require.NotEqual(t, sum, format.Sum(data, salt, offset+1+r.Uint64N(1<<40)))
		require.NotEqual(t, sum, format.Sum(data, salt+1+r.Uint64N(1<<62), offset))
	}
}

// TestPlaces moves whole structures to another offset, and to another file.
func TestPlaces(t *testing.T) {
	r := newRandom(2)
	moved := map[string]func(b []byte, salt, offset uint64) error{
		"record": func(b []byte, salt, offset uint64) error {
			_, _, err := format.DecodeRecord(b, salt, offset)
			return err
		},
		"checkpoint record": func(b []byte, salt, offset uint64) error {
			_, _, err := format.DecodeEntry(b, salt, offset)
			return err
		},
		"bucket": func(b []byte, salt, offset uint64) error { _, err := format.DecodeBucket(b, salt, offset); return err },
		"word block": func(b []byte, salt, offset uint64) error {
			_, err := format.DecodeWordBlock(b, salt, offset)
			return err
		},
		"frame header": func(b []byte, salt, offset uint64) error {
			_, err := format.DecodeFrameHeader(b, salt, offset)
			return err
		},
		"block 1": func(b []byte, salt, _ uint64) error { _, err := format.DecodePredecessor(b, salt); return err },
	}
	found := 0
	for range 200 {
		for _, s := range structures(r) {
			decode, ok := moved[s.name]
			if !ok {
				continue
			}
			found++
			require.NoError(t, decode(s.bytes, testSalt, testOffset))
			for range 5 {
				by := 1 + r.Uint64N(1<<50)
				require.ErrorIs(t, decode(s.bytes, testSalt+by, testOffset), format.ErrChecksum, s.name)
				if s.name != "block 1" { // it lies nowhere else
					require.ErrorIs(t, decode(s.bytes, testSalt, testOffset+8*by), format.ErrChecksum, s.name)
				}
			}
		}
	}
	require.Equal(t, 200*len(moved), found)
}

func TestStart(t *testing.T) {
	id := format.UUID([]byte("a small database"))
	p := format.Start(id, 42)
	assert.Equal(t, format.Position{Epoch: 1, Time: 42, Chain: xxhash.Sum64(id[:])}, p)
	assert.Equal(t, "6120736d616c6c206461746162617365", id.String())
	assert.Equal(t, "1.0 (chain "+hexadec(binary.LittleEndian.AppendUint64(nil, p.Chain))+")", p.String())
}

// TestChain computes it by its definition, and shows what it tells apart.
func TestChain(t *testing.T) {
	definition := func(parts ...uint64) uint64 {
		var b []byte
		for _, p := range parts {
			b = binary.LittleEndian.AppendUint64(b, p)
		}
		return xxhash.Sum64(b)
	}
	chain := func(buf []byte, previous, epoch, first uint64, time int64, hashes ...uint64) uint64 {
		c := format.NewChain(buf, previous, epoch, first, time)
		for _, h := range hashes {
			c.Add(h)
		}
		return c.Sum()
	}
	seen := map[uint64]bool{}
	for _, parts := range [][]uint64{
		{1, 2, 3, 4}, {1, 2, 3, 4, 5, 6}, {1, 2, 3, 4, 6, 5}, {1, 2, 3, 4, 5}, {9, 2, 3, 4, 5, 6}, {1, 9, 3, 4, 5, 6}, {1, 2, 9, 4, 5, 6},
		{1, 2, 3, 9, 5, 6}, {1, 2, 3, 1<<64 - 1, 5, 6},
	} {
		got := chain([]byte("left over from before"), parts[0], parts[1], parts[2], int64(parts[3]), parts[4:]...)
		assert.Equal(t, definition(parts...), got)
		assert.False(t, seen[got], "%v", parts)
		seen[got] = true
	}

	c := format.NewChain(nil, 1, 2, 3, 4)
	c.Add(5)
	scratch := c.Scratch()
	assert.Zero(t, testing.AllocsPerRun(10, func() {
		again := format.NewChain(scratch, 1, 2, 3, 4)
		again.Add(5)
		scratch = again.Scratch()
	}), "the space of one chain serves the next")
}
