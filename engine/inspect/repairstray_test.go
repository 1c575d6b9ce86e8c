package inspect_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

// A file with the name of a log far ahead keeps no log of the history out of the copy. One that does not belong here loses nothing, and is named.
func TestRepairStrayLogs(t *testing.T) {
	for _, closed := range []bool{true, false} {
		p, other := newPast(t, 7, 20, 3, closed), newPast(t, 8, 20, 3, true)
		for what, data := range map[string][]byte{
			"empty": {}, "text": []byte("a log of something else\n"), "zeros": make([]byte, 64<<10),
			"of another database": other.files[other.newest], "a copy under another name": p.files[p.newest],
		} {
			for _, n := range []uint64{p.base + 9, p.base + 500, 1025, 20261123, 1<<64 - 1} {
				stray := format.LogName(n)
				r, state, _ := p.salvage(t, map[string][]byte{stray: data})
				require.NotNil(t, r)
				require.False(t, r.Lossy(), "%s as %s: %+v", what, stray, r.Lost)
				require.Len(t, r.Refused, 1)
				require.Equal(t, stray, r.Refused[0].File)
				require.Equal(t, p.last(), r.LastSeq)
				require.Equal(t, closed, r.Clean)
				same(t, p.without(r), state, true, what, r)
				require.LessOrEqual(t, len(r.Findings), 3, "%+v", r.Findings)

				// Also without what says where to start.
				r, state, _ = p.salvage(t, map[string][]byte{stray: data, "version": nil, format.CheckpointName(p.base): nil})
				require.False(t, r.Lossy(), "%s as %s: %+v", what, stray, r.Lost)
				same(t, p.without(r), state, true, what, r)
			}
		}
	}
}

// Behind a gap that is too large to look for each log, what is intact is saved, and the gap is one loss.
func TestRepairRunsOfLogs(t *testing.T) {
	p := newPast(t, 7, 20, 3, true)
	ahead := p.files[p.newest]
	id, err := format.DecodeLogIdentity(ahead[:format.BlockSize])
	require.NoError(t, err)
	before, err := format.DecodePredecessor(ahead[format.BlockSize:], id.Salt)
	require.NoError(t, err)
	const far = 5000
	id.Generation, before.Generation = far, far-1
	moved := append([]byte{}, ahead...)
	id.Encode(moved)
	before.Encode(moved[format.BlockSize:], id.Salt)
	base, old := format.CheckpointName(p.base), format.LogName(p.base-1)
	for lost, changed := range map[int]map[string][]byte{
		0: {p.newest: nil, format.LogName(far): moved}, // its sequences follow
		1: {p.newest: nil, format.LogName(far): moved, base: nil, old: nil},
	} {
		r, state, _ := p.salvage(t, changed)
		require.Len(t, r.Lost, lost, "%+v", r.Lost)
		require.Equal(t, p.last(), r.LastSeq, "the log behind the gap is saved")
		require.LessOrEqual(t, len(r.Findings), 10)
		same(t, p.without(r), state, true, "far", r)
	}
}

// What a check advises of a file that is no log of this database is enough: without it, the database opens.
func TestCheckStrayLog(t *testing.T) {
	p := newPast(t, 7, 20, 3, true)
	stray := format.LogName(1025)
	write(t, p.dir, stray, []byte{})
	r := check(t, p.dir)
	require.True(t, r.Damaged())
	require.False(t, r.NeedsCopy())
	require.Len(t, damage(r), 1, "%v", damage(r))
	require.Contains(t, damage(r)[0], "move "+stray+" away")
	write(t, p.dir, stray, nil)
	require.NoError(t, open(t, quiet(p.dir)).Close())
}
