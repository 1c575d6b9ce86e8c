package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
)

// behind changes a file behind the back of who has it mapped.
type behind struct {
	t      *testing.T
	name   string
	plain  *os.File // changes the page cache, and with it what is mapped
	direct *os.File // nil if the file system has no direct writes; changes the disk: the kernel evicts the pages, mapped or not, and the next read fetches them again
	size   int64
	block  []byte // aligned for direct calls
}

func newBehind(t *testing.T, dir, name string) *behind {
	b := &behind{t: t, name: name}
	var err error
	path := filepath.Join(dir, name)
	b.plain, err = os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { b.plain.Close() })
	b.direct, err = os.OpenFile(path, os.O_RDWR|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		t.Logf("no direct writes on this file system: nothing is evicted")
		b.direct = nil
	} else {
		require.NoError(t, err)
		t.Cleanup(func() { b.direct.Close() })
	}
	info, err := b.plain.Stat()
	require.NoError(t, err)
	b.size = info.Size()
	room := make([]byte, 2*format.BlockSize)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(room))) % format.BlockSize
	b.block = room[skip:][:format.BlockSize]
	return b
}

// flip changes a bit, on the disk if evicting says so. A block that is not whole can be written in the page cache alone.
func (b *behind) flip(bit int64, evicting bool) {
	at := bit / 8
	start := at &^ (format.BlockSize - 1)
	f, p := b.plain, b.block[:1]
	if evicting = evicting && b.direct != nil && start+format.BlockSize <= b.size; evicting {
		f, p, at = b.direct, b.block, start
	}
	_, err := f.ReadAt(p, at)
	require.NoError(b.t, err)
	p[bit/8-at] ^= 1 << (bit % 8)
	_, err = f.WriteAt(p, at)
	require.NoError(b.t, err)
}

// mapped are the bits of the files that an open maps: those of the records and the indexes that reads need, and what lies between.
func (s *sealed) mapped(from, step int64) (out []rotBit) {
	live := s.live()
	for _, name := range s.names() {
		n, isLog := format.ParseLogName(name)
		if name != format.CheckpointName(s.named) && (!isLog || n < s.named) {
			continue
		}
		var end int64
		for _, p := range s.parts[name] {
			if p.what != "rest" {
				end = p.to * 8
			}
		}
		for bit := from % step; bit < end; bit += step {
			at := bit / 8
			needed := s.partAt(name, at).fate == atRead || slices.ContainsFunc(live[name], func(r recordAt) bool { return at >= r.from && at < r.to })
			if s.partAt(name, at).to-s.partAt(name, at).from < 10_000 || bit/step%16 == 0 { // the large record is deleted
				out = append(out, rotBit{name, bit, needed})
			}
		}
	}
	return out
}

// rotBit is a bit of a mapped file. needed says that a read has to notice when it changes.
type rotBit struct {
	name   string
	bit    int64
	needed bool
}

// live are the records in the logs that are the last of their keys.
func (s *sealed) live() map[string][]recordAt {
	out := map[string][]recordAt{}
	seen := map[string]bool{}
	for _, name := range []string{s.newest, format.LogName(s.named)} { // the later one first
		for _, f := range slices.Backward(s.frames[name]) {
			for _, r := range slices.Backward(f.records) {
				if !seen[r.key] {
					out[name] = append(out[name], r)
				}
				seen[r.key] = true
			}
		}
	}
	return out
}

// Bits that change while the database is open, in the page cache or on the disk below it: every read gives the exact value or says what is damaged, writes go on,
// and once the bits are put back everything is as it was.
func TestRotAfterOpen(t *testing.T) {
	seed := enginetest.Seed(t, 1)
	s := seal(t, sealedClean, t.TempDir())
	db, err := engine.Open(s.opts)
	require.NoError(t, err)
	defer db.Close()
	require.Zero(t, s.compare(t, rot{what: "as it was sealed"}, db, s.last))
	rng := rand.New(rand.NewPCG(seed, 0))
	files := map[string]*behind{}
	found, evicted, more := 0, 0, 0
	step := int64(1)
	if !long {
		step = 149
	}
	bits := s.mapped(rng.Int64N(step), step)
	for i, bit := range bits {
		if files[bit.name] == nil {
			files[bit.name] = newBehind(t, s.opts.Dir, bit.name)
		}
		d := s.rotOfBit(bit.name, bit.bit)
		evicting := rng.IntN(4) == 0
		files[bit.name].flip(bit.bit, evicting)
		bad := s.reads(t, d, db, s.last)
		if s.partAt(bit.name, bit.bit/8).what == deadlinesSegment {
			_ = db.Stats() // counts what is due
			bad++
		}
		require.True(t, bad > 0 || !bit.needed, "%s: not noticed", d.what)
		if bad > 0 {
			require.ErrorIs(t, db.Stats().Damage, engine.ErrCorrupt)
			found++
			if evicting {
				evicted++
			}
		}
		if i%max(1, len(bits)/40) == 0 {
			more++
			w := modelWrite{key: fmt.Sprintf("more-%03d", more), value: d.what}
			next := s.last.clone()
			next.version = db.Version()
			next.write(w)
			set(t, db, w.key, w.value)
			s.last, s.keys = &next, append(s.keys, w.key)
			require.Equal(t, next.version, db.Version())
		}
		files[bit.name].flip(bit.bit, evicting)
		if i%8 == 0 {
			require.Zero(t, s.reads(t, d, db, s.last), "%s: put back", d.what)
		}
	}
	t.Logf("%d bits flipped under an open database, %d met by reads (%d of them read again from the disk), %d keys written meanwhile; 0 wrong values",
		len(bits), found, evicted, more)
	require.GreaterOrEqual(t, found, 100)
	if files[s.newest].direct != nil {
		require.GreaterOrEqual(t, evicted, 10)
	}
	require.NoError(t, db.Checkpoint(ctx))
	require.Zero(t, s.reads(t, rot{what: "a checkpoint"}, db, s.last))
	require.NoError(t, db.Close())
	enginetest.CheckFiles(t, s.opts.Dir)
}

// Of a checkpoint and a backup, too, damage in what they need is the end, unless the checkpoint finds another way to the exact state; afterwards all is well.
func TestRotUnderACheckpoint(t *testing.T) {
	seed := enginetest.Seed(t, 1)
	s := seal(t, sealedClean, t.TempDir())
	rng := rand.New(rand.NewPCG(seed, 0))
	bits := s.mapped(0, 1)
	bits = slices.DeleteFunc(bits, func(b rotBit) bool { return !b.needed })
	refused, done, lost := 0, 0, 0
	for n := range enginetest.Times(16, 2000) {
		bit := bits[rng.IntN(len(bits))]
		d := s.rotOfBit(bit.name, bit.bit)
		s.lay(t, nil)
		db, err := engine.Open(s.opts)
		require.NoError(t, err)
		if n%2 == 0 {
			require.Zero(t, s.reads(t, d, db, s.last))
		}
		b := newBehind(t, s.opts.Dir, bit.name)
		b.flip(bit.bit, n%3 != 0)
		_ = s.backup(t, d, db, s.last) // exact, or refused
		next := s.last.clone()
		next.version = db.Version()
		for _, key := range []string{"kept-4", "changed-2", "new"} { // one of them may be the damaged one
			next.write(modelWrite{key: key, value: "more"})
			require.Equal(t, next.version, set(t, db, key, "more"))
		}
		s.reads(t, d, db, &next)
		if err := db.Checkpoint(ctx); err != nil {
			s.requirePlace(t, d, err)
			require.ErrorIs(t, db.Stats().Damage, engine.ErrCorrupt)
			refused++
			s.reads(t, d, db, &next)
			b.flip(bit.bit, n%3 != 0)
			if db.Checkpoint(ctx) != nil { // a key that was written while its record could not be read
				lost++
			} else {
				require.Zero(t, s.reads(t, d, db, &next), d.what)
			}
		} else {
			done++
			require.Zero(t, s.reads(t, d, db, &next), d.what)
		}
		require.NoError(t, db.Close())
		again, err := engine.Open(s.opts)
		require.NoError(t, err, d.what)
		require.Zero(t, s.compare(t, d, again, &next), d.what)
		require.NoError(t, again.Close())
	}
	t.Logf("%d bits flipped under a checkpoint: %d refused (%d until the next open), %d made all the same; 0 wrong states", refused+done, refused, lost, done)
	require.NotZero(t, refused)
}
