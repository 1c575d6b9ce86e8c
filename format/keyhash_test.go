package format_test

import (
	"math/bits"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

// counting is the message of the vectors: the bytes 0, 1, 2 up to n-1. Their key is the bytes 0 to 15.
func counting(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// TestKeyHash compares it with vectors of SipHash-1-3 that several independent implementations agree on.
func TestKeyHash(t *testing.T) {
	for n, want := range map[int]uint64{
		0: 0xabac0158050fc4dc, 1: 0xc9f49bf37d57ca93, 2: 0x82cb9b024dc7d44d, 3: 0x8bf80ab8e7ddf7fb, 7: 0xd3927d989bb11140,
		8: 0x369095118d299a8e, 9: 0x25a48eb36c063de4, 15: 0xd320d86d2a519956, 16: 0xcc4fdd1a7d908b66, 31: 0x2370dd1f8c21d1bc,
		32: 0x81157b6c16a7b60d, 63: 0x9d199062b7bbb3a8,
	} {
		assert.Equal(t, want, format.KeyHash(sampleSeed, counting(n)), "%d bytes", n)
	}
	var zero format.KeySeed
	assert.Equal(t, uint64(0xd1fba762150c532c), format.KeyHash(zero, nil))
	assert.Equal(t, uint64(0x8264ceeccb16bcbe), format.KeyHash(zero, []byte("siphash")))
}

// TestKeyHashSeed: one bit of the seed, or of the key, changes about half the bits of the hash.
func TestKeyHashSeed(t *testing.T) {
	r := newRandom(1)
	changed, tries := 0, 0
	for range 500 {
		seed, key := format.KeySeed{K0: r.Uint64(), K1: r.Uint64()}, r.data(1, 40)
		hash := format.KeyHash(seed, key)
		for bit := range 128 {
			other := seed
			if bit < 64 {
				other.K0 ^= 1 << bit
			} else {
				other.K1 ^= 1 << (bit - 64)
			}
			got := format.KeyHash(other, key)
			require.NotEqual(t, hash, got)
			changed += bits.OnesCount64(hash ^ got)
			tries++
		}
		require.NotEqual(t, hash, format.KeyHash(seed, decodeFlipped(key, r.IntN(8*len(key)))))
		require.NotEqual(t, hash, format.KeyHash(seed, append(key, 0)), "a zero more is another key")
	}
	assert.InDelta(t, 32, float64(changed)/float64(tries), 0.25)
}

func TestBucketOf(t *testing.T) {
	for _, c := range []struct{ hash, n, want uint64 }{
		{0, 1, 0}, {1<<64 - 1, 1, 0}, {0, 7, 0}, {1<<64 - 1, 7, 6}, {1 << 63, 2, 1}, {1<<63 - 1, 2, 0}, {1 << 63, 10, 5},
		{1<<64 - 1, 1<<34 + 1, 1 << 34},
	} {
		assert.Equal(t, c.want, format.BucketOf(c.hash, c.n), "%+v", c)
	}
	r := newRandom(1)
	for range 1000 {
		a, b, n := r.u64(), r.u64(), r.between(1, 1<<34)
		require.Less(t, format.BucketOf(a, n), n)
		require.LessOrEqual(t, format.BucketOf(min(a, b), n), format.BucketOf(max(a, b), n), "in the order of the hashes")
	}
}

func TestSlot(t *testing.T) {
	r := newRandom(1)
	for range 1000 {
		hash, offset := r.u64(), r.between(format.BlockSize, format.MaxCheckpointLen-1)
		s := format.NewSlot(hash, offset)
		require.NotZero(t, s, "0 is a free slot")
		require.Equal(t, offset, s.Offset())
	}
}

// TestCandidates: they are the slots with the tag of the hash, its low 24 bits, wherever they lie.
func TestCandidates(t *testing.T) {
	r := newRandom(1)
	for range 1000 {
		hash := r.u64()
		var bucket format.Bucket
		want := uint(0)
		for i := range bucket {
			other := r.u64()
			switch r.IntN(3) {
			case 0:
				other = hash ^ 1<<(24+r.IntN(40)) // the same tag
			case 1:
				other = hash ^ 1<<r.IntN(24) // another by one bit
			}
			bucket[i] = format.NewSlot(other, r.between(format.BlockSize, format.MaxCheckpointLen-1))
			if other<<40 == hash<<40 {
				want |= 1 << i
			}
		}
		b := make([]byte, format.BucketLen)
		bucket.Encode(b, testSalt, testOffset)
		require.Equal(t, want, format.Candidates(b, hash))
	}
}
