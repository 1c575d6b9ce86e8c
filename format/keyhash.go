package format

import (
	"encoding/binary"
	"math/bits"
)

// KeySeed is the secret key of KeyHash. Every checkpoint draws a random one, so that
// nobody can prepare keys that fall into one bucket.
type KeySeed struct{ K0, K1 uint64 }

// KeyHash is SipHash-1-3 of key under seed (Aumasson and Bernstein, "SipHash: a
// fast short-input PRF", 2012, with one compression and three finalization
// rounds). The hash index of a checkpoint is built on it: unlike xxHash64, it has
// no collisions that are known whatever the seed.
func KeyHash(seed KeySeed, key []byte) uint64 {
	v0, v1 := seed.K0^0x736f6d6570736575, seed.K1^0x646f72616e646f6d
	v2, v3 := seed.K0^0x6c7967656e657261, seed.K1^0x7465646279746573
	last := uint64(len(key)) << 56
	for ; len(key) >= 8; key = key[8:] {
		word := binary.LittleEndian.Uint64(key)
		v3 ^= word
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= word
	}
	for i, c := range key {
		last |= uint64(c) << (8 * i)
	}
	v3 ^= last
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0 ^= last
	v2 ^= 0xff
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	return v0 ^ v1 ^ v2 ^ v3
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
