package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/engine/inspect"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/logrecord"
)

var ctx = context.Background()

// long takes many more samples.
var long = os.Getenv("SMALLDB_TEST_LONG") != ""

// inMemory is a directory on a file system in memory, where there is one.
func inMemory(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "inspect")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// quiet is a database that does nothing by itself, of small logs.
func quiet(dir string) engine.Options {
	return engine.Options{Dir: dir, Create: true, LogFileBytes: 64 << 10, FrameAlign: 512, DisableBackgroundCheckpoint: true}
}

func open(t testing.TB, opts engine.Options) *engine.DB {
	t.Helper()
	db, err := engine.Open(opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func set(t testing.TB, db *engine.DB, key, value string) {
	t.Helper()
	_, err := db.Set(ctx, []byte(key), []byte(value))
	require.NoError(t, err)
}

// files reads a directory.
func files(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	out := map[string][]byte{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a database that is open prepares logs meanwhile
		}
		require.NoError(t, err)
		out[e.Name()] = data
	}
	return out
}

// restore makes dir hold exactly these files.
func restore(t testing.TB, dir string, want map[string][]byte) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	for name, data := range want {
		write(t, dir, name, data)
	}
}

// write gives a file its content; nil removes it.
func write(t testing.TB, dir, name string, data []byte) {
	path := filepath.Join(dir, name)
	if data == nil {
		require.NoError(t, os.Remove(path))
		return
	}
	require.NoError(t, os.WriteFile(path, data, 0o600))
}

func check(t testing.TB, dir string) *inspect.Report {
	t.Helper()
	r, err := inspect.Check(ctx, dir, inspect.CheckOptions{})
	require.NoError(t, err)
	return r
}

// damage is the damage of a report, a line each.
func damage(r *inspect.Report) (out []string) {
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Severity == inspect.Damage {
			out = append(out, f.String())
		}
	}
	return out
}

// sample is a directory with two checkpoints, three logs and what there was before.
type sample struct {
	dir     string
	files   map[string][]byte
	earlier []map[string][]byte
	closed  bool
	newest  string // log
	base    uint64 // generation of the checkpoint that counts
}

// takeSample makes one: closed, or as a kill would leave it.
func takeSample(t testing.TB, closed bool) *sample {
	s := &sample{dir: inMemory(t), closed: closed}
	db := open(t, quiet(s.dir))
	for part := range 3 {
		for i := range 5 {
			set(t, db, fmt.Sprintf("kept-%d-%d", part, i), fmt.Sprintf("value %d %0*d", part, 40*i, i))
			set(t, db, fmt.Sprintf("changed-%d", i), fmt.Sprint(part, i))
			set(t, db, "deleted", "soon")
			_, err := db.Delete(ctx, []byte("deleted"))
			require.NoError(t, err)
		}
		s.earlier = append(s.earlier, files(t, s.dir))
		if part < 2 {
			require.NoError(t, db.Checkpoint(ctx))
			s.earlier = append(s.earlier, files(t, s.dir))
		}
	}
	set(t, db, "larger", string(make([]byte, 50_000))) // the next log
	s.earlier = append(s.earlier, files(t, s.dir))
	set(t, db, "last", "value")
	s.base = db.Stats().Generation
	if closed {
		require.NoError(t, db.Close())
	}
	s.files = files(t, s.dir)
	require.NoError(t, db.Close())
	s.newest = format.LogName(s.base + 1)
	for _, name := range []string{"version", s.newest, format.LogName(s.base), format.LogName(s.base - 1),
		format.CheckpointName(s.base), format.CheckpointName(s.base - 1)} {
		require.Contains(t, s.files, name)
	}
	// A log that nobody needs, and whatever the helper that prepares logs is about, would make the sample another each time.
	maps.DeleteFunc(s.files, func(name string, _ []byte) bool {
		n, log := format.ParseLogName(name)
		return log && n < s.base-1 || name == "spare" || name == "spare.tmp"
	})
	s.files["spare"] = make([]byte, 64<<10)
	s.files["spare"][100] = 7
	restore(t, s.dir, s.files)
	return s
}

// names are the names of its files.
func (s *sample) names() []string { return slices.Sorted(maps.Keys(s.files)) }

// with checks the sample with other files in place of its own (nil: removed).
func (s *sample) with(t testing.TB, changed map[string][]byte) *inspect.Report {
	t.Helper()
	for name, data := range changed {
		write(t, s.dir, name, data)
	}
	r := check(t, s.dir)
	for name := range changed {
		if data, ok := s.files[name]; ok {
			write(t, s.dir, name, data)
		} else {
			write(t, s.dir, name, nil)
		}
	}
	return r
}

// class says what a byte of a file is for.
type class string

// The classes. Only the first must be found as damage; the others are what no state needs or nothing can prove.
const (
	meaning  class = "meaning"
	padding  class = "padding after a frame"           // nothing protects it and nobody reads it
	sealing  class = "trailer of a log with successor" // it says what the successor says
	closing  class = "trailer of the newest log"       // without it the log looks as if it had not been closed
	lastOne  class = "last frame, not closed"          // without it the log looks as if its write was cut off
	free     class = "log after its end"
	needless class = "LOCK and spare"
)

// part is a range of bytes of one class.
type part struct {
	from, to int64
	class    class
}

// parts are the classes of the bytes of a file of the sample.
func (s *sample) parts(t testing.TB, name string) []part {
	size := int64(len(s.files[name]))
	kind, generation := inspect.KindByName(name)
	switch kind {
	case inspect.KindVersion, inspect.KindCheckpoint:
		return []part{{0, size, meaning}}
	case inspect.KindLog:
	default:
		return []part{{0, size, needless}}
	}
	l := enginetest.ReadLog(t, filepath.Join(s.dir, name))
	out := []part{{0, format.LogHeaderSize, meaning}}
	end, sealed := int64(0), closing
	if next := format.LogName(generation + 1); s.files[next] != nil {
		n := enginetest.ReadLog(t, filepath.Join(s.dir, next))
		end, sealed = n.Before.End, sealing
	}
	last := int64(0)
	at, _, err := l.Frames(end, func(f *logrecord.Frame) {
		if f.Header.Kind != format.FrameTrailer {
			used := f.Offset + format.FrameHeaderLen + int64(f.Header.Length)
			last = f.Offset
			out = append(out, part{f.Offset, used, meaning}, part{used, f.Offset + format.FrameLen(int(f.Header.Length), int64(l.ID.Align)), padding})
		}
	})
	if !s.closed && name == s.newest {
		require.Error(t, err)
		for i := range out {
			if out[i].from == last {
				out[i].class = lastOne
			}
		}
		return append(out, part{at, size, free})
	}
	require.NoError(t, err)
	used := at + format.FrameHeaderLen + format.TrailerLen
	return append(out, part{at, used, sealed}, part{used, size, free})
}

// classOf is the class of the byte at an offset.
func classOf(parts []part, at int64) class {
	for _, p := range parts {
		if at >= p.from && at < p.to {
			return p.class
		}
	}
	return meaning // beyond the end: the length is wrong
}

// classOfChange is meaning if any byte that differs has one, otherwise the class of the first.
func classOfChange(parts []part, before, after []byte) class {
	if len(before) != len(after) {
		return meaning
	}
	var found class
	for i := range before {
		if before[i] != after[i] {
			c := classOf(parts, int64(i))
			if c == meaning {
				return c
			}
			if found == "" {
				found = c
			}
		}
	}
	return found
}
