package engine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lookup returns the places under a hash, in the order in which a search meets them.
func lookup(t *table, hash uint64) (places []int64) {
	s := t.search(hash)
	for slot, place := s.next(); slot != nil; slot, place = s.next() {
		places = append(places, place)
	}
	return places
}

// hashesOf are ways to draw hashes, from the usual to the hostile.
var hashesOf = []struct {
	name string
	draw func(rng *rand.Rand, i int) uint64
	most int // how many of them fit without filling a segment that cannot be split
}{
	{"uniform", func(rng *rand.Rand, _ int) uint64 { return rng.Uint64() }, 30_000},
	{"rising", func(_ *rand.Rand, i int) uint64 { return uint64(i) << 44 }, 10_000},
	{"only low bits differ", func(_ *rand.Rand, i int) uint64 { return uint64(i) }, segmentFull},
	{"one bucket of every segment", func(rng *rand.Rand, _ int) uint64 {
		return rng.Uint64()&^(63<<placeBits) | 63<<placeBits
	}, 5000},
	{"few top bits", func(rng *rand.Rand, _ int) uint64 { return rng.Uint64() &^ (1<<63 | 1<<62 | 1<<61) }, 10_000},
	{"one deep segment", func(rng *rand.Rand, _ int) uint64 {
		return 0xABC<<52 | rng.Uint64()&(1<<52-1) // 12 of 22 bits are the same
	}, 1000},
	{"few hashes", func(rng *rand.Rand, _ int) uint64 { return rng.Uint64N(40) << 58 }, 2000},
	{"zero and all ones", func(rng *rand.Rand, i int) uint64 { return -uint64(i & 1) }, segmentSlots},
}

// The table is a multimap from the tag of a hash to places.
func TestTableIsAMultimap(t *testing.T) {
	for _, hashes := range hashesOf {
		t.Run(hashes.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			table, model := newTable(), map[uint64][]int64{}
			var all []uint64
			for i := range hashes.most {
				hash, place := hashes.draw(rng, i), int64(i+1)
				require.NoError(t, table.insert(hash, place))
				model[hash>>placeBits] = append(model[hash>>placeBits], place)
				all = append(all, hash)
				if i%97 == 0 {
					h := all[rng.IntN(len(all))]
					require.ElementsMatch(t, model[h>>placeBits], lookup(table, h), "after %d", i)
				}
			}
			assert.EqualValues(t, hashes.most, table.entries.Load())
			for tag, want := range model {
				require.ElementsMatch(t, want, lookup(table, tag<<placeBits))
			}
			for range 2000 {
				h := rng.Uint64()
				require.ElementsMatch(t, model[h>>placeBits], lookup(table, h))
			}
			checkTable(t, table, hashes.most)
		})
	}
}

// checkTable checks the structure: every pointer leads to the segment of its prefix, every slot lies where a
// lookup comes to it, places visits each once, and nothing is counted wrongly.
func checkTable(t *testing.T, table *table, entries int) {
	t.Helper()
	d := table.dir.Load()
	require.Len(t, d.segments, 1<<d.depth)
	var seen int
	for i := 0; i < len(d.segments); {
		s := d.segments[i].Load()
		require.LessOrEqual(t, s.depth, d.depth)
		require.LessOrEqual(t, s.depth, uint(maxDepth))
		span := 1 << (d.depth - s.depth)
		require.Zero(t, i%span)
		for j := range span {
			if d.segments[i+j].Load() != s {
				require.Fail(t, "pointers of one prefix lead to two segments", "%d and %d", i, i+j)
			}
		}
		first := i
		i += span
		used := 0
		for j := range s.slots {
			v := s.slots[j].Load()
			if v == 0 {
				continue
			}
			used++
			require.Equal(t, uint64(first)>>(d.depth-s.depth), v>>(64-s.depth), "slot %x in the segment of another prefix", v)
			require.Contains(t, lookup(table, v), int64(v&placeMask), "slot %x is not found", v)
		}
		require.Equal(t, used, s.used)
		seen += used
	}
	assert.Equal(t, entries, seen)
	visited := map[int64]int{}
	require.NoError(t, table.places(func(place int64) error { visited[place]++; return nil }))
	assert.Len(t, visited, entries)
	for place, n := range visited {
		require.Equal(t, 1, n, "place %d", place)
	}
}

// The first free slot is 0, so neither an all-zero hash nor the greatest place may look like one.
func TestTableSlotLimits(t *testing.T) {
	table := newTable()
	for _, c := range []struct {
		hash  uint64
		place int64
	}{{0, 1}, {0, placeMask}, {1<<64 - 1, placeMask}, {1<<64 - 1, 1}, {placeMask, 7}} {
		require.NoError(t, table.insert(c.hash, c.place))
		require.Contains(t, lookup(table, c.hash), c.place)
	}
	assert.ElementsMatch(t, []int64{1, placeMask, 7}, lookup(table, 12345), "the low bits of a hash do not count")
}

// When no bit is left to split by, a segment takes what it has slots for, and then the table says so and stays whole.
func TestTableFull(t *testing.T) {
	table := newTable()
	const hash = 0xFEDCBA9876543210
	for i := range segmentSlots {
		require.NoError(t, table.insert(hash, int64(i+1)), i)
	}
	require.EqualValues(t, maxDepth, table.dir.Load().depth)
	for range 3 {
		require.ErrorIs(t, table.insert(hash, segmentSlots+1), errTableFull)
	}
	require.EqualValues(t, segmentSlots, table.entries.Load())
	require.Len(t, lookup(table, hash), segmentSlots)
	require.Empty(t, lookup(table, hash^1<<placeBits), "an absent tag in a full segment ends the search")
	require.NoError(t, table.insert(^uint64(hash), 5), "elsewhere there is room")
	require.Equal(t, []int64{5}, lookup(table, ^uint64(hash)))
}

// One insert replaces one segment: the others are the same memory before and after.
func TestTableGrowsIncrementally(t *testing.T) {
	table, rng := newTable(), rand.New(rand.NewPCG(3, 4))
	segments := func() map[*segment]bool {
		out := map[*segment]bool{}
		d := table.dir.Load()
		for i := range d.segments {
			out[d.segments[i].Load()] = true
		}
		return out
	}
	before, splits := segments(), 0
	for i := range 20_000 {
		hash := rng.Uint64()
		full := table.segment(hash).used >= segmentFull
		require.NoError(t, table.insert(hash, int64(i+1)))
		if !full {
			continue
		}
		after := segments()
		maps.DeleteFunc(before, func(s *segment, _ bool) bool { return after[s] })
		require.Len(t, before, 1, "a split takes one segment away")
		require.GreaterOrEqual(t, len(table.dir.Load().segments), len(after))
		before = after
		splits++
	}
	assert.Greater(t, splits, 40)
	assert.Len(t, before, splits+1)
	checkTable(t, table, 20_000)
}

// What was inserted before a read began is found by it, whatever the writer does meanwhile: splits, doublings,
// replaced places.
func TestTableReadersBesideTheWriter(t *testing.T) {
	for _, skew := range []uint64{0, 0xFFF << 52} { // spread, and all within few segments
		t.Run(fmt.Sprintf("skew=%x", skew), func(t *testing.T) {
			const n = 20_000
			rng := rand.New(rand.NewPCG(5, skew))
			hashes := make([]uint64, n)
			unique := map[uint64]bool{}
			for i := range hashes {
				for hashes[i] == 0 || unique[hashes[i]>>placeBits] {
					hashes[i] = rng.Uint64() | skew
					if skew != 0 {
						hashes[i] &^= 1 << (placeBits + uint(rng.IntN(16)))
					}
					if skew != 0 && len(unique) > 3000 {
						hashes[i] = rng.Uint64()
					}
				}
				unique[hashes[i]>>placeBits] = true
			}
			table := newTable()
			var inserted atomic.Int64
			var readers sync.WaitGroup
			var wrong atomic.Pointer[string]
			for r := range 3 {
				readers.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(r), 9))
					for inserted.Load() < n && wrong.Load() == nil {
						most := inserted.Load()
						if most == 0 {
							continue
						}
						i := max(0, most-1-rng.Int64N(min(most, 200)))
						if rng.IntN(3) == 0 {
							i = rng.Int64N(most)
						}
						// Place i+1 or, once replaced, n+i+1.
						got := lookup(table, hashes[i])
						if len(got) != 1 || got[0] != i+1 && got[0] != n+i+1 {
							s := fmt.Sprintf("hash %d of %d: %v", i, most, got)
							wrong.Store(&s)
						}
					}
				})
			}
			for i := range int64(n) {
				require.NoError(t, table.insert(hashes[i], i+1))
				inserted.Store(i + 1)
				if old := i / 2; i%5 == 0 { // as delta.put does
					s := table.search(hashes[old])
					slot, _ := s.next()
					slot.Store(hashes[old]&^placeMask | uint64(n+old+1))
				}
			}
			readers.Wait()
			require.Nil(t, wrong.Load(), "%v", wrong.Load())
			checkTable(t, table, n)
		})
	}
}
