package main_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSignals: a signal ends an import in order, even while it waits for its input; and says what is there.
func TestSignals(t *testing.T) { // alone: a process that begins has for a moment the locks of this one
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			dir := newDir(t)
			cmd := command("import", "-dir", dir, "-create")
			stdin, err := cmd.StdinPipe()
			require.NoError(t, err)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			require.NoError(t, cmd.Start())
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			_, err = io.WriteString(stdin, lines(1000))
			require.NoError(t, err)
			require.Eventually(t, func() bool { return holds(filepath.Join(dir, "logfile.1"), "k0000001") }, time.Minute, time.Millisecond)
			require.NoError(t, cmd.Process.Signal(signal))
			_ = cmd.Wait()
			assert.Equal(t, 1, cmd.ProcessState.ExitCode(), stderr.String())
			var loaded int
			_, err = fmt.Sscanf(stderr.String(), "smalldb: import of standard input: interrupted; the first %d lines have been imported\n", &loaded)
			require.NoError(t, err, stderr.String())
			assert.Len(t, entriesOf(t, dir), min(loaded, 500))
		})
	}
}

// TestSignalsWhileOpening: a command that waits for the other end of a named pipe ends with its context.
func TestSignalsWhileOpening(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	for _, args := range [][]string{{"import", "-dir", dir}, {"export", "-dir", dir}, {"backup", "-dir", dir}, {"put", "-dir", dir, "k"},
		{"restore", "-dir", newDir(t)}} {
		pipe := filepath.Join(t.TempDir(), "pipe")
		require.NoError(t, syscall.Mkfifo(pipe, 0o600))
		all := append(args, pipe)
		if args[0] == "put" {
			all = append(args, "@"+pipe)
		}
		for wait := 20 * time.Millisecond; ; wait *= 2 { // until it is the pipe where it waits, and not something before
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(wait, cancel)
			r := newRunner(t)
			r.ctx = ctx
			if got := r.fails(1, ": interrupted", all...); strings.Contains(got.stderr, pipe+": interrupted") {
				break
			}
			require.Less(t, wait, time.Minute)
		}
		newRunner(t).fails(1, "not a regular file", "dump", pipe)
		both, err := os.OpenFile(pipe, os.O_RDWR, 0) // lets go who waits still
		require.NoError(t, err)
		require.NoError(t, both.Close())
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := newRunner(t)
	r.ctx = ctx
	r.fails(1, "interrupted", "get", "-dir", newDir(t), "k")
}

// holds reports whether a file, which may be missing, has a text in it.
func holds(file, text string) bool {
	content, err := os.ReadFile(file)
	return err == nil && bytes.Contains(content, []byte(text))
}

// TestBinary is a life of a database with the program as users have it.
func TestBinary(t *testing.T) { // alone: a process that begins has for a moment the locks of this one
	binary := filepath.Join(t.TempDir(), "smalldb")
	out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	dir := newDir(t)
	for _, row := range []struct {
		exit   int
		stdout string
		args   []string
	}{
		{1, "", []string{"get", "-dir", dir, "k"}},
		{0, "", []string{"put", "-dir", dir, "-create", "k", "a value"}},
		{0, "a value", []string{"get", "k", "-dir", dir}},
		{3, "", []string{"get", "none", "-dir", dir}},
		{4, "", []string{"put", "k", "another", "-dir", dir, "-if-absent"}},
		{6, "", []string{"get", "k", "-addr", "127.0.0.1:1"}},
		{2, "", []string{"get", "k"}},
		{0, "k\ta value\n", []string{"scan", "-dir", dir}},
		{0, `{"ok":true,"version":"1.2"}` + "\n", []string{"del", "-dir", dir, "k", "-json"}},
		{0, "", []string{"scan", "-dir", dir}},
	} {
		cmd := exec.Command(binary, row.args...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		_ = cmd.Run()
		assert.Equal(t, row.exit, cmd.ProcessState.ExitCode(), "%q: %s", row.args, stderr.String())
		assert.Equal(t, row.stdout, stdout.String(), "%q", row.args)
		if row.exit != 0 {
			assert.Regexp(t, `^smalldb: [^\n]+\n$`, stderr.String(), "%q", row.args)
		}
	}
}
