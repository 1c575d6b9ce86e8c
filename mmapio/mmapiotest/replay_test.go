package mmapiotest_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// script performs random calls on a directory.
type script struct {
	t    *testing.T
	rng  *rand.Rand
	rec  *mmapiotest.Recorder
	path string
	dir  mmapio.Dir
	open map[string]mmapio.File // by present name
	next int
}

func newScript(t *testing.T, seed uint64) *script {
	s := &script{t: t, rng: rand.New(rand.NewPCG(seed, 0)), rec: mmapiotest.NewRecorder(), path: t.TempDir()}
	require.NoError(t, os.WriteFile(filepath.Join(s.path, "before"), s.bytes(5000), 0o600))
	s.reopen()
	return s
}

func (s *script) reopen() {
	d, err := s.rec.OpenDir(s.path, false)
	require.NoError(s.t, err)
	require.NoError(s.t, d.Lock("LOCK"))
	s.dir, s.open = d, make(map[string]mmapio.File)
	names, err := d.Names()
	require.NoError(s.t, err)
	for _, name := range names {
		if name == "LOCK" {
			continue
		}
		mode := []mmapio.Mode{mmapio.Write, mmapio.WriteDurable}[s.rng.IntN(2)]
		s.open[name], err = d.Open(name, mode)
		require.NoError(s.t, err)
	}
}

func (s *script) bytes(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(s.rng.Uint32())
	}
	return out
}

// pick chooses an open file.
func (s *script) pick() (string, mmapio.File) {
	names := slices.Sorted(maps.Keys(s.open))
	if len(names) == 0 {
		return s.create()
	}
	name := names[s.rng.IntN(len(names))]
	return name, s.open[name]
}

func (s *script) create() (string, mmapio.File) {
	s.next++
	name := fmt.Sprintf("file.%d", s.next)
	f, err := s.dir.Create(name)
	require.NoError(s.t, err)
	s.open[name] = f
	return name, f
}

func (s *script) step() {
	name, f := s.pick()
	switch s.rng.IntN(12) {
	case 0:
		s.create()
	case 1:
		to := name + "x"
		if other, _ := s.pick(); s.rng.IntN(2) == 0 && other != name {
			to = other // in place of another
		}
		require.NoError(s.t, s.dir.Rename(name, to))
		delete(s.open, name)
		s.open[to] = f
	case 2:
		require.NoError(s.t, s.dir.Remove(name))
		delete(s.open, name)
	case 3:
		require.NoError(s.t, s.dir.Sync())
	case 4, 5:
		require.NoError(s.t, f.Sync())
	case 6:
		if s.rng.IntN(4) == 0 {
			s.rec.Kill()
			s.reopen()
		}
	default:
		_, err := f.WriteAt(s.bytes(s.rng.IntN(10_000)), s.rng.Int64N(20_000))
		require.NoError(s.t, err)
	}
}

// onDisk reads a directory as it is.
func onDisk(t *testing.T, path string) mmapiotest.Image {
	t.Helper()
	entries, err := os.ReadDir(path)
	require.NoError(t, err)
	m := mmapiotest.Image{}
	for _, e := range entries {
		if e.Name() != "LOCK" {
			m[e.Name()], err = os.ReadFile(filepath.Join(path, e.Name()))
			require.NoError(t, err)
		}
	}
	return m
}

// The model of the page cache agrees with the real one.
func TestEverythingIsWhatTheDirectoryHolds(t *testing.T) {
	for seed := range uint64(20) {
		s := newScript(t, seed)
		for range 60 {
			s.step()
			if s.rng.IntN(10) == 0 {
				tr := s.rec.Trace()
				require.Equal(t, onDisk(t, s.path), tr.Crash(atEnd(tr), mmapiotest.Everything, seed), "seed %d", seed)
			}
		}
	}
}

// durability is another model of the same thing, a byte at a time.
type durability map[int]*durableBytes // by inode

// durableBytes are a file's durable bytes, and those being written.
type durableBytes struct {
	content []byte
	pending map[int64]byte
}

func (f *durableBytes) write(off int64, data []byte, durable bool) {
	for i, b := range data {
		at := off + int64(i)
		if !durable {
			f.pending[at] = b
			continue
		}
		delete(f.pending, at)
		f.set(at, b)
	}
}

func (f *durableBytes) set(at int64, b byte) {
	for int64(len(f.content)) <= at {
		f.content = append(f.content, 0)
	}
	f.content[at] = b
}

func (d durability) follow(op mmapiotest.Op) {
	switch op.Kind {
	case mmapiotest.Base:
		d[op.Inode] = &durableBytes{content: slices.Clone(op.Data), pending: map[int64]byte{}}
	case mmapiotest.Create:
		d[op.Inode] = &durableBytes{pending: map[int64]byte{}}
	case mmapiotest.WriteAt:
		d[op.Inode].write(op.Off, op.Data, op.Durable)
	case mmapiotest.Sync:
		f := d[op.Inode]
		for at, b := range f.pending {
			f.set(at, b)
		}
		clear(f.pending)
	}
}

// durableNames replays the operations before the last directory sync.
func durableNames(t mmapiotest.Trace) map[string]int {
	names, now := map[string]int{}, map[string]int{}
	for _, op := range t {
		switch op.Kind {
		case mmapiotest.Base:
			names[op.Name], now[op.Name] = op.Inode, op.Inode
		case mmapiotest.Create:
			now[op.Name] = op.Inode
		case mmapiotest.Rename:
			delete(now, op.Name)
			now[op.NewName] = op.Inode
		case mmapiotest.Remove:
			delete(now, op.Name)
		case mmapiotest.SyncDir:
			names = maps.Clone(now)
		}
	}
	return names
}

// settledNames are those of the durable names that no pending operation touches.
func settledNames(t mmapiotest.Trace) map[string]int {
	names := durableNames(t)
	last := 0
	for i, op := range t {
		if op.Kind == mmapiotest.SyncDir {
			last = i
		}
	}
	for _, op := range t[last:] {
		switch op.Kind {
		case mmapiotest.Create, mmapiotest.Rename, mmapiotest.Remove:
			maps.DeleteFunc(names, func(name string, inode int) bool {
				return name == op.Name || name == op.NewName || inode == op.Inode
			})
		}
	}
	return names
}

// check says that an image keeps what is durable, while during may be under way.
func (d durability) check(t *testing.T, m mmapiotest.Image, settled map[string]int, during mmapiotest.Op) {
	t.Helper()
	for name, inode := range settled {
		got, ok := m[name]
		require.True(t, ok, "%s is durable", name)
		f := d[inode]
		require.GreaterOrEqual(t, len(got), len(f.content), "%s is durably longer", name)
		damaged := make(map[int64]bool)
		for at := range f.pending {
			damaged[at/page] = true
		}
		if during.Kind == mmapiotest.WriteAt && during.Inode == inode {
			for at := during.Off; at < during.Off+during.Len; at++ {
				damaged[at/page] = true
			}
		}
		for from := 0; from < len(f.content); from += page {
			if to := min(from+page, len(f.content)); !damaged[int64(from/page)] {
				require.Equal(t, f.content[from:to], got[from:to], "%s from %d", name, from)
			}
		}
	}
}

func TestNoModeLosesWhatIsDurable(t *testing.T) {
	for seed := range uint64(4) {
		s := newScript(t, seed)
		for range 60 {
			s.step()
		}
		tr := s.rec.Trace()
		r := tr.Replayer()
		d := durability{}
		for i := range tr {
			before, during := settledNames(tr[:i]), settledNames(tr[:i+1])
			maps.DeleteFunc(during, func(name string, _ int) bool { return before[name] == 0 })
			for _, mode := range mmapiotest.Modes() {
				d.check(t, r.Image(mmapiotest.Cut{Op: i}, mode, seed), before, mmapiotest.Op{})
				d.check(t, r.Image(mmapiotest.Cut{Op: i, Inside: true}, mode, seed), during, tr[i])
			}
			d.follow(tr[i])
		}
		synced := r.Image(atEnd(tr), mmapiotest.SyncedOnly, seed)
		require.Equal(t, slices.Sorted(maps.Keys(durableNames(tr))), synced.Names())
		for name, inode := range durableNames(tr) {
			require.Equal(t, string(d[inode].content), string(synced[name]), name)
		}
	}
}

func TestImagesAreDeterminedByTheirArguments(t *testing.T) {
	s := newScript(t, 1)
	for range 60 {
		s.step()
	}
	tr := s.rec.Trace()
	r := tr.Replayer()
	differ := make(map[mmapiotest.Mode]bool)
	var images []mmapiotest.Image
	var hashes []uint64
	for _, cut := range tr.Cuts() {
		for _, mode := range mmapiotest.Modes() {
			m := r.Image(cut, mode, 7)
			require.Equal(t, m, r.Image(cut, mode, 7), "%s: %s", cut, mode)
			require.Equal(t, m.Hash(), tr.Crash(cut, mode, 7).Hash(), "%s: %s, by another replayer", cut, mode)
			differ[mode] = differ[mode] || m.Hash() != r.Image(cut, mode, 8).Hash()
			images, hashes = append(images, m), append(hashes, m.Hash())
		}
	}
	for i, m := range images {
		require.Equal(t, hashes[i], m.Hash(), "a later image has changed an earlier one")
	}
	for _, mode := range mmapiotest.Modes() {
		switch mode {
		case mmapiotest.SyncedOnly, mmapiotest.Everything, mmapiotest.SizeZeros, mmapiotest.DataWithoutSize:
			assert.False(t, differ[mode], "%s leaves nothing to chance", mode)
		default:
			assert.True(t, differ[mode], "%s depends on the seed", mode)
		}
	}
}

func TestCuts(t *testing.T) {
	tr := trace(create("f", 1), write(1, 0, fill('A', page)), mmapiotest.Op{Kind: mmapiotest.ReadAt},
		syncFile(1), mmapiotest.Op{Kind: mmapiotest.Mark}, mmapiotest.Op{Kind: mmapiotest.CloseFile})
	assert.Equal(t, []mmapiotest.Cut{{Op: 0}, {Op: 0, Inside: true}, {Op: 1}, {Op: 1, Inside: true}, {Op: 3}, {Op: 4}, {Op: 6}}, tr.Cuts())
	assert.Panics(t, func() { tr.Crash(mmapiotest.Cut{Op: 7}, mmapiotest.Everything, 0) })
	assert.Panics(t, func() { tr.Crash(mmapiotest.Cut{Op: 6, Inside: true}, mmapiotest.Everything, 0) })
}
