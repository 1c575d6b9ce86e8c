package engine

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// orderedDelta is a delta of random records, entered as the pipeline does, and where they lie, in the order of their sequences.
type orderedDelta struct {
	*delta
	keys   [][]byte
	places []int64
}

// newOrderedDelta makes one of n records with keys that draw makes, in logs of at most perLog records.
func newOrderedDelta(t *testing.T, n, perLog int, draw func(i int) []byte) *orderedDelta {
	t.Helper()
	dir, err := mmapio.OpenDir(t.TempDir(), false)
	require.NoError(t, err)
	d, err := newDelta(maphash.MakeSeed(), 0, 0)
	require.NoError(t, err)
	d.references.start(0)
	o := &orderedDelta{delta: d}
	for generation := uint64(1); len(o.keys) < n; generation++ {
		var ops []op
		for len(ops) < min(perLog, n-len(o.keys)) {
			kind := format.KindSet
			if len(ops)%5 == 0 {
				kind = format.KindDelete
			}
			ops = append(ops, op{kind: kind, key: draw(len(o.keys) + len(ops))})
		}
		f, id, at := logFile(t, dir, generation, ops)
		start, err := d.attach(f, &id)
		require.NoError(t, err)
		for i := range ops {
			place := (start + at[i]) / placeUnit
			_, err := d.put(&change{hash: d.hash(ops[i].key), key: ops[i].key, place: place})
			require.NoError(t, err)
			d.references.append(place)
			o.keys, o.places = append(o.keys, ops[i].key), append(o.places, place)
		}
		d.references.publish()
	}
	return o
}

// last is the place of the last record of each key among those from index from up to to.
func (o *orderedDelta) last(from, to int) map[string]int64 {
	last := map[string]int64{}
	for i := from; i < to; i++ {
		last[string(o.keys[i])] = o.places[i]
	}
	return last
}

// requireRun checks that a run holds just the last record of each key of its part.
func (o *orderedDelta) requireRun(t *testing.T, r *run, from, to int) {
	t.Helper()
	last := o.last(from, to)
	require.Equal(t, to-from, r.of)
	require.Equal(t, len(last), r.len())
	want := slices.Sorted(maps.Keys(last))
	for i, k := range want {
		if string(r.key(i)) != k || r.places[i] != last[k] {
			require.Fail(t, "wrong entry", "%d of %d-%d: %q at %d, want %q at %d", i, from, to, r.key(i), r.places[i], k, last[k])
		}
		require.Equal(t, len(r.key(i)), cap(r.key(i)), "an append to a key must not reach the next one")
	}
}

// requireOrder checks an order of the first n records.
func (o *orderedDelta) requireOrder(t *testing.T, got *order, n int) {
	t.Helper()
	require.Equal(t, n, got.n)
	from := 0
	for i, r := range got.runs {
		require.Positive(t, r.of)
		if i > 0 {
			require.GreaterOrEqual(t, got.runs[i-1].of, runGrowth*r.of, "run %d of %d", i, len(got.runs))
		}
		o.requireRun(t, r, from, from+r.of)
		from += r.of
	}
	require.Equal(t, n, from, "the runs are all of the records")
}

// drawers make keys of all kinds that a sort could get wrong.
func drawers(rng *rand.Rand) map[string]func(int) []byte {
	pick := func(n int, alphabet string) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = alphabet[rng.IntN(len(alphabet))]
		}
		return b
	}
	return map[string]func(int) []byte{
		"many duplicates":       func(int) []byte { return fmt.Appendf(nil, "%d", rng.IntN(20)) },
		"few duplicates":        func(int) []byte { return fmt.Appendf(nil, "%d", rng.IntN(100_000)) },
		"one key":               func(int) []byte { return []byte("k") },
		"zeros at the end":      func(int) []byte { return pick(1+rng.IntN(12), "\x00\x00\x00a") },
		"highest bytes":         func(int) []byte { return pick(1+rng.IntN(10), "\xff\xfe\x00") },
		"long common beginning": func(int) []byte { return append(bytes.Repeat([]byte("c"), 20), pick(rng.IntN(11), "\x00\x01\xff")...) },
		"rising":                func(i int) []byte { return fmt.Appendf(nil, "%08d", i) },
		"falling":               func(i int) []byte { return fmt.Appendf(nil, "%08d", 100_000-i) },
	}
}

// The first records of a delta are brought into order in whatever steps they are asked for, back and forth.
func TestOrder(t *testing.T) {
	const n = 1500
	rng := rand.New(rand.NewPCG(1, 2))
	for name, draw := range drawers(rng) {
		t.Run(name, func(t *testing.T) {
			o := newOrderedDelta(t, n, 400, draw)
			for at := 0; at < n; {
				at = min(n, at+1+rng.IntN(1<<rng.IntN(9)))
				got, err := o.order(at)
				require.NoError(t, err)
				o.requireOrder(t, got, at)
				again, err := o.order(at)
				require.NoError(t, err)
				require.Same(t, got, again, "what is sorted is not sorted again")

				before := rng.IntN(at + 1) // a snapshot of before scans for the first time
				older, err := o.order(before)
				require.NoError(t, err)
				o.requireOrder(t, older, before)
				require.Same(t, got, o.orders.latest.Load(), "that is no reason to forget")
			}
			whole, err := o.sortedKeys(nil)
			require.NoError(t, err)
			o.requireRun(t, &run{of: n, keys: whole.keys, ends: whole.ends, places: whole.places}, 0, n)

			got, err := o.order(n / 3) // a snapshot outlives the checkpoint of its delta
			require.NoError(t, err)
			o.requireOrder(t, got, n/3)
		})
	}
}

// One at a time: most runs must not be sorted or merged again.
func TestOrderOfSingleRecords(t *testing.T) {
	const n = 600
	o := newOrderedDelta(t, n, 400, func(i int) []byte { return fmt.Appendf(nil, "%d", i*7919%n) })
	for at := range n + 1 {
		got, err := o.order(at)
		require.NoError(t, err)
		require.LessOrEqual(t, len(got.runs), 6, "log4(600) and one")
		if at%50 == 0 || at == n {
			o.requireOrder(t, got, at)
		}
	}
}

// Snapshots of several moments are sorted by several goroutines.
func TestOrderConcurrently(t *testing.T) {
	const n = 800
	rng := rand.New(rand.NewPCG(3, 4))
	o := newOrderedDelta(t, n, 400, func(int) []byte { return fmt.Appendf(nil, "%d", rng.IntN(300)) })
	var wg sync.WaitGroup
	orders := make([][]*order, 4)
	for w := range orders {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(5, uint64(w)))
			for range 30 {
				got, err := o.order(rng.IntN(n + 1))
				if err != nil {
					t.Error(err)
					return
				}
				orders[w] = append(orders[w], got)
			}
			if _, err := o.sortedKeys(nil); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	for _, of := range orders {
		for _, got := range of {
			o.requireOrder(t, got, got.n)
		}
	}
}

// Whoever has an order keeps it as it was, whatever is sorted later.
func TestOrderNeverChanges(t *testing.T) {
	const n = 1000
	rng := rand.New(rand.NewPCG(6, 7))
	o := newOrderedDelta(t, n, 400, func(int) []byte { return fmt.Appendf(nil, "%d", rng.IntN(200)) })
	var held []*order
	for at := 0; at <= n; at += 1 + rng.IntN(40) {
		got, err := o.order(at)
		require.NoError(t, err)
		held = append(held, got)
	}
	for _, got := range held {
		o.requireOrder(t, got, got.n)
	}
}

func TestRunSearch(t *testing.T) {
	keys := []string{"\x00", "\x00\x00", "a", "a\x00", "ab", "b", "\xff", "\xff\xff", strings.Repeat("\xff", 300)}
	r := newRun(len(keys), 0, 0)
	for i, k := range keys {
		r.add([]byte(k), int64(i))
	}
	for _, probe := range append(slices.Clone(keys), "", "\x01", "a\x00\x00", "aa", "abc", "c", "\xfe\xff", strings.Repeat("\xff", 299), strings.Repeat("\xff", 301)) {
		require.Equal(t, sort.SearchStrings(keys, probe), r.search([]byte(probe)), "%q", probe)
	}
	require.Zero(t, new(run).search([]byte("k")))
}

func TestMergeRuns(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	make1 := func(place int64) (*run, map[string]int64) {
		m := map[string]int64{}
		for range rng.IntN(20) {
			m[fmt.Sprint(rng.IntN(30))] = place
			place++
		}
		r := newRun(len(m)+rng.IntN(5), 0, 0)
		for _, k := range slices.Sorted(maps.Keys(m)) {
			r.add([]byte(k), m[k])
		}
		return r, m
	}
	for range 300 {
		a, want := make1(1)
		b, later := make1(1000)
		maps.Copy(want, later)
		got := mergeRuns(a, b)
		require.Equal(t, a.of+b.of, got.of)
		require.Equal(t, len(want), got.len())
		for i, k := range slices.Sorted(maps.Keys(want)) {
			require.Equal(t, k, string(got.key(i)))
			require.Equal(t, want[k], got.places[i])
		}
	}
}

// References are found again over the ends of chunks, by readers that were there before.
func TestReferences(t *testing.T) {
	var r references
	const first = 41
	r.start(first)
	require.Zero(t, r.upTo(r.last.Load()))
	const n = 3*chunkLen + 5
	var wg sync.WaitGroup
	for range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				have := r.upTo(r.last.Load())
				at := max(0, have-100)
				err := r.places(at, have, func(place int64) error {
					if place != int64(at*3) {
						return fmt.Errorf("%d is %d", at, place)
					}
					at++
					return nil
				})
				if err != nil || at != have {
					t.Errorf("%v; at %d of %d", err, at, have)
					return
				}
				if have == n {
					return
				}
			}
		}()
	}
	for i := range n {
		r.append(int64(i * 3))
		if i%7 == 0 || i == n-1 {
			r.publish()
			require.EqualValues(t, first+i+1, r.last.Load())
		}
	}
	wg.Wait()
}

// A record that cannot be read makes no order; those before it do.
func TestOrderMeetsDamage(t *testing.T) {
	dir, err := mmapio.OpenDir(t.TempDir(), false)
	require.NoError(t, err)
	d, err := newDelta(maphash.MakeSeed(), 0, 0)
	require.NoError(t, err)
	d.references.start(0)
	ops := []op{{kind: format.KindSet, key: []byte("a")}, {kind: format.KindSet, key: []byte("b")}, {kind: format.KindSet, key: []byte("c")}}
	f, id, at := logFile(t, dir, 1, ops)
	start, err := d.attach(f, &id)
	require.NoError(t, err)
	for i := range ops {
		d.references.append((start + at[i]) / placeUnit)
	}
	d.references.publish()
	_, err = f.WriteAt([]byte{0xFF}, at[1]+8)
	require.NoError(t, err)
	for range 2 {
		_, err = d.order(3)
		var c *format.CorruptionError
		require.ErrorAs(t, err, &c)
		require.Equal(t, format.LogName(1), c.File)
		require.Equal(t, at[1], c.Offset)
		o, err := d.order(1)
		require.NoError(t, err)
		require.Equal(t, 1, o.n)
	}
	require.True(t, d.orders.mu.TryLock(), "the lock was given back")
}
