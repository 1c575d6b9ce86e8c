package inspect_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine/inspect"
	"github.com/tongpengdl/small-db/format"
)

// tally counts what was found of what was done, by class.
type tally struct{ done, found map[class]int }

func newTally() *tally { return &tally{map[class]int{}, map[class]int{}} }

func (y *tally) log(t *testing.T, what string) {
	for _, c := range slices.Sorted(maps.Keys(y.done)) {
		t.Logf("%s: %s: %d of %d reported as damage", what, c, y.found[c], y.done[c])
	}
}

// judge checks one report about a sample in which bytes of one file, of this class, have changed.
func (s *sample) judge(t *testing.T, y *tally, what, name string, c class, r *inspect.Report) {
	t.Helper()
	y.done[c]++
	if r.Damaged() {
		y.found[c]++
	}
	found := damage(r)
	switch c {
	case meaning:
		if !slices.ContainsFunc(r.Findings, func(f inspect.Finding) bool { return f.File == name && f.Severity == inspect.Damage }) {
			require.Fail(t, "not found", "%s: %q", what, found)
		}
		for i := range r.Findings {
			if f := &r.Findings[i]; f.Severity == inspect.Damage && (f.What == "" || f.Follows == "" || f.Offset < -1) {
				require.Fail(t, "says too little", "%s: %+v", what, f)
			}
		}
	case closing:
		require.Empty(t, found, what)
		require.False(t, r.Clean, what)
	case lastOne:
		require.Empty(t, found, what)
		require.EqualValues(t, 61, r.Tail.Seq, what)
	default:
		require.Empty(t, found, what)
		require.EqualValues(t, 62, r.Tail.Seq, what)
	}
}

// bits are the bits of a file to flip: every third of its headers, so that each byte is hit at least twice, and every 679th of what else says
// anything; with SMALLDB_TEST_LONG all of its headers, and every 97th.
func (s *sample) bits(t *testing.T, name string) (out []int64) {
	parts := s.parts(t, name)
	size := int64(len(s.files[name]))
	kind, _ := inspect.KindByName(name)
	step, stride, used := int64(3), int64(679), size
	if long {
		step, stride = 1, 97
	}
	all := func(from, to int64) {
		for bit := from * 8; bit < to*8; bit += step {
			out = append(out, bit)
		}
	}
	switch kind {
	case inspect.KindVersion:
		all(0, size)
	case inspect.KindCheckpoint:
		if name == format.CheckpointName(s.base) {
			all(0, 88)
			all(4088, 4096)
			all(size-format.FooterLen, size)
		}
	case inspect.KindLog:
		used = parts[len(parts)-1].from
		if name == s.newest && s.closed {
			all(0, 56)
			all(4088, 4096+88)
			all(8184, 8192+format.FrameHeaderLen) // and the first frame's
			all(parts[len(parts)-2].from, parts[len(parts)-2].to)
		}
	default:
		stride = 9973
	}
	for bit := int64(len(name)); bit < used*8; bit += stride {
		out = append(out, bit)
	}
	for bit := used * 8; bit < size*8; bit += 65_537 {
		out = append(out, bit)
	}
	return out
}

func TestRotBits(t *testing.T) {
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprintf("closed=%t", closed), func(t *testing.T) {
			t.Parallel()
			s, y := takeSample(t, closed), newTally()
			for _, name := range s.names() {
				if !closed && name != s.newest {
					continue // the others are as in a closed one
				}
				parts := s.parts(t, name)
				for _, bit := range s.bits(t, name) {
					data := slices.Clone(s.files[name])
					data[bit/8] ^= 1 << (bit % 8)
					r := s.with(t, map[string][]byte{name: data})
					s.judge(t, y, fmt.Sprintf("%s, bit %d of byte %d", name, bit%8, bit/8), name, classOf(parts, bit/8), r)
				}
			}
			y.log(t, "flipped bits")
			require.Equal(t, y.done[meaning], y.found[meaning])
			require.Greater(t, y.done[meaning], 500)
		})
	}
}

func TestRotSectors(t *testing.T) {
	const sector = 512
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprintf("closed=%t", closed), func(t *testing.T) {
			t.Parallel()
			s, y := takeSample(t, closed), newTally()
			for _, name := range s.names() {
				whole, parts := s.files[name], s.parts(t, name)
				for at := 0; at < len(whole); at += sector {
					end := min(at+sector, len(whole))
					if at > sector && at+sector < len(whole) && classOf(parts, int64(at)) == classOf(parts, int64(end-1)) && !long &&
						(classOf(parts, int64(at)) == free || at/sector%8 != 0 && len(whole) > 20_000 && at > 16_000) {
						continue // the same as the one before
					}
					from := (at + 3*sector) % max(sector, len(whole)-sector)
					for what, over := range map[string][]byte{
						"zeros": make([]byte, sector), "ones": bytes.Repeat([]byte{0xff}, sector), "another": whole[from:min(from+sector, len(whole))],
						"the first": whole[:min(sector, len(whole))],
					} {
						data := slices.Clone(whole)
						copy(data[at:end], over)
						c := classOfChange(parts, whole, data)
						if c == "" {
							continue
						}
						r := s.with(t, map[string][]byte{name: data})
						s.judge(t, y, fmt.Sprintf("%s, %s over the sector at %d", name, what, at), name, c, r)
					}
				}
			}
			y.log(t, "sectors")
			require.Equal(t, y.done[meaning], y.found[meaning])
		})
	}
}

// Files that are cut short, longer, gone, exchanged, or as they were earlier.
func TestRotFiles(t *testing.T) {
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprintf("closed=%t", closed), func(t *testing.T) {
			t.Parallel()
			s, y := takeSample(t, closed), newTally()
			for _, name := range s.names() {
				whole := s.files[name]
				n := len(whole)
				kind, _ := inspect.KindByName(name)
				c := meaning
				if kind == inspect.KindLock || kind == inspect.KindSpare {
					c = needless
				}
				for _, data := range [][]byte{
					nil, {}, whole[:1], whole[:min(n, 11)], whole[:min(n, 100)], whole[:min(n-1, 4096)], whole[:min(n-1, 8192)], whole[:min(n-1, 9000)], whole[:n/2],
					whole[:n-1], whole[:max(0, n-512)], append(slices.Clone(whole), 0), append(slices.Clone(whole), whole...), make([]byte, n),
				} {
					r := s.with(t, map[string][]byte{name: data})
					s.judge(t, y, fmt.Sprintf("%s with %d of %d bytes", name, len(data), n), name, c, r)
				}
				for _, other := range s.names() {
					if other != name && c == meaning {
						r := s.with(t, map[string][]byte{name: s.files[other]})
						s.judge(t, y, fmt.Sprintf("%s with the content of %s", name, other), name, c, r)
					}
				}
			}
			y.log(t, "files")
			require.Equal(t, y.done[meaning], y.found[meaning])
		})
	}
}

// An earlier version of a file is found where another file knows better. Nothing does for the newest log.
func TestRotEarlier(t *testing.T) {
	s := takeSample(t, true)
	counts := map[string]int{}
	for i, earlier := range s.earlier {
		for _, name := range s.names() {
			data, whole := earlier[name], s.files[name]
			kind, generation := inspect.KindByName(name)
			if data == nil || bytes.Equal(data, whole) || kind == inspect.KindSpare {
				continue
			}
			r := s.with(t, map[string][]byte{name: data})
			what := fmt.Sprintf("%s as it was at %d: %q", name, i, damage(r))
			switch {
			case name == s.newest:
				assert.False(t, r.Damaged(), what)
				assert.False(t, r.Clean, what)
				counts["newest log: looks as if it had not been closed"]++
			case kind == inspect.KindVersion: // the checkpoint it names is gone, or the one before
				assert.True(t, r.Damaged(), what)
				counts["version: found"]++
			default:
				l := s.parts(t, name)
				if c := classOfChange(l, whole, data); c != meaning {
					assert.False(t, r.Damaged(), what)
					counts[fmt.Sprintf("log %d: %s", generation, c)]++
					continue
				}
				assert.True(t, r.Damaged(), what)
				counts["sealed log: found"]++
			}
		}
	}
	t.Log(counts)
	assert.NotZero(t, counts["version: found"])
	assert.NotZero(t, counts["sealed log: found"])
	assert.NotZero(t, counts["newest log: looks as if it had not been closed"])
}
