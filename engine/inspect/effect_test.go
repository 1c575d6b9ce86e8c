package inspect_test

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

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/engine/inspect"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/logrecord"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

func flipped(data []byte, at int) []byte {
	out := slices.Clone(data)
	out[at] ^= 0x10
	return out
}

// What follows from damage, for one of each kind.
func TestEffects(t *testing.T) {
	s := takeSample(t, true)
	base, previous := format.CheckpointName(s.base), format.CheckpointName(s.base-1)
	log, old := format.LogName(s.base), format.LogName(s.base-1)
	l := enginetest.ReadLog(t, filepath.Join(s.dir, log))
	var frames []logrecord.Frame
	_, _, err := l.Frames(0, func(f *logrecord.Frame) { frames = append(frames, *f) })
	require.NoError(t, err)
	third := frames[2]
	flip := func(name string, at int) []byte { return flipped(s.files[name], at) }
	records := int(format.CheckpointHeaderLen) + 20
	for _, c := range []struct {
		name        string
		changed     map[string][]byte
		file        string
		effect      inspect.Effect
		first, last uint64
	}{
		{"version", map[string][]byte{"version": flip("version", 50)}, "version", inspect.EffectRepairable, 0, 0},
		{"version gone", map[string][]byte{"version": nil}, "version", inspect.EffectRepairable, 0, 0},
		{"newest checkpoint", map[string][]byte{base: flip(base, records)}, base, inspect.EffectRepairable, 0, 0},
		{"newest checkpoint gone", map[string][]byte{base: nil}, base, inspect.EffectRepairable, 0, 0},
		{"kept checkpoint", map[string][]byte{previous: flip(previous, records)}, previous, inspect.EffectNone, 0, 0},
		{"both checkpoints", map[string][]byte{previous: nil, base: flip(base, records)}, base, inspect.EffectLost, 0, 0},
		{"kept log and newest checkpoint", map[string][]byte{old: flip(old, 8300), base: flip(base, records)}, base, inspect.EffectLost, 0, 0},
		{"the hash index of both", map[string][]byte{previous: nil, base: flip(base, s.buckets(t, base))}, base, inspect.EffectRepairable, 0, 0},
		{"kept log", map[string][]byte{old: flip(old, 8300)}, old, inspect.EffectNone, 21, 21},
		{"frame", map[string][]byte{log: flip(log, int(third.Offset)+90)}, log, inspect.EffectLost, third.Header.FirstSeq, third.Header.LastSeq()},
		{"frame header", map[string][]byte{log: flip(log, int(third.Offset)+20)}, log, inspect.EffectLost, third.Header.FirstSeq, third.Header.LastSeq()},
		{"block 0", map[string][]byte{log: flip(log, 20)}, log, inspect.EffectRepairable, 0, 0},
		{"the salt in block 0", map[string][]byte{log: flip(log, 40)}, log, inspect.EffectRepairable, 0, 0},
		{"block 1", map[string][]byte{log: flip(log, 4096+50)}, log, inspect.EffectRepairable, 0, 0},
		{"log gone", map[string][]byte{log: nil}, log, inspect.EffectLost, frames[0].Header.FirstSeq, frames[len(frames)-2].Header.LastSeq()},
		{"newest log gone", map[string][]byte{s.newest: nil}, s.newest, inspect.EffectLost, 61, 0},
		{"newest log empty", map[string][]byte{s.newest: {}}, s.newest, inspect.EffectLost, 61, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := s.with(t, c.changed)
			i := slices.IndexFunc(r.Findings, func(f inspect.Finding) bool {
				return f.File == c.file && f.Severity == inspect.Damage && f.Effect == c.effect && f.FirstSeq == c.first && f.LastSeq == c.last
			})
			require.GreaterOrEqual(t, i, 0, "%q", damage(r))
			assert.NotEmpty(t, r.Findings[i].Follows)
			assert.Equal(t, c.effect == inspect.EffectLost, r.Lost(), "%q", damage(r))
			assert.Error(t, r.Findings[i].Err)
		})
	}
}

// buckets is where the hash index of a checkpoint lies.
func (s *sample) buckets(t *testing.T, name string) int {
	info, err := inspect.DumpCheckpoint(ctx, filepath.Join(s.dir, name))
	require.NoError(t, err)
	for _, seg := range info.Segments {
		if seg.Kind == "buckets" {
			return int(seg.Offset) + 3
		}
	}
	require.Fail(t, "no buckets")
	return 0
}

// All damage is found, not only the first.
func TestCheckGoesOn(t *testing.T) {
	s := takeSample(t, true)
	changed := map[string][]byte{}
	want := 0
	for _, name := range s.names() {
		switch kind, _ := inspect.KindByName(name); kind {
		case inspect.KindLog:
			data := s.files[name]
			n := 0
			for _, p := range s.parts(t, name) {
				if p.class == meaning && p.from >= format.LogHeaderSize {
					if n++; n%3 == 2 {
						data = flipped(data, int(p.from)+30)
						want++
					}
				}
			}
			changed[name] = data
		case inspect.KindCheckpoint:
			changed[name] = flipped(flipped(s.files[name], format.CheckpointHeaderLen+30), s.buckets(t, name))
			want += 2
		}
	}
	r := s.with(t, changed)
	assert.Len(t, damage(r), want, "%q", damage(r))
	assert.Greater(t, want, 10)
}

// forge replaces the newest checkpoint by another one, whole in itself, and makes version name it.
func (s *sample) forge(t *testing.T, change func(*ckpt.Record) bool, more ...ckpt.Record) map[string][]byte {
	t.Helper()
	d, err := mmapio.OpenDir(s.dir, false)
	require.NoError(t, err)
	defer d.Close()
	name := format.CheckpointName(s.base)
	f, err := d.Open(name, mmapio.Read)
	require.NoError(t, err)
	r, err := ckpt.Open(f)
	require.NoError(t, err)
	out, err := d.Create("forged")
	require.NoError(t, err)
	b, err := ckpt.NewBuilder(out, r.Header(), 0)
	require.NoError(t, err)
	for _, m := range more {
		require.NoError(t, b.Add(m))
	}
	cursor := r.Cursor()
	for rec, ok, err := cursor.Next(); ok; rec, ok, err = cursor.Next() {
		require.NoError(t, err)
		if change(&rec) {
			require.NoError(t, b.Add(rec))
		}
	}
	summary, err := b.Finish(r.Epochs())
	require.NoError(t, err)
	data, err := os.ReadFile(filepath.Join(s.dir, "forged"))
	require.NoError(t, err)
	require.NoError(t, d.Remove("forged"))
	v, err := format.DecodeVersionFile(s.files["version"])
	require.NoError(t, err)
	v.CheckpointLen, v.CheckpointSum = summary.Footer.FileLen, summary.FooterSum
	version := make([]byte, format.VersionFileLen)
	v.Encode(version)
	return map[string][]byte{name: data, "version": version}
}

// A checkpoint that is whole, and not what the one before it and the logs make.
func TestCompare(t *testing.T) {
	s := takeSample(t, true)
	only := func(key string, change func(*ckpt.Record) bool) func(*ckpt.Record) bool {
		return func(r *ckpt.Record) bool { return string(r.Key) != key || change(r) }
	}
	drop := func(*ckpt.Record) bool { return false }
	for _, c := range []struct {
		name   string
		change func(*ckpt.Record) bool
		more   []ckpt.Record
		says   string
	}{
		{"the same", only("", drop), nil, ""},
		{"value of a changed key", only("changed-1", func(r *ckpt.Record) bool { r.Value = []byte("other"); return true }), nil, "not what was set last"},
		{"value of an older key", only("kept-0-2", func(r *ckpt.Record) bool { r.Value = []byte("other"); return true }), nil, "has changed"},
		{"sequence of a changed key", only("changed-1", func(r *ckpt.Record) bool { r.Seq--; return true }), nil, "not what was set last"},
		{"sequence of an older key", only("kept-0-2", func(r *ckpt.Record) bool { r.Seq++; return true }), nil, "has changed"},
		{"deadline", only("changed-1", func(r *ckpt.Record) bool { r.Expiry = 1 << 62; return true }), nil, "not what was set last"},
		{"changed key missing", only("changed-1", drop), nil, "is missing"},
		{"new key missing", only("kept-1-3", drop), nil, "is missing"},
		{"older key missing", only("kept-0-2", drop), nil, "is missing"},
		{"a key too many", only("", drop), []ckpt.Record{{Seq: 3, Key: []byte("a")}}, "nobody set it"},
		{"deleted key there", only("deleted", drop), nil, ""},
		{"everything missing", drop, nil, "keys differ in all"},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed := s.forge(t, c.change, c.more...)
			r := s.with(t, changed)
			if c.says == "" {
				assert.Empty(t, damage(r))
				return
			}
			assert.Contains(t, fmt.Sprint(damage(r)), c.says)
			assert.Empty(t, r.Compared)
			assert.True(t, r.Lost())
			for name, data := range changed {
				write(t, s.dir, name, data)
			}
			shallow, err := inspect.Check(ctx, s.dir, inspect.CheckOptions{Shallow: true})
			require.NoError(t, err)
			assert.Empty(t, damage(shallow), "nobody looked")
			restore(t, s.dir, s.files)
		})
	}
}

// Whatever a crash leaves is no damage, and the history goes as far as the engine thinks it does.
func TestCrashImagesAreNoDamage(t *testing.T) {
	rec := mmapiotest.NewRecorder()
	opts := quiet(inMemory(t))
	opts.OpenDir, opts.FrameAlign = rec.OpenDir, 0 // the default keeps torn writes off durable frames
	write := func(db *engine.DB, life int) {
		for i := range 12 {
			set(t, db, fmt.Sprintf("key-%d", i), fmt.Sprintf("%d %0*d", life, 300*i, i))
			if i%6 == 5 {
				require.NoError(t, db.Checkpoint(ctx))
			}
		}
		set(t, db, "large", string(make([]byte, 45_000)))
		set(t, db, "after", "it")
	}
	for life := range 3 {
		db := open(t, opts)
		write(db, life)
		if life == 1 {
			rec.Kill()
			_ = db.Close()
			continue
		}
		require.NoError(t, db.Close())
	}
	trace := rec.Trace()
	replayer := trace.Replayer()
	cuts, modes := trace.Cuts(), mmapiotest.Modes()
	stride := 5
	if long {
		stride = 1
	}
	dir := inMemory(t)
	seen := map[uint64]bool{}
	none, copies := 0, 0
	for i := 0; i < len(cuts); i += stride {
		mode := modes[(i/stride)%len(modes)]
		image := replayer.Image(cuts[i], mode, uint64(i))
		if seen[image.Hash()] || len(image) == 0 {
			continue
		}
		seen[image.Hash()] = true
		restore(t, dir, nil)
		require.NoError(t, image.WriteTo(dir))
		r, err := inspect.Check(ctx, dir, inspect.CheckOptions{})
		if errors.Is(err, inspect.ErrNoDatabase) {
			require.NotContains(t, image, "version")
			none++
			continue
		}
		require.NoError(t, err)
		require.Empty(t, damage(r), "cut %v, mode %v: %q", cuts[i], mode, maps.Keys(image))
		saved := repaired(t, dir)
		plain := quiet(dir)
		db, err := engine.Open(plain)
		require.NoError(t, err)
		if saved != nil { // and a copy has what an open finds
			require.False(t, saved.Lossy(), "cut %v, mode %v: %+v", cuts[i], mode, saved.Lost)
			require.Equal(t, db.Version().Seq, saved.LastSeq, "cut %v, mode %v", cuts[i], mode)
			require.Equal(t, db.Stats().Keys, saved.Keys, "cut %v, mode %v", cuts[i], mode)
			copies++
		}
		require.Equal(t, db.Version().Seq, r.Tail.Seq, "cut %v, mode %v", cuts[i], mode)
		require.NoError(t, db.Close())
		require.Empty(t, damage(check(t, dir)), "after the engine has repaired it: cut %v, mode %v", cuts[i], mode)
	}
	t.Logf("%d calls, %d cuts, %d different images, %d of them of no database yet, %d copied", len(trace), len(cuts), len(seen), none, copies)
	require.Greater(t, copies, 50)
	require.Greater(t, len(seen), 50)
}
