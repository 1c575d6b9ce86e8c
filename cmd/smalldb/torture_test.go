package main_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	smalldb "github.com/tongpengdl/small-db/cmd/smalldb"
	"github.com/tongpengdl/small-db/cmd/smalldb/torture"
	"github.com/tongpengdl/small-db/engine/enginetest"
)

// childIsProgram makes the process that torture starts the program, as it is for users.
func childIsProgram(t *testing.T) { t.Setenv(asProgram, "1") }

// TestTorture: a short run holds, says so, shows how far it is, and gives the directory back as it was.
func TestTorture(t *testing.T) { // alone: it starts processes
	childIsProgram(t)
	seed := fmt.Sprint(enginetest.Seed(t, 1))
	dir := newDir(t)
	lasts := fmt.Sprintf("%ds", enginetest.Times(2, 60))
	r := newRunner(t)
	r.now, r.tty = time.Now, func(any) bool { return true }
	got := r.run("torture", "-dir", dir, "-for", lasts, "-seed", seed)
	text := got.stdout
	t.Log(text)
	require.Equal(t, 0, got.exit, got.stderr)
	assert.Regexp(t, `torture: \d+ checks +\d+% \[`, got.stderr)
	assert.NoDirExists(t, dir)
	for _, want := range []string{
		`^held: [\d,]+ kills?, [\d,]+ faults?, [\d,]+ power cuts?, [\d,]+ damaged copies in \d+ s: [\d,]+ acknowledged writes, none lost; ` +
			`[\d,]+ unknown outcomes?, each whole or absent; nothing false was served\n`,
		`\nkills: [\d,]+ of them while the database was being opened; faults: [\d,]+ of them in the live log\n`,
		`\ndamaged copies: [\d,]+ opened as they were, [\d,]+ repaired, [\d,]+ with reads refused, [\d,]+ refused\n`,
		`\ndisk: .+; a durable write of 4 KiB takes \d+\.\d\d ms \(median\), \d+\.\d\d ms \(99th percentile\)\n`,
		`trusts the disk to keep what it has acknowledged`, `\nseed: ` + seed + `\n$`,
	} {
		assert.Regexp(t, want, text)
	}
}

// TestTortureJSON: one object; and a directory that was there stays, empty.
func TestTortureJSON(t *testing.T) {
	childIsProgram(t)
	dir := t.TempDir()
	line := parseJSON(t, newRunner(t).must("torture", "-json", "-dir", dir, "-for", "1ms", "-seed", "7", "-clients", "3", "-value-bytes", "100"))
	require.Len(t, line, 1)
	got := line[0]
	assert.Equal(t, true, got["held"])
	for field, want := range map[string]int{"seed": 7, "clients": 3, "value_bytes": 100, "cycles": 4} {
		assert.EqualValues(t, want, got[field], field)
	}
	for _, field := range []string{"power_cuts", "damaged_copies", "acknowledged", "reads", "checked", "seconds", "write_median_ns", "write_p99_ns"} {
		assert.Positive(t, got[field], field)
	}
	assert.NotEmpty(t, got["file_system"])
	assert.Empty(t, filesOf(t, dir))
	assert.DirExists(t, dir)
}

// TestTortureDirectory: files of others are never touched, one torture at a time works in a directory, and what a killed one has left goes.
func TestTortureDirectory(t *testing.T) {
	childIsProgram(t)
	r := newRunner(t)
	dir := t.TempDir()
	mine := filepath.Join(dir, "run-mine")
	require.NoError(t, os.WriteFile(mine, []byte("mine"), 0o600))
	r.fails(2, "run-mine", "torture", "-dir", dir, "-for", "1ms")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "smalldb-torture"), nil, 0o600))
	r.fails(2, "run-mine", "torture", "-dir", dir, "-for", "1ms")
	assert.Equal(t, map[string]string{"run-mine": "mine", "smalldb-torture": ""}, filesOf(t, dir))
	data := filled(t)
	before := filesOf(t, data)
	r.fails(2, "left by an earlier torture", "torture", "-dir", data, "-for", "1ms")
	assert.Equal(t, before, filesOf(t, data))

	dir = newDir(t)
	cmd := command("torture", "-dir", dir, "-for", "1m")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	marker := filepath.Join(dir, "smalldb-torture")
	require.Eventually(t, func() bool { return holds(marker, "pid") }, time.Minute, time.Millisecond)
	got := r.fails(6, fmt.Sprintf("pid %d", cmd.Process.Pid), "torture", "-dir", dir, "-for", "1ms")
	assert.NotContains(t, got.stderr, "-addr")
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	assert.FileExists(t, marker)
	kept := filepath.Join(dir, "run-1-1")
	require.NoError(t, os.Mkdir(kept, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(kept, "violation.json"), nil, 0o600))
	assert.Contains(t, r.must("torture", "-dir", dir, "-for", "1ms"), "held: ")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 2, "the evidence of an earlier run, and the marker")
	require.NoError(t, os.RemoveAll(kept))
	r.must("torture", "-dir", dir, "-for", "1ms")
	assert.Empty(t, filesOf(t, dir))
}

// TestTortureInterrupted: a signal ends it after the cycle under way, with what was found so far.
func TestTortureInterrupted(t *testing.T) {
	dir := newDir(t)
	cmd := command("torture", "-dir", dir, "-for", "10m")
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(stderr).ReadString('\n')
	require.NoError(t, err)
	require.Regexp(t, `^torture: \d+ checks`, line)
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.NoError(t, cmd.Wait())
	assert.Regexp(t, `^held: .* when it was interrupted: `, stdout.String())
	assert.NoDirExists(t, dir)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := newRunner(t)
	r.ctx = ctx
	r.fails(1, "interrupted", "torture", "-dir", dir) // proves nothing
	assert.NoDirExists(t, dir)
}

// TestTortureFlags that cannot be.
func TestTortureFlags(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := newDir(t)
	for args, want := range map[string]string{
		"":                          "-dir",
		"-dir D -for -1s":           "negative",
		"-dir D -for soon":          "soon",
		"-dir D -clients 0":         "-clients 0",
		"-dir D -clients 65":        "-clients 65",
		"-dir D -value-bytes 0":     "-value-bytes 0",
		"-dir D -value-bytes 1e6":   "1e6",
		"-dir D -value-bytes 70000": "-value-bytes 70000",
		"-dir D more":               "more",
	} {
		r.fails(2, want, append([]string{"torture"}, strings.Fields(strings.ReplaceAll(args, " D", " "+dir))...)...)
	}
	assert.NoDirExists(t, dir)
	r.fails(1, "not a directory", "torture", "-dir", os.Args[0], "-for", "1ms")
}

// TestTortureVerdict: a broken promise is damage, exit status 5, and says where the evidence is.
func TestTortureVerdict(t *testing.T) {
	t.Parallel()
	broken := &torture.Result{Violation: "lost: x", Seed: 3, Evidence: "d/run-3", Kills: 1, Faults: 1234567, FileSystem: "tmpfs on tmpfs"}
	for _, asJSON := range []bool{false, true} {
		var stdout bytes.Buffer
		err := smalldb.Verdict(&stdout, asJSON, broken)
		assert.EqualError(t, err, "a promise is broken: lost: x; seed 3; the evidence is in d/run-3")
		assert.Equal(t, 5, smalldb.ExitOf(err))
		if asJSON {
			said := parseJSON(t, stdout.String())[0]
			assert.Equal(t, []any{false, "lost: x", "d/run-3"}, []any{said["held"], said["violation"], said["evidence"]})
			continue
		}
		assert.Regexp(t, `^NOT held: 1 kill, 1,234,567 faults, 0 power cuts, 0 damaged copies in 0 s\n`, stdout.String())
		assert.NotContains(t, stdout.String(), "none lost")
		assert.Contains(t, stdout.String(), "\ncaution: tmpfs keeps files in memory")
	}
}
