package engine_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// sample is a small directory with two checkpoints, the logs between them and logs after them, and what it holds.
type sample struct {
	opts   engine.Options
	files  map[string][]byte
	model  shadow
	absent []string
	before shadow         // without the last operation
	at     engine.Version // of the last operation
	named  uint64         // generation that version names
	newest string         // log
}

// takeSample makes one: closed, or as a kill would leave it.
func takeSample(t *testing.T, closed bool) *sample {
	s := &sample{opts: quiet(t), model: shadow{}}
	s.opts.Dir = inMemory(t)
	s.opts.FrameAlign = 512
	db, err := engine.Open(s.opts)
	require.NoError(t, err)
	put := func(k string, n int) {
		s.before = maps.Clone(s.model)
		s.model[k] = string(bytesOf(fmt.Sprintf("%s-%d", k, len(s.model)), n))
		s.at = set(t, db, k, s.model[k])
	}
	for part := range 3 {
		for i := range 20 {
			put(fmt.Sprintf("kept-%d-%d", part, i), 100*(i%4))
			put(fmt.Sprintf("changed-%d", i), 50+part)
			k := fmt.Sprintf("deleted-%d-%d", part, i)
			s.absent = append(s.absent, k)
			if i%4 != 0 {
				put(k, 10)
				_, err := db.Delete(ctx, []byte(k))
				require.NoError(t, err)
				delete(s.model, k)
			}
		}
		put(fmt.Sprintf("large-%d", part), 20_000)
		if part < 2 {
			require.NoError(t, db.Checkpoint(ctx))
		}
	}
	put("after a rotation", 40_000)
	put("last", 700)
	s.named = db.Stats().Generation
	if closed {
		require.NoError(t, db.Close())
		s.files = files(t, s.opts.Dir)
	} else {
		s.files = files(t, s.opts.Dir)
		require.NoError(t, db.Close())
	}
	maps.DeleteFunc(s.files, func(name string, _ []byte) bool {
		n, log := format.ParseLogName(name)
		_, checkpoint := format.ParseCheckpointName(name)
		return log && n < s.named-1 || !log && !checkpoint && name != format.VersionName // no part of the state
	})
	names := slices.Sorted(maps.Keys(s.files))
	s.newest = names[len(names)-2]
	var kinds []string
	for _, name := range names {
		kinds = append(kinds, name[:7])
	}
	require.Equal(t, []string{"checkpo", "checkpo", "logfile", "logfile", "logfile", "version"}, kinds, "%v", names)
	require.Equal(t, format.LogName(s.named+1), s.newest)
	return s
}

// verdict is what opening a damaged sample came to.
type verdict struct {
	err     error // of Open
	damaged int   // keys that could not be read
	lost    bool  // the last operation is not there
	stats   engine.Stats
}

// judge opens the sample with these files in place of its own (nil: removed). It fails the test at a wrong value, a key that is absent and should
// not be or the other way round, or an error that does not say where.
func (s *sample) judge(t *testing.T, what string, changed map[string][]byte, more bool) (v verdict) {
	t.Helper()
	now := maps.Clone(s.files)
	for name, data := range changed {
		now[name] = data
		if data == nil {
			delete(now, name)
		}
	}
	restoreFiles(t, s.opts.Dir, now)
	db, err := engine.Open(s.opts)
	if err != nil {
		s.requireCorrupt(t, what, err, changed)
		requireUntouched(t, s.opts.Dir, now)
		return verdict{err: err}
	}
	defer db.Close()
	v.stats = db.Stats()
	model := s.model
	if db.Version().Seq != s.at.Seq {
		require.Equal(t, s.at.Seq-1, db.Version().Seq, what)
		v.lost, model = true, s.before
	}
	v.damaged = s.read(t, what, db, model, changed)
	if _, base := changed[format.CheckpointName(v.stats.Generation)]; v.damaged == 0 && !base {
		// Else a change may have found the key's record in the base unreadable, and not known whether it counted.
		require.EqualValues(t, len(model), v.stats.Keys, what)
	}
	if !more {
		return v
	}
	// It goes on as if nothing had been, and is the same after a clean close.
	for i := range 3 {
		_, err := db.Set(ctx, fmt.Appendf(nil, "more-%d", i), []byte("more"))
		require.NoError(t, err, what)
	}
	require.NoError(t, db.Close(), what)
	again, err := engine.Open(s.opts)
	require.NoError(t, err, what)
	defer again.Close()
	require.True(t, again.Stats().Recovery.Clean, what)
	require.Equal(t, v.damaged, s.read(t, what, again, model, changed), what)
	requireValue(t, again, "more-2", "more")
	return v
}

// read reads all keys, and returns how many could not be.
func (s *sample) read(t *testing.T, what string, db *engine.DB, model shadow, changed map[string][]byte) (damaged int) {
	t.Helper()
	for k, want := range model {
		got, ok, err := db.Get([]byte(k))
		switch {
		case err != nil:
			s.requireCorrupt(t, what, err, changed)
			damaged++
		case !ok || string(got) != want:
			require.Fail(t, "wrong value", "%s: %q: %t, %d bytes instead of %d", what, k, ok, len(got), len(want))
		}
	}
	for _, k := range s.absent {
		_, ok, err := db.Get([]byte(k))
		if err != nil {
			s.requireCorrupt(t, what, err, changed)
		} else if ok {
			require.Fail(t, "it was deleted", "%s: %q", what, k)
		}
	}
	return damaged
}

// requireCorrupt checks that an error says which file is damaged, and where.
func (s *sample) requireCorrupt(t *testing.T, what string, err error, changed map[string][]byte) {
	t.Helper()
	var c *format.CorruptionError
	if !errors.Is(err, engine.ErrCorrupt) || !errors.As(err, &c) {
		require.Fail(t, "not reported as damage", "%s: %v", what, err)
	}
	if _, ok := changed[c.File]; !ok || c.Offset < -1 || c.Offset > 1<<20 {
		require.Fail(t, "the wrong place", "%s: %v", what, err)
	}
}

// used is how much of a file says anything, in bytes.
func used(data []byte) int64 {
	n := len(data)
	for n > 0 && data[n-1] == 0 {
		n--
	}
	return int64(n)
}

// offsets are where bits are flipped: about every 37 bytes if there is time, at other places from file to file.
func offsets(name string, data []byte) (out []int64) {
	stride := int64(37)
	switch {
	case len(data) <= format.VersionFileLen:
		stride = 1
	case !long:
		stride = 37 * 9
	}
	for at := int64(len(name)) % 7; at < int64(len(data)); at += stride {
		if at > used(data)+600 {
			stride = 4099
		}
		out = append(out, at)
	}
	return out
}

// A flipped bit is repaired from proof, reported, or of no effect.
func TestFlippedBits(t *testing.T) {
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprintf("closed=%t", closed), func(t *testing.T) {
			s := takeSample(t, closed)
			for _, name := range slices.Sorted(maps.Keys(s.files)) {
				var outcomes struct{ refused, repaired, partly, fine, lost int }
				for i, at := range offsets(name, s.files[name]) {
					data := slices.Clone(s.files[name])
					data[at] ^= 1 << (at * 5 % 8)
					what := fmt.Sprintf("%s, bit %d at %d", name, at*5%8, at)
					v := s.judge(t, what, map[string][]byte{name: data}, i%16 == 0)
					switch {
					case v.err != nil:
						outcomes.refused++
					case v.lost:
						outcomes.lost++
						require.False(t, closed, "%s: after a clean close nothing is lost", what)
						require.Equal(t, s.newest, name, "%s: lost", what)
						require.Equal(t, s.newest, v.stats.Recovery.CutFile, what)
					case v.damaged > 0:
						outcomes.partly++
						require.NotEqual(t, format.VersionName, name, what)
					case len(v.stats.Recovery.Repaired) > 0:
						outcomes.repaired++
					default:
						outcomes.fine++
						require.NotEqual(t, format.VersionName, name, "%s: repaired and not said so", what)
					}
				}
				t.Logf("%s: %+v", name, outcomes)
				switch {
				case name == format.VersionName:
					assert.NotZero(t, outcomes.repaired)
				case name == format.CheckpointName(s.named):
					assert.NotZero(t, outcomes.repaired, "from the checkpoint before it")
					assert.NotZero(t, outcomes.partly, "found by who reads the key")
				case name == format.LogName(s.named), name == s.newest:
					assert.NotZero(t, outcomes.refused)
				default:
					assert.Zero(t, outcomes.refused+outcomes.partly+outcomes.repaired, "nobody needs it")
				}
			}
		})
	}
}

// A file that is gone, cut short, longer, or another one.
func TestFilesOfTheWrongSize(t *testing.T) {
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprintf("closed=%t", closed), func(t *testing.T) {
			s := takeSample(t, closed)
			for name, whole := range s.files {
				n := len(whole)
				for _, change := range []struct {
					what string
					data []byte
				}{
					{"removed", nil}, {"empty", []byte{}}, {"1 byte", whole[:1]}, {"11 bytes", whole[:11]},
					{"a block", whole[:min(n, 4096)]}, {"two blocks", whole[:min(n, 8192)]}, {"half", whole[:n/2]},
					{"a byte less", whole[:n-1]}, {"a block less", whole[:max(0, n-4096)]}, {"a byte more", append(slices.Clone(whole), 0)},
					{"zeros", make([]byte, n)}, {"twice", append(slices.Clone(whole), whole...)},
				} {
					v := s.judge(t, name+" "+change.what, map[string][]byte{name: change.data}, true)
					same := string(change.data) == string(whole)
					switch {
					case same:
						assert.NoError(t, v.err)
					case name == format.VersionName && change.data == nil:
						assert.Error(t, v.err, "there is no telling a database whose version is gone from one that never was")
					case name == format.VersionName, name == format.CheckpointName(s.named):
						assert.NoError(t, v.err, "%s %s", name, change.what)
						assert.NotEmpty(t, v.stats.Recovery.Repaired, "%s %s", name, change.what)
						assert.Zero(t, v.damaged)
					case name == format.LogName(s.named), name == s.newest:
						assert.Error(t, v.err, "%s %s", name, change.what)
					default:
						assert.NoError(t, v.err, "%s %s: nobody needs it", name, change.what)
						assert.Zero(t, v.damaged)
					}
				}
			}
		})
	}
}

// Whole files under wrong names do not count.
func TestFilesExchanged(t *testing.T) {
	s := takeSample(t, true)
	names := slices.Sorted(maps.Keys(s.files))
	for _, a := range names {
		for _, b := range names {
			if a >= b {
				continue
			}
			v := s.judge(t, a+" exchanged with "+b, map[string][]byte{a: s.files[b], b: s.files[a]}, false)
			if v.err == nil {
				assert.Zero(t, v.damaged)
			}
		}
	}
	other := takeSample(t, true) // a whole database of the same making
	for _, name := range names {
		if name == format.VersionName { // then all the others are of another database
			restoreFiles(t, s.opts.Dir, s.files)
			require.NoError(t, os.WriteFile(filepath.Join(s.opts.Dir, name), other.files[name], 0o600))
			_, err := engine.Open(s.opts)
			require.ErrorIs(t, err, engine.ErrCorrupt)
			continue
		}
		v := s.judge(t, name+" of another database", map[string][]byte{name: other.files[name]}, false)
		if v.err == nil {
			assert.Zero(t, v.damaged)
		}
	}
}

// The honest limit: who removes the newest log whole removes what is in it. It is noticed when the log before it
// was followed by it in one life of the process (its trailer names the newest); after a clean close or an
// unclean stop the predecessor says nothing of a successor, and what was there before is what is left.
func TestNewestLogRemoved(t *testing.T) {
	for _, c := range []struct {
		name    string
		between func(t *testing.T, db *engine.DB, opts engine.Options) *engine.DB
		noticed bool
	}{
		{"rotation", func(t *testing.T, db *engine.DB, _ engine.Options) *engine.DB {
			set(t, db, "large", string(make([]byte, 70_000)))
			_, err := db.Delete(ctx, []byte("large"))
			require.NoError(t, err)
			return db
		}, true},
		{"clean close", func(t *testing.T, db *engine.DB, opts engine.Options) *engine.DB {
			require.NoError(t, db.Close())
			db, err := engine.Open(opts)
			require.NoError(t, err)
			return db
		}, false},
		{"unclean stop", func(t *testing.T, db *engine.DB, opts engine.Options) *engine.DB {
			image := files(t, opts.Dir)
			require.NoError(t, db.Close())
			restoreFiles(t, opts.Dir, image)
			db, err := engine.Open(opts)
			require.NoError(t, err)
			return db
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := quiet(t)
			db, err := engine.Open(opts)
			require.NoError(t, err)
			set(t, db, "k", "old")
			db = c.between(t, db, opts)
			set(t, db, "k", "new")
			require.NoError(t, db.Close())
			newest := ""
			for n := uint64(1); ; n++ {
				if _, err := os.Stat(filepath.Join(opts.Dir, format.LogName(n))); err != nil {
					break
				}
				newest = format.LogName(n)
			}
			require.NoError(t, os.Remove(filepath.Join(opts.Dir, newest)))
			db, err = engine.Open(opts)
			if c.noticed {
				require.ErrorIs(t, err, engine.ErrCorrupt)
				require.ErrorContains(t, err, newest)
				return
			}
			require.NoError(t, err)
			requireValue(t, db, "k", "old")
			require.NoError(t, db.Close())
		})
	}
}

// Rot that comes while the database is open is met by who reads it, wherever it lies; other keys are well.
func TestRotWhileOpen(t *testing.T) {
	for _, truncated := range []bool{false, true} {
		for _, where := range []string{"delta", "base"} {
			t.Run(fmt.Sprintf("%s/truncated=%t", where, truncated), func(t *testing.T) {
				opts := quiet(t)
				db, err := engine.Open(opts)
				require.NoError(t, err)
				defer db.Close()
				set(t, db, "bad", string(bytesOf("bad", 5000)))
				file := format.LogName(1)
				if where == "base" {
					require.NoError(t, db.Checkpoint(ctx))
					file = format.CheckpointName(2)
				}
				set(t, db, "good", "good")
				path := filepath.Join(opts.Dir, file)
				data, err := os.ReadFile(path)
				require.NoError(t, err)
				at := int64(0)
				for i := range data { // within the value
					if string(data[i:i+16]) == string(bytesOf("bad", 5000)[2000:2016]) {
						at = int64(i)
						break
					}
				}
				require.NotZero(t, at)
				if truncated {
					require.NoError(t, os.Truncate(path, 0))
				} else {
					flip(t, path, at)
				}
				for range 2 {
					dst, ok, err := db.AppendGet([]byte("dst"), []byte("bad"))
					require.ErrorIs(t, err, engine.ErrCorrupt)
					var c *format.CorruptionError
					require.ErrorAs(t, err, &c)
					require.Equal(t, file, c.File)
					require.GreaterOrEqual(t, c.Offset, int64(0))
					require.Equal(t, truncated, errors.Is(err, mmapio.ErrFault), "%v", err)
					require.False(t, ok)
					require.Equal(t, "dst", string(dst))
					_, err = db.View([]byte("bad"), func([]byte) error { panic("damaged bytes are shown") })
					require.ErrorIs(t, err, engine.ErrCorrupt)
				}
				if where == "base" || !truncated { // in the delta both keys lie in the one log
					requireValue(t, db, "good", "good")
				}
				require.ErrorIs(t, db.Stats().Damage, engine.ErrCorrupt)
				generation := db.Stats().Generation
				if where == "base" { // a checkpoint is made without it
					require.NoError(t, db.Checkpoint(ctx))
					require.NoError(t, db.Stats().Damage)
					require.EqualValues(t, 1, db.Stats().Repairs)
					requireValue(t, db, "bad", string(bytesOf("bad", 5000)))
				} else { // nothing else holds the value, so a checkpoint is refused, and changes nothing
					require.ErrorIs(t, db.Checkpoint(ctx), engine.ErrCorrupt)
					require.Equal(t, generation, db.Stats().Generation)
					require.ErrorIs(t, db.Stats().CheckpointFailure, engine.ErrCorrupt)
					require.ErrorIs(t, db.Stats().Damage, engine.ErrCorrupt)
				}
				require.NoError(t, db.Stats().Failure, "it is no failure of the log")
				set(t, db, "more", "more")
				requireValue(t, db, "more", "more")
			})
		}
	}
}

// A disk that fails to read is not a damaged file: nothing is decided by it.
func TestReadErrorsWhileOpening(t *testing.T) {
	for _, closed := range []bool{true, false} {
		s := takeSample(t, closed)
		eio := errors.New("input/output error")
		for nth := 1; ; nth++ {
			restoreFiles(t, s.opts.Dir, s.files)
			in := mmapiotest.NewInjector(mmapio.OpenDir, mmapiotest.Fault{
				Match: func(op mmapiotest.Op) bool {
					return op.Kind == mmapiotest.ReadAt || op.Kind == mmapiotest.Open || op.Kind == mmapiotest.Size || op.Kind == mmapiotest.Names
				},
				Nth: nth, Err: eio,
			})
			opts := s.opts
			opts.OpenDir = in.OpenDir
			db, err := engine.Open(opts)
			if in.Hits() == 0 {
				require.NoError(t, err)
				require.NoError(t, db.Close())
				require.Greater(t, nth, 10)
				break
			}
			if err == nil { // the previous checkpoint served as well
				s.model.check(t, db, s.absent...)
				require.NoError(t, db.Close())
			} else {
				require.ErrorIs(t, err, eio, "read %d", nth)
				require.NotErrorIs(t, err, engine.ErrCorrupt, "read %d", nth)
			}
			db, err = engine.Open(s.opts)
			require.NoError(t, err)
			s.model.check(t, db, s.absent...)
			require.NoError(t, db.Close())
		}
	}
}
