package ckpt

import "github.com/tongpengdl/small-db/format"

// words is an array of n words in word blocks, the first of them at offset at. It is
// read in place, and every block that is touched is verified.
type words struct {
	r     *Reader
	at, n uint64
}

// block copies block i and verifies the copy.
func (w words) block(i uint64) (format.WordBlock, error) {
	at := w.at + i*format.WordBlockLen
	copied := [format.WordBlockLen]byte(w.r.data[at:])
	block, err := format.DecodeWordBlock(copied[:], w.r.salt, at)
	if err != nil {
		return block, corrupt(w.r.name, at, err)
	}
	return block, nil
}

// get returns word i, which is less than n.
func (w words) get(i uint64) (uint64, error) {
	block, err := w.block(i / format.WordBlockWords)
	return block[i%format.WordBlockWords], err
}

// count counts the words that fulfil before, which holds for a number of them from the first on
// and for none after. It looks for the last block that begins with such a word first, so that few blocks are verified.
func (w words) count(before func(word uint64) (bool, error)) (uint64, error) {
	var last format.WordBlock // the last block known to begin with such a word
	low, high := uint64(0), format.WordBlocks(w.n)
	for low < high {
		middle := (low + high) / 2
		block, err := w.block(middle)
		if err != nil {
			return 0, err
		}
		switch ok, err := before(block[0]); {
		case err != nil:
			return 0, err
		case ok:
			low, last = middle+1, block
		default:
			high = middle
		}
	}
	if low == 0 {
		return 0, nil
	}
	first := (low - 1) * format.WordBlockWords
	low, high = 1, min(format.WordBlockWords, w.n-first)
	for low < high {
		middle := (low + high) / 2
		switch ok, err := before(last[middle]); {
		case err != nil:
			return 0, err
		case ok:
			low = middle + 1
		default:
			high = middle
		}
	}
	return first + low, nil
}
