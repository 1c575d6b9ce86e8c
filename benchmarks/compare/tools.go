package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// tools runs other programs. All of them end when ctx does.
type tools struct {
	ctx     context.Context
	scratch string // directory for whatever is made
	temp    string // directory for temporary files of the programs, in scratch
}

// killedWait is how long a killed program's output is waited for: what it had started may hold it open.
const killedWait = 5 * time.Second

// run runs a program in a directory and returns what it writes to its standard output. The error has the end of all that it wrote.
func (t *tools) run(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(t.ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = append(append(os.Environ(), "TMPDIR="+t.temp), env...)
	// A group of its own: an interrupt reaches this process alone, which then ends the program with all that it has started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killedWait
	err := cmd.Run()
	if t.ctx.Err() != nil {
		return "", fmt.Errorf("ended before it was done: %w", t.ctx.Err())
	}
	if err != nil {
		said := strings.TrimSpace(stdout.String() + "\n" + stderr.String())
		return "", fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), args[0], err, lastLines(said, 20))
	}
	return stdout.String(), nil
}

// lastLines are the last n lines of a text.
func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// git runs git and returns what it says, without the last line break.
func (t *tools) git(dir string, args ...string) (string, error) {
	out, err := t.run(dir, nil, "git", args...)
	return strings.TrimRight(out, "\n"), err
}

// benchstatPackage is the program whose verdict is printed: a tool of this module.
const benchstatPackage = "golang.org/x/perf/cmd/benchstat"

// buildBenchstat builds it before anything is measured, and returns its path.
func (t *tools) buildBenchstat() (string, error) {
	path := filepath.Join(t.scratch, "benchstat")
	if _, err := t.run("", nil, "go", "build", "-o", path, benchstatPackage); err != nil {
		return "", fmt.Errorf("benchstat does not build; start this in its own directory, benchmarks/compare: %w", err)
	}
	return path, nil
}

// table is what benchstat says: of some units, or of all if only is empty.
func (t *tools) table(benchstat string, base, tested *revision, only []string) (string, error) {
	filter := "*"
	if len(only) > 0 {
		quoted := make([]string, len(only))
		for i, unit := range only {
			quoted[i] = fmt.Sprintf("%q", unit)
		}
		filter = ".unit:(" + strings.Join(quoted, " OR ") + ")"
	}
	table, err := t.run("", nil, benchstat, "-filter", filter, base.side.String()+"="+base.output, tested.side.String()+"="+tested.output)
	if err == nil && table == "" { // it exits with 0 even then
		err = fmt.Errorf("benchstat has nothing to show for %s", filter)
	}
	return table, err
}
