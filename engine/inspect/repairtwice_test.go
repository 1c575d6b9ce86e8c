package inspect_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/engine/inspect"
	"github.com/tongpengdl/small-db/format"
)

// tiny makes a past of records that are as short as they can be, so that some fit where nothing but padding should be. All keys but the first
// are set once, before the checkpoints.
func tiny(t testing.TB, keys int) *past {
	p := &past{dir: inMemory(t), positions: map[string]uint64{}}
	db := open(t, quiet(p.dir))
	for round := range 3 {
		for i := range keys {
			key := []byte{'!'}
			if round == 0 {
				key[0] += byte(i)
			}
			v, err := db.Set(ctx, key, nil)
			require.NoError(t, err)
			p.operations = append(p.operations, operation{seq: v.Seq, key: string(key), batch: v.Seq})
			if round > 0 && i == 5 {
				break
			}
		}
		if round < 2 {
			require.NoError(t, db.Checkpoint(ctx))
		}
	}
	p.base = db.Stats().Generation
	require.NoError(t, db.Close())
	p.take(t)
	return p
}

// ends are where the directory and the footer of a checkpoint begin.
func ends(t testing.TB, data []byte) (directory, footer int) {
	h, err := format.DecodeCheckpointHeader(data)
	require.NoError(t, err)
	f, err := format.DecodeFooter(data[len(data)-format.FooterLen:], h.Salt, uint64(len(data)))
	require.NoError(t, err)
	return int(f.Directory), len(data) - format.FooterLen
}

// Damage of a checkpoint's directory, footer or header, where what it could be made from again is gone or damaged too: nothing is
// missing in the copy that the report does not say is lost.
func TestRepairTwoFaults(t *testing.T) {
	seed := enginetest.Seed(t, 20261123)
	counts := map[string]int{}
	for i, p := range []*past{newPast(t, seed, 12, 3, true), tiny(t, 23)} {
		base, kept, old := format.CheckpointName(p.base), format.CheckpointName(p.base-1), format.LogName(p.base-1)
		data := p.files[base]
		directory, footer := ends(t, data)
		frame := p.frames(t, old)[3]
		gone := []map[string][]byte{
			{kept: nil, old: nil},
			{kept: nil},
			{old: flipped(p.files[old], int(frame.Offset)+format.FrameHeaderLen+3)},
		}
		try := func(what string, wrecked []byte, other map[string][]byte) {
			changed := maps.Clone(other)
			changed[base] = wrecked
			r, state, _ := p.salvage(t, changed)
			counts["tried"]++
			if r == nil {
				counts["nothing saved"]++
				return
			}
			what = fmt.Sprintf("seed %d, past %d: %s", seed, i, what)
			want := p.without(r)
			p.allowDeletes(r, want, state)
			same(t, want, state, false, what, r)
			p.honestVersions(t, r, state, what)
			if r.Lossy() {
				counts["lossy"]++
			} else {
				counts["all saved"]++
			}
			if len(r.Unversioned) > 0 {
				counts["versions not proven"]++
			}
		}
		bit := func(at int) []byte {
			out := slices.Clone(data)
			out[at/8] ^= 1 << (at % 8)
			return out
		}
		step := enginetest.Times(3, 1)
		for at := directory * 8; at < footer*8; at++ {
			// Kind, offset and length of each, and of the rest a sample.
			what := fmt.Sprintf("bit %d of the directory", at-directory*8)
			if in := (at/8 - directory) % format.SegmentEntryLen; in < 1 || in >= 8 && in < 10 || in >= 16 && in < 18 {
				try(what, bit(at), gone[0])
			} else if at%(3*step) == 0 {
				try(what, bit(at), gone[at/8%len(gone)])
			}
		}
		for at := footer * 8; at < len(data)*8; at += 13 * step {
			try(fmt.Sprintf("bit %d of the footer", at-footer*8), bit(at), gone[at%len(gone)])
		}
		for at := 0; at < 96*8; at += 11 * step {
			try(fmt.Sprintf("bit %d of the header", at), bit(at), gone[at%len(gone)])
		}
		for at := directory * 8; at < footer*8; at += 17 * step { // the footer as well
			wrecked := bit(at)
			wrecked[footer+20] ^= 4
			try(fmt.Sprintf("bit %d of the directory, and the footer", at-directory*8), wrecked, gone[at%len(gone)])
		}
	}
	t.Logf("two faults: %v", counts)
	require.GreaterOrEqual(t, counts["tried"], 400)
	require.GreaterOrEqual(t, counts["lossy"], 20)
	require.GreaterOrEqual(t, counts["all saved"], 20)
	require.GreaterOrEqual(t, counts["versions not proven"], 20)
}

// honestVersions checks that each version is the one that was given, or one that never was.
func (p *past) honestVersions(t testing.TB, r *inspect.RepairReport, state map[string]entry, what string) {
	t.Helper()
	given := map[string]map[uint64]bool{}
	for _, o := range p.operations {
		if given[o.key] == nil {
			given[o.key] = map[uint64]bool{}
		}
		given[o.key][o.seq] = !o.deleted
	}
	for key, e := range state {
		if !given[key][e.seq] {
			require.NotEmpty(t, r.Unversioned, "%s: key %s has version %d", what, key, e.seq)
			require.Equal(t, r.LastSeq+1, e.seq, "%s: key %s", what, key)
		}
	}
}

// A version that nothing proves is one that nobody holds.
func TestRepairUnprovenVersions(t *testing.T) {
	p := tiny(t, 20)
	base, kept, old := format.CheckpointName(p.base), format.CheckpointName(p.base-1), format.LogName(p.base-1)
	directory, _ := ends(t, p.files[base])
	log := p.newest
	for _, at := range []int{24, 32} { // the base sequence, and the sum, which proves it
		r, state, copied := p.salvage(t, map[string][]byte{base: flipped(p.files[base], directory+at), kept: nil, old: nil, log: nil})
		require.Equal(t, []string{base}, r.Unversioned)
		require.Len(t, state, 20)
		opts := quiet(filepath.Join(inMemory(t), "new"))
		require.NoError(t, engine.Restore(opts, bytes.NewReader(copied)))
		opts.Create = false
		db := open(t, opts)
		for key := range state {
			e, ok, err := db.Entry([]byte(key))
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, r.LastSeq+1, e.Version.Seq)
			require.Greater(t, e.Version.Epoch, uint64(1), "sequences after the last one that is known may have been given in the epoch before")
		}
		var b engine.Batch
		b.Set([]byte("another"), nil)
		v, err := db.Apply(ctx, &b)
		require.NoError(t, err)
		require.Equal(t, r.LastSeq+2, v.Seq)
		require.NoError(t, db.Close())
		require.Empty(t, check(t, opts.Dir).Findings)
		require.NoError(t, os.RemoveAll(opts.Dir))
	}
	r, _, _ := p.salvage(t, map[string][]byte{base: flipped(p.files[base], directory+24)})
	require.Empty(t, r.Unversioned, "it is made again from the kept one")
}

// A file of any length is read in pieces.
func TestRepairHugeCheckpoint(t *testing.T) {
	p := newPast(t, 4, 12, 3, true)
	base, kept, old := format.CheckpointName(p.base), format.CheckpointName(p.base-1), format.LogName(p.base-1)
	write(t, p.dir, kept, nil)
	write(t, p.dir, old, nil)
	const huge = 1 << 42
	if err := os.Truncate(filepath.Join(p.dir, base), huge); err != nil {
		t.Skipf("a file cannot be so long here: %v", err)
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	allocated := stats.TotalAlloc
	r, err := inspect.NewRepair(ctx, p.dir, inspect.RepairOptions{})
	require.NoError(t, err)
	var copied bytes.Buffer
	require.NoError(t, r.Write(ctx, &copied))
	r.Close()
	runtime.ReadMemStats(&stats)
	t.Logf("a checkpoint of %d bytes: %d bytes allocated", int64(huge), stats.TotalAlloc-allocated)
	require.Less(t, stats.TotalAlloc-allocated, uint64(512<<20))
	same(t, p.without(r.Report()), contents(t, copied.Bytes()), false, "huge", r.Report())
	require.True(t, r.Report().Lossy())
	require.NotEmpty(t, r.Report().Holes)
}
