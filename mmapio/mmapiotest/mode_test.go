package mmapiotest_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// extendAndRename leaves pages of C behind on the disk, makes a=AA durable, then writes BB from page 1 on and
// renames a to b, neither of them durable.
func extendAndRename() mmapiotest.Trace {
	return trace(
		durableFile("c", 1, fill('C', 3*page)), remove("c", 1), syncDir,
		durableFile("a", 2, fill('A', 2*page)),
		write(2, page, fill('B', 2*page)), rename("a", "b", 2))
}

// cross prefixes every one of the endings with every one of the starts.
func cross(starts []string, endings ...string) (out []string) {
	for _, s := range starts {
		for _, e := range endings {
			out = append(out, s+e)
		}
	}
	slices.Sort(out)
	return out
}

// What each mode makes of the same pending effects, computed by hand: under many seeds exactly these come out.
func TestModesOnExtendedAndRenamedFile(t *testing.T) {
	a, b, either := []string{"a=A"}, []string{"b=A"}, []string{"a=A", "b=A"}
	blocks := []string{"A", "A.", "AB", "B", "B.", "BB"}
	for mode, want := range map[mmapiotest.Mode][]string{
		mmapiotest.SyncedOnly:       {"a=AA"},
		mmapiotest.Everything:       {"b=ABB"},
		mmapiotest.OrderedPrefix:    {"a=AA", "a=ABB", "b=ABB"},
		mmapiotest.SizeZeros:        {"b=A.."},
		mmapiotest.SizeGarbage:      {"b=A??"},
		mmapiotest.DataWithoutSize:  {"b=AB"},
		mmapiotest.BlocksFew:        cross(either, blocks...),
		mmapiotest.BlocksHalf:       cross(either, blocks...),
		mmapiotest.BlocksMost:       cross(b, blocks...),
		mmapiotest.StaleSame:        cross(b, "A.", "AB", "AC", "B.", "BB", "BC", "C.", "CB", "CC"),
		mmapiotest.StaleAny:         cross(either, "A.", "AA", "AB", "AC", "B.", "BA", "BB", "BC", "C.", "CA", "CB", "CC"),
		mmapiotest.NamesWithData:    {"a=ABB", "b=ABB"},
		mmapiotest.NamesWithoutData: {"a=AA", "b=AA"},
		mmapiotest.BothNames:        {"a=ABB b=ABB"},
	} {
		tr := extendAndRename()
		assert.Equal(t, want, sketches(tr, atEnd(tr), mode, page), mode)
		tr = append(tr, syncFile(2))
		for _, s := range sketches(tr, atEnd(tr), mode, page) {
			assert.Contains(t, append(cross(a, "BB"), "b=ABB", "a=ABB b=ABB"), s, "bytes are durable: %s", mode)
		}
		tr = append(tr, syncDir)
		assert.Equal(t, []string{"b=ABB"}, sketches(tr, atEnd(tr), mode, page), "all is durable: %s", mode)
	}
}

func TestTornWrites(t *testing.T) {
	tr := trace(durableFile("f", 1, fill('A', 2*sector)), write(1, sector, fill('B', 3*sector)))
	assert.Equal(t, []string{"f=AA", "f=AB", "f=ABB", "f=ABBB"}, sketches(tr, atEnd(tr), mmapiotest.TornPrefix, sector))
	assert.Equal(t, []string{"f=AA", "f=AA.B", "f=AAB", "f=AABB", "f=AB", "f=AB.B", "f=ABB", "f=ABBB"},
		sketches(tr, atEnd(tr), mmapiotest.TornSubset, sector))
	assert.Equal(t, []string{"f=A???", "f=A??B", "f=A?B?", "f=A?BB", "f=AB??", "f=AB?B", "f=ABB?", "f=ABBB"},
		sketches(tr, atEnd(tr), mmapiotest.TornGarbage, sector))
}

// A write tears where a sector of the disk ends, wherever it begins.
func TestTornWritesBreakAtSectors(t *testing.T) {
	tr := trace(durableFile("f", 1, fill('A', 2*sector)), write(1, sector/2, fill('B', sector)))
	assert.Equal(t, []string{"f=AAAA", "f=AABA", "f=ABAA", "f=ABBA"},
		sketches(tr, atEnd(tr), mmapiotest.TornSubset, sector/2))
}

func TestDamageStaysInBlock(t *testing.T) {
	tr := trace(durableFile("f", 1, fill('A', 3*page)), write(1, page+sector, fill('B', sector)))
	r := tr.Replayer()
	for _, block := range []int64{sector, page} {
		r.Block = block
		m := r.Image(atEnd(tr), mmapiotest.SizeGarbage, 1)
		first, last := page+sector, page+2*sector
		if block == page {
			first, last = page, 2*page
		}
		assert.Equal(t, fill('A', first), m["f"][:first])
		assert.Equal(t, fill('A', 3*page-last), m["f"][last:])
		assert.NotEqual(t, fill('A', sector), m["f"][first:first+sector])
		assert.NotEqual(t, fill('A', sector), m["f"][last-sector:last])
	}
}

func TestNames(t *testing.T) {
	version := trace(durableFile("version", 1, fill('V', page)), durableFile("newVersion", 2, fill('N', page)))
	for name, c := range map[string]struct {
		trace mmapiotest.Trace
		want  map[mmapiotest.Mode][]string
	}{
		"created and synced, the directory not": {
			trace(create("f", 1), write(1, 0, fill('A', page)), syncFile(1)),
			map[mmapiotest.Mode][]string{
				mmapiotest.SyncedOnly: {""}, mmapiotest.Everything: {"f=A"}, mmapiotest.NamesWithoutData: {"", "f=A"},
				mmapiotest.SizeZeros: {"f=A"}, mmapiotest.BothNames: {"", "f=A"},
			},
		},
		"created, neither synced": {
			trace(create("f", 1), write(1, 0, fill('A', page))),
			map[mmapiotest.Mode][]string{
				mmapiotest.SyncedOnly: {""}, mmapiotest.SizeZeros: {"f=."}, mmapiotest.DataWithoutSize: {"f="},
				mmapiotest.NamesWithoutData: {"", "f="}, mmapiotest.OrderedPrefix: {"", "f=", "f=A"},
			},
		},
		"created and renamed": {
			trace(create("tmp", 1), write(1, 0, fill('A', page)), syncFile(1), rename("tmp", "f", 1)),
			map[mmapiotest.Mode][]string{
				mmapiotest.SyncedOnly: {""}, mmapiotest.Everything: {"f=A"}, mmapiotest.OrderedPrefix: {"", "f=A", "tmp=A"},
				mmapiotest.NamesWithData: {"", "f=A", "tmp=A"}, mmapiotest.BothNames: {"", "f=A tmp=A"},
			},
		},
		"renamed over another": {
			trace(version, rename("newVersion", "version", 2)),
			map[mmapiotest.Mode][]string{
				mmapiotest.SyncedOnly: {"newVersion=N version=V"}, mmapiotest.Everything: {"version=N"},
				mmapiotest.NamesWithoutData: {"newVersion=N version=V", "version=N"},
				mmapiotest.BothNames:        {"newVersion=N version=N"},
			},
		},
		"renamed twice": {
			trace(durableFile("a", 1, fill('A', page)), rename("a", "b", 1), rename("b", "c", 1)),
			map[mmapiotest.Mode][]string{
				mmapiotest.SyncedOnly: {"a=A"}, mmapiotest.Everything: {"c=A"},
				mmapiotest.NamesWithData: {"a=A", "b=A", "c=A"}, mmapiotest.BothNames: {"a=A b=A c=A"},
			},
		},
		"removed": {
			trace(durableFile("a", 1, fill('A', page)), remove("a", 1)),
			map[mmapiotest.Mode][]string{
				mmapiotest.SyncedOnly: {"a=A"}, mmapiotest.Everything: {""},
				mmapiotest.NamesWithData: {"", "a=A"}, mmapiotest.BothNames: {"", "a=A"},
			},
		},
		"removed and made again": {
			trace(durableFile("a", 1, fill('A', page)), remove("a", 1), create("a", 2), write(2, 0, fill('B', page))),
			map[mmapiotest.Mode][]string{
				mmapiotest.SyncedOnly: {"a=A"}, mmapiotest.Everything: {"a=B"}, mmapiotest.NamesWithoutData: {"", "a=", "a=A"},
			},
		},
		"failed": {
			trace(durableFile("a", 1, fill('A', page)), failed(rename("a", "b", 1), errors.New("EIO")), failed(remove("a", 1), errors.New("EIO"))),
			map[mmapiotest.Mode][]string{mmapiotest.SyncedOnly: {"a=A"}, mmapiotest.Everything: {"a=A"}, mmapiotest.NamesWithData: {"a=A"}},
		},
		"directory sync failed": {
			trace(durableFile("a", 1, fill('A', page)), rename("a", "b", 1), failed(syncDir, errors.New("EIO"))),
			map[mmapiotest.Mode][]string{mmapiotest.SyncedOnly: {"a=A"}, mmapiotest.Everything: {"b=A"}},
		},
	} {
		for mode, want := range c.want {
			assert.Equal(t, want, sketches(c.trace, atEnd(c.trace), mode, page), "%s: %s", name, mode)
		}
	}
}

func TestDurableWrites(t *testing.T) {
	before := durableFile("f", 1, fill('A', 4*page))
	for name, c := range map[string]struct {
		trace mmapiotest.Trace
		want  string // with SyncedOnly
		all   string // with Everything
	}{
		"durable":                 {trace(writeDurable(1, page, fill('B', page))), "f=ABAA", "f=ABAA"},
		"beyond the end":          {trace(writeDurable(1, 5*page, fill('B', page))), "f=AAAA.B", "f=AAAA.B"},
		"over pending":            {trace(write(1, 0, fill('B', 4*page)), writeDurable(1, page, fill('C', page))), "f=ACAA", "f=BCBB"},
		"under pending":           {trace(writeDurable(1, page, fill('C', page)), write(1, 0, fill('B', 4*page))), "f=ACAA", "f=BBBB"},
		"and then synced":         {trace(write(1, 0, fill('B', 4*page)), writeDurable(1, page, fill('C', page)), syncFile(1)), "f=BCBB", "f=BCBB"},
		"sync of another":         {trace(create("g", 2), write(1, 0, fill('B', page)), syncFile(2)), "f=AAAA", "f=BAAA g="},
		"killed in it":            {trace(failed(writeDurable(1, 0, fill('B', page)), mmapiotest.ErrKilled)), "f=AAAA", "f=BAAA"},
		"killed in it and synced": {trace(failed(writeDurable(1, 0, fill('B', page)), mmapiotest.ErrKilled), syncFile(1)), "f=BAAA", "f=BAAA"},
	} {
		tr := trace(before, c.trace)
		assert.Equal(t, c.want, sketch(tr.Crash(atEnd(tr), mmapiotest.SyncedOnly, 1), page), name)
		assert.Equal(t, c.all, sketch(tr.Crash(atEnd(tr), mmapiotest.Everything, 1), page), name)
	}
}

func TestCutInsideDurableWrite(t *testing.T) {
	tr := trace(durableFile("f", 1, fill('A', sector)), writeDurable(1, 0, fill('B', sector)))
	r := tr.Replayer()
	at := len(tr) - 1
	for _, c := range []struct {
		cut  mmapiotest.Cut
		mode mmapiotest.Mode
		want string
	}{
		{mmapiotest.Cut{Op: at}, mmapiotest.Everything, "f=A"},
		{mmapiotest.Cut{Op: at, Inside: true}, mmapiotest.SyncedOnly, "f=A"},
		{mmapiotest.Cut{Op: at, Inside: true}, mmapiotest.Everything, "f=B"},
		{mmapiotest.Cut{Op: at}, mmapiotest.Everything, "f=A"}, // the cut inside has left nothing behind
		{mmapiotest.Cut{Op: at + 1}, mmapiotest.SyncedOnly, "f=B"},
		{mmapiotest.Cut{Op: at, Inside: true}, mmapiotest.SizeZeros, "f=."}, // back again
	} {
		assert.Equal(t, c.want, sketch(r.Image(c.cut, c.mode, 1), sector), "%s: %s", c.cut, c.mode)
	}
	tr = trace(durableFile("f", 1, fill('A', sector)), rename("f", "g", 1), syncDir)
	assert.Equal(t, []string{"f=A", "g=A"}, sketches(tr, mmapiotest.Cut{Op: 4, Inside: true}, mmapiotest.OrderedPrefix, sector))
	assert.Equal(t, "g=A", sketch(tr.Crash(atEnd(tr), mmapiotest.SyncedOnly, 1), sector))
}

// After a sync has failed, one that succeeds proves nothing for the bytes of before.
func TestFailedSync(t *testing.T) {
	eio := errors.New("EIO")
	before := trace(durableFile("f", 1, fill('A', 2*page)), write(1, 0, fill('B', 2*page)), failed(syncFile(1), eio))
	for name, c := range map[string]struct {
		trace mmapiotest.Trace
		want  string // with SyncedOnly
	}{
		"alone":                     {nil, "f=AA"},
		"synced again":              {trace(syncFile(1)), "f=AA"},
		"written again":             {trace(write(1, page, fill('C', page)), syncFile(1)), "f=AC"},
		"read around the cache":     {trace(readAround(1, 0, fill('B', 2*page)), syncFile(1)), "f=AA"},
		"synced and read around":    {trace(syncFile(1), readAround(1, 0, fill('B', page))), "f=BA"},
		"read around, found old":    {trace(syncFile(1), readAround(1, 0, fill('A', 2*page))), "f=AA"},
		"a write fails in between":  {trace(syncFile(1), failed(write(1, 0, fill('D', page)), eio), readAround(1, 0, fill('D', page))), "f=AA"},
		"a failed write, synced":    {trace(syncFile(1), failed(write(1, 0, fill('D', page)), eio), syncFile(1)), "f=AA"},
		"a failed write, confirmed": {trace(failed(write(1, 0, fill('D', page)), eio), syncFile(1), readAround(1, 0, fill('D', page))), "f=DA"},
	} {
		tr := trace(before, c.trace)
		assert.Equal(t, c.want, sketch(tr.Crash(atEnd(tr), mmapiotest.SyncedOnly, 1), page), name)
	}
}

func TestThereAreSeventeenModes(t *testing.T) {
	all := mmapiotest.Modes()
	require.Len(t, all, 17)
	names := make(map[string]bool)
	for _, m := range all {
		names[m.String()] = true
	}
	assert.Len(t, names, 17)
}
