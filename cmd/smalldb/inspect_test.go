package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// flip changes one byte of a file.
func flip(t *testing.T, file string, at int) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	text[at] ^= 0x40
	require.NoError(t, os.WriteFile(file, text, 0o600))
}

func TestCheck(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := filled(t)
	said := r.must("check", dir)
	assert.Contains(t, said, "closed cleanly")
	assert.Contains(t, said, "11 operations")
	assert.Equal(t, said, r.must("check", "-dir", dir))
	r.must("check", "-shallow", dir)
	report := parseJSON(t, r.must("check", "-json", dir))[0]
	assert.Empty(t, report["findings"])
	assert.Equal(t, true, report["clean"])

	flip(t, filepath.Join(dir, "logfile.1"), 8192+100)
	got := r.fails(5, "damaged", "check", dir)
	assert.Contains(t, got.stdout, "damage: logfile.1 at offset 8192")
	got = r.run("check", "-json", dir)
	assert.Equal(t, 5, got.exit)
	assert.NotEmpty(t, parseJSON(t, got.stdout)[0]["findings"])
	assert.EqualValues(t, 5, parseJSON(t, got.stderr)[0]["code"])

	r.fails(1, "no database", "check", t.TempDir())
	r.fails(1, "no such file", "check", newDir(t))
	r.fails(1, "not a directory", "check", filepath.Join(dir, "version"))
}

// TestCorruptStore: damage that opening meets is exit status 5 for every verb.
func TestCorruptStore(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := filled(t)
	flip(t, filepath.Join(dir, "logfile.1"), 8192+100)
	for _, args := range [][]string{{"get", "plain"}, {"put", "k", "v"}, {"del", "k"}, {"scan"}, {"export"}, {"import"}, {"backup"}} {
		r.fails(5, "logfile.1", append(args, "-dir", dir)...)
	}
	r.fails(1, "no database", "get", "-dir", t.TempDir(), "k")
	r.fails(1, "-create", "put", "-dir", newDir(t), "k", "v")
}

func TestDump(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := filled(t)
	text := r.must("dump", dir)
	assert.Equal(t, []string{"version: version", "checkpoint.1: checkpoint", "logfile.1: log"}, titles(text)[:3])
	assert.Contains(t, text, "set 8 plain, 7 bytes\n")
	assert.Contains(t, text, `set 11 "\xff\xfe", 3 bytes, expires at 2098-01-01T00:00:00Z`)
	assert.NotContains(t, text, "a value")
	assert.Contains(t, r.must("dump", "-values", dir), "set 8 plain, 7 bytes: a value\n")
	assert.Contains(t, text, "trailer")
	assert.Contains(t, text, "end: sealed")

	log := r.must("dump", filepath.Join(dir, "logfile.1"))
	assert.Contains(t, text, log, "a file by itself is shown in the same way")
	assert.Equal(t, []string{"checkpoint.1: checkpoint"}, titles(r.must("dump", filepath.Join(dir, "checkpoint.1"))))
	assert.Equal(t, []string{"version: version"}, titles(r.must("dump", filepath.Join(dir, "version"))))

	files := map[string]int{}
	for _, line := range parseJSON(t, r.must("dump", "-json", dir)) {
		files[line["file"].(string)]++
	}
	assert.Equal(t, 1, files["version"])
	assert.Equal(t, 1, files["checkpoint.1"])
	assert.Equal(t, len(entries)+4, files["logfile.1"], "two blocks, the frames, a trailer, the end")

	serve(t, dir)
	assert.Equal(t, text, r.must("dump", dir), "of a directory in use, too")
	r.fails(1, "no database", "dump", t.TempDir())
	r.fails(1, "no such file", "dump", newDir(t))
}

func titles(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, " ") {
			all = append(all, strings.TrimSuffix(line, "\n"))
		}
	}
	return all
}

// TestDumpOfDamage goes on behind it.
func TestDumpOfDamage(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := filled(t)
	flip(t, filepath.Join(dir, "logfile.1"), 8192+4096+100)
	flip(t, filepath.Join(dir, "version"), 20)
	flip(t, filepath.Join(dir, "checkpoint.1"), 100)
	text := r.must("dump", dir)
	assert.Contains(t, text, "12288 damage to 16384")
	assert.Contains(t, text, "set 1 ")
	assert.NotContains(t, text, "set 2 ")
	assert.Contains(t, text, "set 3 ")
	assert.Contains(t, text, "checkpoint header")
	assert.Contains(t, text, "version: version\n  damage: ")
	for _, line := range parseJSON(t, r.must("dump", "-json", dir)) {
		if line["file"] == "version" {
			assert.NotEmpty(t, line["damage"])
		}
	}
}
