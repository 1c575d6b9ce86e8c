package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
)

// TestOutputsInside: nothing is written into a directory that is read.
func TestOutputsInside(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := filled(t)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	before := filesOf(t, dir)
	for _, verb := range []string{"export", "backup"} {
		for _, file := range []string{"checkpoint.1", "new", "below/new"} {
			r.fails(2, "data directory", verb, "-dir", dir, filepath.Join(dir, file))
			r.fails(2, "data directory", verb, "-dir", link, dir+"/"+file)
			r.fails(2, "data directory", verb, "-dir", dir, link+"/"+file)
		}
		r.fails(2, "data directory", verb, "-dir", dir, dir)
	}
	assert.Equal(t, before, filesOf(t, dir))
	r.must("export", "-dir", dir, dir+".lines") // is beside

	old := newReference(t, 3)
	before = filesOf(t, old)
	r.fails(2, "only read", "migrate", old, filepath.Join(old, "new"))
	r.fails(1, "not empty", "migrate", old, filepath.Dir(old))
	assert.Equal(t, before, filesOf(t, old))
}

// TestPermissionsStay of a file that is replaced.
func TestPermissionsStay(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := filled(t)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, mode := range []os.FileMode{0o644, 0o640} {
		require.NoError(t, os.Chmod(file, mode))
		for _, verb := range []string{"export", "backup"} {
			r.must(verb, "-dir", dir, file)
			info, err := os.Stat(file)
			require.NoError(t, err)
			assert.Equal(t, mode, info.Mode())
		}
	}
}

// TestFailedRestore leaves no directory that it has made, and one that was there as it was.
func TestFailedRestore(t *testing.T) {
	t.Parallel()
	r := newRunner(t).with("nonsense")
	dir := newDir(t)
	r.fails(5, "backup", "restore", "-dir", dir, "-")
	assert.NoDirExists(t, dir)
	require.NoError(t, os.Mkdir(dir, 0o700))
	r.with("nonsense").fails(5, "backup", "restore", "-dir", dir, "-")
	assert.DirExists(t, dir)
	r.with(r.must("backup", "-dir", filled(t))).must("restore", "-dir", dir, "-")
	assert.Equal(t, entries, entriesOf(t, dir))
}

// TestMaxValue: what the tool writes, servers take by default; more is asked for.
func TestMaxValue(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := newDir(t)
	file := filepath.Join(t.TempDir(), "file")
	large := strings.Repeat("v", 2001)
	line := `{"key":"k","value":"` + large + `","encoding":"utf-8"}` + "\n"
	require.NoError(t, os.WriteFile(file, []byte(large), 0o600))
	put := func(args ...string) []string {
		return append([]string{"put", "-dir", dir, "-create", "-max-value-bytes", "2000", "k"}, args...)
	}
	r.fails(1, "-max-value-bytes", put("@"+file)...)
	r.fails(1, "too large", put(large)...)
	r.with(lines(10)+line).fails(1, "line 11: value is too large: 2001 bytes, at most 2000; -max-value-bytes", "import", "-dir", dir, "-create", "-max-value-bytes", "2000")
	endless := `{"key":"k","value":"` + strings.Repeat("v", 500_000)
	r.with(endless).fails(1, "a value has at most 2000 bytes (-max-value-bytes)", "import", "-dir", dir, "-max-value-bytes", "2000")
	r.must("put", "-dir", dir, "-max-value-bytes", "2001", "k", "@"+file)
	assert.Equal(t, large, r.must("get", "-dir", dir, "k"))

	old := writeReference(t, referenceRecord(1, "k", large))
	r.fails(1, "-max-value-bytes", "migrate", "-max-value-bytes", "2000", old, newDir(t))
	huge := writeReference(t, referenceRecord(1, "k", strings.Repeat("v", engine.DefaultMaxValueBytes+1)))
	got := r.run("migrate", huge, newDir(t))
	assert.Equal(t, 0, got.exit)
	assert.Contains(t, got.stderr, "note: larger than 16.0 MiB, the default of -max-value-bytes elsewhere and of servers: 1 value.")
	assert.Contains(t, got.stdout, "1 key, ")
}

// TestMigrateOthers: later generations than the version file names are noted, and never taken for none.
func TestMigrateOthers(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	old := newReference(t, 3)
	require.NoError(t, os.WriteFile(filepath.Join(old, "checkpoint.1"), []byte("begun"), 0o600))
	got := r.run("migrate", old, newDir(t))
	assert.Equal(t, 0, got.exit)
	assert.Contains(t, got.stderr, "note: checkpoint.1: 5 bytes from offset 0 dropped")
	require.NoError(t, os.Remove(filepath.Join(old, "logfile.0")))
	r.fails(5, "files of generation 1", "migrate", old, newDir(t))
}

// TestLocalFailures are not blamed on the server.
func TestLocalFailures(t *testing.T) { // alone: a process that begins has for a moment the locks of this one
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no device that is always full")
	}
	r := newRunner(t)
	for name, place := range places(t) {
		for _, verb := range []string{"export", "backup"} {
			got := r.fails(1, "no space left", join(verb, place, "/dev/full")...)
			assert.NotContains(t, got.stderr, "answer", "%s of %s", verb, name)
		}
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	for _, args := range [][]string{{"help"}, {"help", "get"}, {"get", "-h"}, {"help", "-json"}, {"version"}} {
		cmd := command(args...)
		cmd.Stdout = full
		err := cmd.Run()
		require.Error(t, err, "%q", args)
		assert.Equal(t, 1, cmd.ProcessState.ExitCode(), "%q", args)
	}
}

// TestWords: one is one, a verb is named once, and advice fits the verb.
func TestWords(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := newDir(t)
	one := `{"key":"a","value":"1","encoding":"utf-8"}` + "\n"
	assert.Contains(t, r.with(one).must("import", "-dir", dir, "-create"), "1 line imported")
	assert.Contains(t, r.must("export", "-dir", dir, filepath.Join(t.TempDir(), "f")), "1 key in")
	assert.NotContains(t, r.fails(2, "get takes KEY", "get", "-dir", dir).stderr, "smalldb get")
	empty := t.TempDir()
	for _, args := range [][]string{{"get", "k"}, {"scan"}, {"export"}, {"backup"}, {"check"}, {"dump"}, {"del", "k"}} {
		got := r.fails(1, "no database", append(args, "-dir", empty)...)
		assert.NotContains(t, got.stderr, "-create", "%q", args)
	}
	r.fails(1, "-create makes one", "put", "-dir", empty, "k", "v")
	r.env = map[string]string{"SMALLDB_DIR": dir}
	assert.Equal(t, r.must("dump", dir), r.must("dump"))
	assert.Equal(t, r.must("dump", dir), r.must("dump", "-dir", dir))
	help := r.must("scan", "-h") + r.must("check", "-h") + r.must("put", "-h")
	for _, flag := range []string{"-limit n", "-max-findings n", "-ttl duration", "-timeout duration", "-max-value-bytes size"} {
		assert.Contains(t, help, "\n  "+flag+"\n")
	}
}

// TestCures: what check says repairs a directory does.
func TestCures(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := newDir(t)
	db, err := engine.Open(engine.Options{Dir: dir, Create: true})
	require.NoError(t, err)
	for i := range 3 {
		_, err := db.Set(t.Context(), fmt.Appendf(nil, "k%d", i), []byte("v"))
		require.NoError(t, err)
		require.NoError(t, db.Checkpoint(t.Context()))
	}
	require.NoError(t, db.Close())
	newest := fmt.Sprintf("checkpoint.%.0f", parseJSON(t, r.must("check", "-json", dir))[0]["generation"])
	for name, row := range map[string]struct {
		file    string
		missing bool
		cure    string
		do      func(file string) error
	}{
		"checkpoint":         {newest, false, "to repair: stop every process, move " + newest + " away, and open the directory", os.Remove},
		"missing checkpoint": {newest, true, "to repair: stop every process, and open the directory", nil},
		"version":            {"version", false, "to repair: stop every process, and open the directory", nil},
		"missing version": {"version", true, "to repair: stop every process, make an empty file of that name, and open the directory",
			func(file string) error { return os.WriteFile(file, nil, 0o600) }},
	} {
		t.Run(name, func(t *testing.T) {
			copied := t.TempDir()
			require.NoError(t, os.CopyFS(filepath.Join(copied, "data"), os.DirFS(dir)))
			copied = filepath.Join(copied, "data")
			file := filepath.Join(copied, row.file)
			if row.missing {
				require.NoError(t, os.Remove(file))
			} else {
				flip(t, file, 20)
			}
			r := *r
			r.t = t
			got := r.fails(5, "damaged", "check", copied)
			assert.Contains(t, got.stdout, row.cure+"\n")
			if row.do != nil {
				require.NoError(t, row.do(file))
			}
			opened := r.run("scan", "-dir", copied)
			assert.Equal(t, "k0\tv\nk1\tv\nk2\tv\n", opened.stdout, opened.stderr)
			assert.Contains(t, opened.stderr, "note: repaired "+row.file)
		})
	}
}
