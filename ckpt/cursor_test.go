package ckpt_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/ckpt"
)

// expect compares the result of a step with record i of records; i may lie outside.
func expect(records []ckpt.Record, i int, got ckpt.Record, ok bool, err error) error {
	within := i >= 0 && i < len(records)
	switch {
	case err != nil:
		return err
	case ok != within || ok && !same(records[i], got):
		return fmt.Errorf("want record %d of %d, found %v %.20q", i, len(records), ok, got.Key)
	}
	return nil
}

// checkWalks walks through all records both ways, past both ends. It returns the first error.
func checkWalks(r *ckpt.Reader, records []ckpt.Record) error {
	c := r.Cursor()
	for i := range len(records) + 2 {
		got, ok, err := c.Next()
		if err := expect(records, i, got, ok, err); err != nil {
			return fmt.Errorf("next: %w", err)
		}
	}
	for i := len(records) - 1; i >= -2; i-- {
		got, ok, err := c.Prev()
		if err := expect(records, i, got, ok, err); err != nil {
			return fmt.Errorf("prev: %w", err)
		}
	}
	got, ok, err := c.First()
	if err := expect(records, 0, got, ok, err); err != nil {
		return fmt.Errorf("first: %w", err)
	}
	got, ok, err = c.Last()
	if err := expect(records, len(records)-1, got, ok, err); err != nil {
		return fmt.Errorf("last: %w", err)
	}
	return nil
}

// boundaries are keys at, right before and right after that of every record, and at both ends.
func boundaries(records []ckpt.Record) [][]byte {
	keys := [][]byte{nil, {}, {0}, bytes.Repeat([]byte{255}, 70000)}
	for _, r := range records {
		above := append(bytes.Clone(r.Key), 0)
		below := bytes.Clone(r.Key)
		if last := len(below) - 1; below[last] == 0 {
			below = below[:last]
		} else {
			below[last]--
			below = append(below, 255)
		}
		keys = append(keys, r.Key, above, below)
	}
	return keys
}

func TestSeekAtEveryBoundary(t *testing.T) {
	for _, n := range []int{0, 1, 2, 60, 400} {
		rng := rand.New(rand.NewPCG(4, uint64(n)))
		records := sorted(rng, randomSet(rng, n))
		r, _ := build(t, records)
		c := r.Cursor()
		for _, key := range boundaries(records) {
			at := sort.Search(n, func(i int) bool { return bytes.Compare(records[i].Key, key) >= 0 })
			got, ok, err := c.SeekGE(key)
			require.NoError(t, expect(records, at, got, ok, err), "SeekGE %.20q", key)
			got, ok, err = c.Prev()
			require.NoError(t, expect(records, at-1, got, ok, err), "SeekGE %.20q, Prev", key)
			got, ok, err = c.Next()
			require.NoError(t, expect(records, at, got, ok, err), "SeekGE %.20q, Prev, Next", key)

			got, ok, err = c.SeekLT(key)
			require.NoError(t, expect(records, at-1, got, ok, err), "SeekLT %.20q", key)
			got, ok, err = c.Next()
			require.NoError(t, expect(records, at, got, ok, err), "SeekLT %.20q, Next", key)
			got, ok, err = c.Prev()
			require.NoError(t, expect(records, at-1, got, ok, err), "SeekLT %.20q, Next, Prev", key)
		}
	}
}

// Many records: the ordered index has several blocks, and the last one is full or holds one entry.
func TestSeekInManyBlocks(t *testing.T) {
	for _, entries := range []int{62, 63, 64, 126, 127, 300} {
		records := make([]ckpt.Record, 3*entries)
		for i := range records { // three records fill a stride, so every third is indexed
			records[i] = ckpt.Record{Seq: uint64(i) + 1, Key: fmt.Appendf(nil, "%06d", 2*i), Value: make([]byte, 1400)}
		}
		r, f := build(t, records)
		require.NoError(t, verify(f))
		require.LessOrEqual(t, uint64(entries), r.Footer().Entries)
		require.LessOrEqual(t, r.Footer().Entries, uint64(entries)+r.Footer().Segments)
		c := r.Cursor()
		for i := range 2*len(records) + 1 {
			got, ok, err := c.SeekGE(fmt.Appendf(nil, "%06d", i))
			require.NoError(t, expect(records, (i+1)/2, got, ok, err))
			got, ok, err = c.SeekLT(fmt.Appendf(nil, "%06d", i))
			require.NoError(t, expect(records, (i+1)/2-1, got, ok, err))
		}
	}
}

// A random walk: each step is compared with an index into the sorted records.
func TestCursorRandomWalk(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	records := sorted(rng, randomSet(rng, 700))
	r, _ := build(t, records)
	c, at := r.Cursor(), -1
	for step := range 20_000 {
		var got ckpt.Record
		var ok bool
		var err error
		key := records[rng.IntN(len(records))].Key
		place := sort.Search(len(records), func(i int) bool { return bytes.Compare(records[i].Key, key) >= 0 })
		up := step/200%2 == 0 // it drifts up and down in turn
		switch op := rng.IntN(50); {
		case op == 0:
			at = 0
			got, ok, err = c.First()
		case op == 1:
			at = len(records) - 1
			got, ok, err = c.Last()
		case op == 2:
			at = place
			got, ok, err = c.SeekGE(key)
		case op == 3:
			at = place - 1
			got, ok, err = c.SeekLT(key)
		case up != (op%4 == 0):
			at = min(at+1, len(records))
			got, ok, err = c.Next()
		default:
			at = max(at-1, -1)
			got, ok, err = c.Prev()
		}
		require.NoError(t, expect(records, at, got, ok, err), "step %d", step)
	}
}
