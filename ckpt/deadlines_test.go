package ckpt_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
)

// expiring returns numbered records, of which every third has a deadline: 5, 15, 25, 25, 45 and so on, not in the order of the keys.
func expiring(n int) []ckpt.Record {
	records := numbered(n)
	for i := 0; i < n; i += 3 {
		rank := (i/3*7919)%n + 1
		records[i].Expiry = int64(rank-rank%4/3)*10 + 5
	}
	return records
}

// checkDue counts what is due at each deadline, before and after it, and at the ends of time. It returns the first wrong
// answer or, if there is none, the first damage met.
func checkDue(r *ckpt.Reader, records []ckpt.Record) (damage error) {
	times := []int64{math.MinInt64, -1, 0, 1, 1 << 62, math.MaxInt64 - 1, math.MaxInt64}
	for i := 0; i < len(records); i += 1 + len(records)/200 {
		if d := records[i].Expiry; d != 0 {
			times = append(times, d-1, d, max(d, d+1))
		}
	}
	for _, at := range times {
		want := uint64(0)
		for i := range records {
			if d := records[i].Expiry; d != 0 && d <= at {
				want++
			}
		}
		got, err := r.Due(at)
		switch {
		case errors.Is(err, format.ErrCorrupt):
			damage = cmp.Or(damage, err)
		case err != nil || got != want:
			return fmt.Errorf("due at %d: found %d, want %d: %w", at, got, want, cmp.Or(err, errWrong))
		}
		if err != nil && got != 0 {
			return fmt.Errorf("due at %d: %d comes with an error: %w", at, got, errWrong)
		}
	}
	return damage
}

func TestDueAgainstCounting(t *testing.T) {
	draws := map[string]func(rng *rand.Rand, i int) int64{
		"rising":         func(_ *rand.Rand, i int) int64 { return int64(i) + 1 },
		"falling":        func(_ *rand.Rand, i int) int64 { return math.MaxInt64 - int64(i) },
		"any":            func(rng *rand.Rand, _ int) int64 { return 1 + rng.Int64N(math.MaxInt64) },
		"few":            func(rng *rand.Rand, _ int) int64 { return 1 + rng.Int64N(5) },
		"one":            func(*rand.Rand, int) int64 { return 7e18 },
		"the first":      func(*rand.Rand, int) int64 { return 1 },
		"the last":       func(*rand.Rand, int) int64 { return math.MaxInt64 },
		"dense and some": func(rng *rand.Rand, _ int) int64 { return 1 + rng.Int64N(1<<rng.IntN(62)) },
	}
	for what, draw := range draws {
		for _, n := range []int{0, 1, 2, 62, 63, 64, 65, 125, 126, 127, 189, 190, 5000} {
			rng := rand.New(rand.NewPCG(uint64(n), 3))
			records := numbered(n + n/3)
			for i, at := range rng.Perm(len(records))[:n] {
				records[at].Expiry = draw(rng, i)
			}
			r, f := build(t, records)
			require.NoError(t, verify(f), "%s, %d", what, n)
			require.NoError(t, checkDue(r, records), "%s, %d", what, n)
			require.Equal(t, uint64(n), r.Footer().Deadlines)
		}
	}
}

// As many deadlines as need more than one segment.
func TestDueOfManyRecords(t *testing.T) {
	const n = 140_000
	_, f := create(t)
	b, err := ckpt.NewBuilder(f, header, n)
	require.NoError(t, err)
	var key [4]byte
	for i := range n {
		key = [4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
		require.NoError(t, b.Add(ckpt.Record{Seq: 1, Key: key[:], Expiry: int64((i*7919)%n + 1)})) // each from 1 to n once
	}
	_, err = b.Finish(epochs)
	require.NoError(t, err)
	x := newForge(t, contents(t, f))
	segments := 0
	for _, s := range x.segments {
		if s.Kind == format.SegmentDeadlines {
			segments++
		}
	}
	require.Equal(t, 2, segments)
	require.NoError(t, verify(f))
	r, err := ckpt.Open(f)
	require.NoError(t, err)
	for at := int64(0); at < n+100; at += 97 {
		due, err := r.Due(at)
		require.NoError(t, err)
		require.Equal(t, uint64(min(at, n)), due)
	}
}

// An answer rests on what was verified, and on no more than it needs.
func TestDueVerifies(t *testing.T) {
	records := expiring(3000)
	_, f := create(t)
	summary, err := fill(f, records, len(records))
	require.NoError(t, err)
	whole := contents(t, f)
	blocks := format.WordBlocks(summary.Footer.Deadlines)
	require.Greater(t, blocks, uint64(10))
	for i := range blocks {
		for _, at := range []uint64{0, 300, 505} {
			damaged := bytes.Clone(whole)
			damaged[summary.Footer.DeadlinesAt+i*format.WordBlockLen+at] ^= 4
			r, err := ckpt.Open(stored(t, damaged))
			require.NoError(t, err)
			c := requireCorrupt(t, checkDue(r, records))
			require.Equal(t, summary.Footer.DeadlinesAt+i*format.WordBlockLen, uint64(c.Offset))
			_, err = r.Due(1)
			assert.Equal(t, i == 0, err != nil, "nothing is due yet: only the first block says so")
			due, err := r.Due(0)
			assert.NoError(t, err)
			assert.Zero(t, due)
		}
	}
}
