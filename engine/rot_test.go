package engine_test

import (
	"bytes"
	"fmt"
	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

// eachSealing runs a test on a directory of each kind.
func eachSealing(t *testing.T, test func(t *testing.T, s *sealed)) {
	for _, how := range sealings {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			test(t, seal(t, how, inMemory(t)))
		})
	}
}

// bits are the bits of a file to flip: with SMALLDB_TEST_LONG all; otherwise many where headers are and where bytes mean something, and few elsewhere.
func (s *sealed) bits(name string) (out []int64) {
	size := int64(len(s.files[name])) * 8
	if long {
		for bit := range size {
			out = append(out, bit)
		}
		return out
	}
	for i, p := range s.parts[name] {
		dense, stride := int64(0), int64(40_009)
		switch {
		case p.fate == unharmed:
		case p.what == "all":
			dense = p.to
		case p.what == "frame":
			dense, stride = format.FrameHeaderLen, 1327
			if i%8 != 0 { // of most the magic number will do
				dense = 4
			}
		case p.what == "directory and footer":
			dense, stride = p.to, 0
		default:
			dense, stride = 88, 521
		}
		at := p.from * 8
		for ; at < min(p.to, p.from+dense)*8; at += 13 {
			out = append(out, at)
		}
		for ; at < p.to*8 && stride > 0; at += stride {
			out = append(out, at)
		}
		out = append(out, p.to*8-1)
	}
	return out
}

// rotOfBit is the damage of one bit, without the content that it leads to.
func (s *sealed) rotOfBit(name string, bit int64) rot {
	p := s.partAt(name, bit/8)
	return rot{what: fmt.Sprintf("%s, bit %d of byte %d (%s)", name, bit%8, bit/8, p.what), changed: map[string][]byte{name: nil}, within: p, at: bit / 8}
}

// Every flipped bit has the fate that its place gives it.
func TestRotBits(t *testing.T) {
	eachSealing(t, func(t *testing.T, s *sealed) {
		y := rotTally{}
		for _, name := range s.names() {
			for i, bit := range s.bits(name) {
				data := slices.Clone(s.files[name])
				data[bit/8] ^= 1 << (bit % 8)
				d := s.rotOfBit(name, bit)
				d.changed[name] = data
				f := s.judge(t, d, i%61 == 0)
				require.Equal(t, s.expected(name, data).String(), f.String(), d.what)
				y.add(name, f)
			}
		}
		_, all := y.log(t, "bits flipped")
		require.GreaterOrEqual(t, all, 700)
	})
}

const rotSector = 512

// Every sector that holds something else has the fate of what lay in it: zeros, ones, and other sectors, of the same file and of others (a misdirected write).
func TestRotSectors(t *testing.T) {
	seed := enginetest.Seed(t, 1)
	eachSealing(t, func(t *testing.T, s *sealed) {
		rng := rand.New(rand.NewPCG(seed, 0))
		y := rotTally{}
		i := 0
		judge := func(name, what string, at int, over []byte) {
			data := slices.Clone(s.files[name])
			if copy(data[at:], over); bytes.Equal(data, s.files[name]) {
				return
			}
			d := rot{what: fmt.Sprintf("%s, %s over the sector at %d (%s)", name, what, at, s.partAt(name, int64(at)).what), changed: map[string][]byte{name: data}}
			i++
			f := s.judge(t, d, i%37 == 0)
			require.Equal(t, s.expected(name, data).String(), f.String(), d.what)
			y.add(name, f)
		}
		sectors := s.sectors()
		for _, to := range sectors {
			if !long && s.expected(to.name, slices.Concat(s.files[to.name][:to.at], []byte{0x55}, s.files[to.name][to.at+1:])) == unharmed && rng.IntN(8) > 0 {
				continue // one as good as the other
			}
			judge(to.name, "zeros", to.at, make([]byte, len(to.data)))
			judge(to.name, "ones", to.at, bytes.Repeat([]byte{0xff}, len(to.data)))
			from := sectors
			if !long {
				from = nil
				for range 2 {
					from = append(from, sectors[rng.IntN(len(sectors))])
				}
			}
			for _, other := range from {
				judge(to.name, fmt.Sprintf("%s at %d", other.name, other.at), to.at, other.data[:min(len(other.data), len(to.data))])
			}
		}
		_, all := y.log(t, "sectors")
		require.GreaterOrEqual(t, all, 150)
	})
}

// sector is a part of a file.
type sector struct {
	name string
	at   int
	data []byte
}

// sectors are those of all files; of the same ones only the first, unless there is time.
func (s *sealed) sectors() (out []sector) {
	seen := map[string]bool{}
	for _, name := range s.names() {
		for at := 0; at < len(s.files[name]); at += rotSector {
			data := s.files[name][at:min(at+rotSector, len(s.files[name]))]
			if zero := !bytes.ContainsFunc(data, func(r rune) bool { return r != 0 }); long || !zero || !seen[name] {
				out = append(out, sector{name, at, data})
				seen[name] = seen[name] || zero
			}
		}
	}
	return out
}

// Every other length of a file has the fate of a file that is not whole.
func TestRotLengths(t *testing.T) {
	eachSealing(t, func(t *testing.T, s *sealed) {
		y := rotTally{}
		for _, name := range s.names() {
			whole := s.files[name]
			var contents [][]byte
			for _, n := range s.lengths(name) {
				contents = append(contents, whole[:n])
			}
			for _, more := range [][]byte{{0}, {'0'}, make([]byte, rotSector), make([]byte, format.BlockSize), whole} {
				if len(more) > 0 {
					contents = append(contents, slices.Concat(whole, more))
				}
			}
			for i, data := range contents {
				d := rot{what: fmt.Sprintf("%s with %d bytes instead of %d", name, len(data), len(whole)), changed: map[string][]byte{name: data}}
				f := s.judge(t, d, i%23 == 0)
				require.Equal(t, s.expected(name, data).String(), f.String(), d.what)
				y.add(name, f)
			}
		}
		_, all := y.log(t, "lengths")
		require.GreaterOrEqual(t, all, 150)
	})
}

// lengths are those to cut a file to: with SMALLDB_TEST_LONG all.
func (s *sealed) lengths(name string) (out []int) {
	n := len(s.files[name])
	for at := range n {
		if long || n < 200 && at%5 == 0 || at < 20 && at%4 == 0 || at%7919 == 0 || at >= n-2 {
			out = append(out, at)
		}
	}
	if !long {
		for _, p := range s.parts[name] {
			if i := int(p.to); i < n && p.what != "padding" && i%3 == 0 {
				out = append(out, i-1, i)
			}
		}
	}
	return out
}

// Whole files that are gone, of earlier, of another name, one or two at a time: the state is the exact one, or, where the newest log is an earlier one, that of then.
func TestRotFiles(t *testing.T) {
	eachSealing(t, func(t *testing.T, s *sealed) {
		names := s.names()
		y := rotTally{}
		judge := func(kind, what string, changed map[string][]byte) fate {
			f := s.judge(t, rot{what: what, changed: changed}, true)
			y.add(kind, f)
			return f
		}
		for i, a := range names {
			f := judge("deleted", a+" deleted", map[string][]byte{a: nil})
			require.Equal(t, s.deleted(a).String(), f.String(), "%s deleted", a)
			for _, b := range names[i+1:] {
				judge("two deleted", a+" and "+b+" deleted", map[string][]byte{a: nil, b: nil})
				judge("exchanged", a+" and "+b+" exchanged", map[string][]byte{a: s.files[b], b: s.files[a]})
				judge("one twice", a+" twice, also as "+b, map[string][]byte{b: s.files[a]})
				judge("one twice", b+" twice, also as "+a, map[string][]byte{a: s.files[b]})
			}
			for j, earlier := range s.earlier {
				if data := earlier[a]; data != nil && !bytes.Equal(data, s.files[a]) {
					what := fmt.Sprintf("%s as it was at %d", a, j)
					f := judge("of earlier", what, map[string][]byte{a: data})
					require.True(t, f != atRead && (f != looksTorn || a == s.newest), "%s: %v", what, f)
				}
			}
		}
		sum, all := y.log(t, "files")
		require.GreaterOrEqual(t, all, 120)
		require.NotZero(t, sum[looksTorn], "a lost write of the newest log")
	})
}

// deleted is what becomes of a directory without one of its files.
func (s *sealed) deleted(name string) fate {
	n, isLog := format.ParseLogName(name)
	switch {
	case name == format.CheckpointName(s.named):
		return repaired
	case name == format.VersionName && s.how != sealedInSwitch, isLog && n >= s.named:
		return refused
	}
	return unharmed
}

// A checkpoint in which reads meet damage is rebuilt from the kept one once it is moved away.
func TestRotMovedAway(t *testing.T) {
	eachSealing(t, func(t *testing.T, s *sealed) {
		name := format.CheckpointName(s.named)
		n := 0
		for _, p := range s.parts[name] {
			if p.fate != atRead {
				continue
			}
			for at := p.from; at < p.to; at += max(1, (p.to-p.from)/int64(enginetest.Times(3, 30))) {
				data := slices.Clone(s.files[name])
				data[at] ^= 0x10
				d := rot{what: fmt.Sprintf("%s at %d", name, at), changed: map[string][]byte{name: data}}
				require.Equal(t, atRead, s.judge(t, d, false), d.what)
				require.NoError(t, os.Rename(filepath.Join(s.opts.Dir, name), s.opts.Dir+"-moved"))
				require.NoError(t, os.Remove(s.opts.Dir+"-moved"))
				db, err := engine.Open(s.opts)
				require.NoError(t, err, d.what)
				require.Len(t, db.Stats().Recovery.Repaired, 1, d.what)
				require.Zero(t, s.compare(t, d, db, s.last), d.what)
				s.goOn(t, d, db, s.last, repaired)
				n++
			}
		}
		t.Logf("%d damaged checkpoints moved away, all rebuilt", n)
		require.GreaterOrEqual(t, n, 12)
	})
}

// A database that has never made a checkpoint, or was just restored, has only files that a creation makes, too. Whichever of them is missing, Create makes no new
// one in its place. Only without version and without the only log there is no telling it from a creation or a restore that a crash ended: then there is no database.
func TestRotOfTheFirstGeneration(t *testing.T) {
	for _, how := range []string{"written", "restored"} {
		for _, create := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/create=%t", how, create), func(t *testing.T) {
				opts, _ := timed(t)
				db, err := engine.Open(opts)
				require.NoError(t, err)
				defer db.Close()
				set(t, db, "k", "v")
				if how == "restored" {
					_, data := backup(t, db)
					opts = restore(t, data)
				}
				require.NoError(t, db.Close())
				opts.Create = create
				s := &sealed{opts: opts, files: files(t, opts.Dir), keys: []string{"k", "other"}, last: &modelState{
					entries: map[string]modelEntry{"k": {value: "v", version: engine.Version{Epoch: 1, Seq: 1}}}}}
				names := s.names()
				for i, a := range names {
					for _, b := range names[i:] {
						left := s.lay(t, map[string][]byte{a: nil, b: nil})
						db, err := engine.Open(opts)
						if left[format.VersionName] == nil && left[format.LogName(1)] == nil {
							anew := create && (how == "written" || left[format.CheckpointName(1)] == nil) // else there are keys
							require.Equal(t, anew, err == nil, "%s, %s: %v", a, b, err)
							if anew {
								require.True(t, db.Stats().Recovery.Created)
								require.NoError(t, db.Close())
							}
							continue
						}
						if err != nil {
							require.ErrorIs(t, err, engine.ErrCorrupt, "%s, %s", a, b)
							requireUntouched(t, opts.Dir, left)
							continue
						}
						require.Zero(t, s.reads(t, rot{what: a + " and " + b + " deleted"}, db, s.last))
						require.NoError(t, db.Close())
					}
				}
			})
		}
	}
}

// A damaged checkpoint that the state was rebuilt without is left behind by the next one: it is not what that one would be repaired from.
func TestRotRepairedTwice(t *testing.T) {
	s := seal(t, sealedClean, inMemory(t))
	state := s.last.clone()
	for round := range 4 {
		named := format.VersionName
		for name := range files(t, s.opts.Dir) {
			if n, ok := format.ParseCheckpointName(name); ok && n > s.previous {
				named = name
			}
		}
		if round%2 == 0 {
			flip(t, filepath.Join(s.opts.Dir, format.VersionName), 20)
		}
		db, err := engine.Open(s.opts)
		require.NoError(t, err)
		require.NoError(t, db.Close())
		flip(t, filepath.Join(s.opts.Dir, named), 40)
		db, err = engine.Open(s.opts)
		require.NoError(t, err, "round %d, %s", round, named)
		require.NotEmpty(t, db.Stats().Recovery.Repaired)
		d := rot{what: fmt.Sprint("round ", round)}
		require.Zero(t, s.reads(t, d, db, &state))
		state.version = db.Version()
		state.write(modelWrite{key: "kept-5", value: d.what})
		set(t, db, "kept-5", d.what)
		require.NoError(t, db.Checkpoint(ctx))
		require.NoError(t, db.Close())
		enginetest.CheckFiles(t, s.opts.Dir)
	}
}
