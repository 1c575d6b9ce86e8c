package main_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	smalldb "github.com/tongpengdl/small-db/cmd/smalldb"
	"github.com/tongpengdl/small-db/engine"
)

// logged makes a database with n keys in the log after its newest checkpoint, k00 and so on.
func logged(t *testing.T, n int) string {
	t.Helper()
	dir := filled(t)
	db, err := engine.Open(engine.Options{Dir: dir, LogFileBytes: 4 << 20})
	require.NoError(t, err)
	require.NoError(t, db.Checkpoint(t.Context()))
	for i := range n {
		_, err := db.Set(t.Context(), fmt.Appendf(nil, "k%02d", i), []byte("v"))
		require.NoError(t, err)
	}
	require.NoError(t, db.Close())
	return dir
}

// newestLog is the path of the log whose generation check tells.
func newestLog(t *testing.T, r *runner, dir string) string {
	t.Helper()
	return filepath.Join(dir, fmt.Sprint(parseJSON(t, r.run("check", "-json", dir).stdout)[0]["tail"].(map[string]any)["file"]))
}

// TestRepair: what is intact is saved, what is not is told, and the damaged directory stays as it is.
func TestRepair(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := logged(t, 5)
	clean := r.must("scan", "-dir", dir)

	to := newDir(t)
	said := r.must("check", "-repair-to", to, dir)
	assert.Contains(t, said, "nothing was lost\nsaved in "+to+": 16 keys, ")
	assert.Equal(t, clean, r.must("scan", "-dir", to))

	log := newestLog(t, r, dir)
	flip(t, log, 8192+2*4096+100) // the record of k02
	before := filesOf(t, dir)
	got := r.fails(5, "damaged", "check", dir)
	cure := "smalldb check -repair-to NEWDIR " + dir
	assert.Contains(t, got.stdout, cure+"\n")

	to = newDir(t)
	got = r.fails(5, "not everything could be saved; what could is in "+to, strings.Fields(strings.Replace(cure, "NEWDIR", to, 1))[1:]...)
	assert.Contains(t, got.stdout, fmt.Sprintf("lost: sequences 14 to 14, %s at offset 16384: ", filepath.Base(log)))
	assert.Contains(t, got.stdout, "1 operation was lost; nobody knows which keys")
	assert.Contains(t, got.stdout, "saved in "+to+": 15 keys")
	assert.Equal(t, strings.Replace(clean, "k02\tv\n", "", 1), r.must("scan", "-dir", to))
	assert.Contains(t, r.must("check", to), "closed cleanly")
	assert.Equal(t, before, filesOf(t, dir))

	to = newDir(t)
	got = r.run("check", "-json", "-repair-to", to, "-dir", dir)
	require.Equal(t, 5, got.exit, got.stderr)
	report := parseJSON(t, got.stdout)[0]
	assert.Equal(t, to, report["to"])
	assert.EqualValues(t, 15, report["keys"])
	assert.EqualValues(t, 16, report["last_seq"])
	assert.EqualValues(t, 13, report["complete_up_to"])
	lost := report["lost"].([]any)
	require.Len(t, lost, 1)
	for field, want := range map[string]any{"file": filepath.Base(log), "offset": 16384., "first_seq": 14., "last_seq": 14.} {
		assert.Equal(t, want, lost[0].(map[string]any)[field], field)
	}
	assert.NotEmpty(t, report["findings"])
	assert.EqualValues(t, 5, parseJSON(t, got.stderr)[0]["code"])
}

// TestRepairLosesNothing: damage that an open refuses, and from which nothing is lost, is exit status 0.
func TestRepairLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := logged(t, 5)
	clean := r.must("scan", "-dir", dir)
	log := newestLog(t, r, dir)
	flip(t, log, 20)             // its identity
	flip(t, log, 8192+2*4096+20) // the header of a frame
	r.fails(5, filepath.Base(log), "scan", "-dir", dir)
	assert.Contains(t, r.fails(5, "damaged", "check", dir).stdout, "check -repair-to NEWDIR")
	to := newDir(t)
	assert.Contains(t, r.must("check", "-repair-to", to, dir), "nothing was lost\n")
	assert.Equal(t, clean, r.must("scan", "-dir", to))
	v := r.must("put", "-dir", to, "-json", "more", "v")
	assert.Contains(t, v, ".17\"", "the version goes on")

	empty := t.TempDir()
	r.fails(1, "no database", "check", "-repair-to", newDir(t), empty)
	require.NoError(t, os.WriteFile(filepath.Join(empty, "logfile.3"), []byte("logfile.3"), 0o600))
	to = newDir(t)
	r.fails(5, "nothing in it can be saved", "check", "-repair-to", to, empty)
	assert.NoDirExists(t, to)
}

// TestRepairPlaces: a copy is made nowhere but in a directory of its own.
func TestRepairPlaces(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := logged(t, 2)
	before := filesOf(t, dir)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "file"), nil, 0o600))
	for _, to := range []string{dir, dir + "/", filepath.Join(dir, "new"), link, filepath.Join(link, "new")} {
		r.fails(2, "only read", "check", "-repair-to", to, dir)
		r.fails(2, "only read", "check", "-repair-to", to, link)
	}
	r.fails(2, "to be made", "check", "-repair-to", filepath.Dir(dir), dir)
	r.fails(2, "empty", "check", "-repair-to", "", dir)
	r.fails(2, "directory", "check", "-repair-to", newDir(t))
	r.fails(1, "not empty", "check", "-repair-to", full, dir)
	r.fails(1, "not a directory", "check", "-repair-to", filepath.Join(full, "file"), dir)
	r.fails(1, "no such file", "check", "-repair-to", newDir(t), newDir(t))
	assert.Equal(t, before, filesOf(t, dir))
	r.must("check", "-repair-to", t.TempDir(), dir) // empty is fine

	db, err := engine.Open(engine.Options{Dir: dir})
	require.NoError(t, err)
	to := newDir(t)
	r.fails(6, "held by", "check", "-repair-to", to, dir)
	assert.NoDirExists(t, to)
	require.NoError(t, db.Close())
}

// TestRepairStopped: what is interrupted, or finds no room, leaves no database.
func TestRepairStopped(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := logged(t, 2)
	ctx, stop := context.WithCancel(t.Context())
	stopped := *r
	stopped.ctx = ctx
	stop()
	to := newDir(t)
	stopped.fails(1, "interrupted", "check", "-repair-to", to, dir)
	assert.NoDirExists(t, to)

	// While it is written: just before the last times that progress is shown.
	large := newDir(t)
	r.with(lines(4000)).must("import", "-dir", large, "-create", "-quiet")
	value := filepath.Join(t.TempDir(), "value")
	require.NoError(t, os.WriteFile(value, make([]byte, 1<<20), 0o600))
	for _, key := range []string{"a", "l", "z"} {
		r.must("put", "-dir", large, key, "@"+value)
	}
	counted, stopAt := 0, 0
	counting := *r
	counting.now = func() time.Time {
		if counted++; counted == stopAt {
			stop()
		}
		return time.Time{}
	}
	counting.must("check", "-repair-to", newDir(t), large)
	counted, stopAt = 0, counted-5
	counting.ctx, stop = context.WithCancel(t.Context())
	defer func() { stop() }()
	counting.fails(1, "interrupted", "check", "-repair-to", to, large)
	assert.NoDirExists(t, to)
	r.must("check", "-repair-to", to, dir)
}

// TestRepairProgress: it says how far it is, in both halves.
func TestRepairProgress(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := newDir(t)
	r.with(lines(20_000)).must("import", "-dir", dir, "-create", "-quiet")
	r.now = ticking(2 * time.Second)
	got := r.run("check", "-repair-to", newDir(t), dir)
	require.Equal(t, 0, got.exit, got.stderr)
	assert.Regexp(t, `(?m)^repair: read: [\d.]+ (B|KiB|MiB), [\d.]+ (B|KiB|MiB)/s`, got.stderr)
	assert.Regexp(t, `(?m)^repair: write: [\d.]+ (B|KiB|MiB), [\d.]+ (B|KiB|MiB)/s$`, got.stderr)
	quiet := r.run("check", "-quiet", "-repair-to", newDir(t), dir)
	assert.Empty(t, quiet.stderr)
}

// TestRepairKeepsLock: what fails removes nothing that it has not made.
func TestRepairKeepsLock(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := logged(t, 2)
	backup := filepath.Join(t.TempDir(), "backup")
	require.NoError(t, os.WriteFile(backup, []byte("no backup"), 0o600))
	there := filled(t)
	before := filesOf(t, there)
	require.Contains(t, before, "LOCK")
	got := r.fails(1, "is not empty: LOCK is in it", "check", "-repair-to", there, dir)
	assert.NotContains(t, got.stderr, "no database")
	r.run("restore", "-dir", there, backup)
	assert.Equal(t, before, filesOf(t, there))

	locked := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(locked, "LOCK"), nil, 0o600))
	r.run("restore", "-dir", locked, backup)
	assert.Contains(t, filesOf(t, locked), "LOCK")
	r.fails(1, "is not empty: LOCK is in it", "check", "-repair-to", locked, dir)
	assert.Contains(t, filesOf(t, locked), "LOCK")

	empty := t.TempDir()
	r.fails(5, "", "restore", "-dir", empty, backup)
	assert.Empty(t, filesOf(t, empty))
	missing := newDir(t)
	r.fails(5, "", "restore", "-dir", missing, backup)
	assert.NoDirExists(t, missing)
}

// TestRepairWords: what is said fits what there is.
func TestRepairWords(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := logged(t, 5)
	r.fails(2, "-shallow", "check", "-shallow", "-repair-to", newDir(t), dir)
	log := newestLog(t, r, dir)
	flip(t, log, 8192+2*4096+100)
	got := r.fails(5, "smalldb check "+dir+" says what is lost, check -repair-to NEWDIR "+dir+" saves the rest", "scan", "-dir", dir)
	assert.Equal(t, 1, strings.Count(got.stderr, "\n"))
	got = r.fails(5, "", "check", "-repair-to", newDir(t), dir)
	assert.Contains(t, got.stdout, "1 operation was lost; nobody knows which keys it set or deleted")

	empty := newDir(t)
	db, err := engine.Open(engine.Options{Dir: empty, Create: true})
	require.NoError(t, err)
	require.NoError(t, db.Close())
	assert.Contains(t, r.must("check", "-repair-to", newDir(t), empty), "used: checkpoint.1: 0 keys\n")
}

// TestRepairedIsKept: what an open repairs is on the disk when the command ends, and the next one has nothing to repair.
func TestRepairedIsKept(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := logged(t, 5)
	clean := r.must("scan", "-dir", dir)
	info := parseJSON(t, r.must("check", "-json", dir))[0]
	flip(t, filepath.Join(dir, fmt.Sprintf("checkpoint.%v", info["generation"])), 20)
	got := r.run("scan", "-dir", dir)
	require.Equal(t, 0, got.exit, got.stderr)
	assert.Equal(t, clean, got.stdout)
	assert.Contains(t, got.stderr, "repaired ")
	again := r.run("scan", "-dir", dir)
	assert.Equal(t, clean, again.stdout)
	assert.Empty(t, again.stderr)
	assert.NotContains(t, r.run("check", dir).stdout, "is lost")
}

// TestInside: a directory is inside another one by whatever path it is reached.
func TestInside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	for path, want := range map[string]bool{
		dir: true, filepath.Join(dir, "a", "b"): true, link: true, filepath.Join(link, "a", "b"): true,
		filepath.Dir(dir): false, dir + "x": false, filepath.Join(dir, "..", "other"): false,
	} {
		assert.Equal(t, want, smalldb.IsInside(path, dir), path)
	}
}
