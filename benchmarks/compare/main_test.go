package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asCommand makes the test binary the command itself.
const asCommand = "COMPARE_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// tiny is a repository of a module with one package of benchmarks.
type tiny struct {
	t   *testing.T
	dir string
	tmp string // directory for temporary files of the command
}

// newTiny makes one whose first commit allocates twice in BenchmarkWork.
func newTiny(t *testing.T) *tiny {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git: ", err)
	}
	for _, name := range []string{"GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"} { // as a hook has them
		if value, ok := os.LookupEnv(name); ok {
			require.NoError(t, os.Unsetenv(name))
			t.Cleanup(func() { _ = os.Setenv(name, value) })
		}
	}
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_SYSTEM", os.DevNull)
	r := &tiny{t: t, dir: t.TempDir(), tmp: t.TempDir()}
	t.Setenv("TMPDIR", r.tmp)
	r.git("init", "-q")
	r.git("config", "user.name", "Somebody")
	r.git("config", "user.email", "somebody@example.com")
	r.write("go.mod", "module example.com/tiny\n\ngo 1.26\n")
	r.write("plain/plain.go", "package plain\n")
	r.work(2, "")
	r.commit("first")
	return r
}

// work writes the benchmark: how often it allocates, and what else the file has.
func (r *tiny) work(allocations int, more string) {
	r.write("bench/bench_test.go", fmt.Sprintf(`package bench

import "testing"

var sink []*[64]byte

func BenchmarkWork(b *testing.B) {
	for b.Loop() {
		sink = sink[:0]
		for range %d {
			sink = append(sink, new([64]byte))
		}
	}
}
`, allocations)+more)
}

func (r *tiny) write(name, content string) {
	path := filepath.Join(r.dir, name)
	require.NoError(r.t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(r.t, os.WriteFile(path, []byte(content), 0o600))
}

func (r *tiny) git(args ...string) string {
	cmd := exec.Command("git", args...)
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	require.NoError(r.t, err, "git %s: %s", args, out)
	return string(out)
}

func (r *tiny) commit(message string) {
	r.git("add", "-A")
	r.git("commit", "-q", "-m", message)
}

// state is what the repository consists of, with the names of all files of .git.
func (r *tiny) state() string {
	var names []string
	require.NoError(r.t, filepath.WalkDir(r.dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	}))
	return strings.Join(names, "\n") + r.git("--no-optional-locks", "status", "--porcelain") + r.git("worktree", "list") + r.git("rev-parse", "HEAD")
}

// command is the command with such flags, in a process of its own.
func (r *tiny) command(flags ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	executable, err := os.Executable()
	require.NoError(r.t, err)
	cmd = exec.Command(executable, append([]string{"-repository", r.dir, "-package", "./bench", "-count", "4"}, flags...)...)
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return cmd, stdout, stderr
}

// compare runs the command to its end. Allocations alone are judged: time decides no test.
func (r *tiny) compare(flags ...string) (code int, stdout, stderr string) {
	r.t.Helper()
	before := r.state()
	cmd, out, errs := r.command(append([]string{"-only", "allocs/op", "-benchmem", "-benchtime", "100x"}, flags...)...)
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		require.NoError(r.t, err)
	}
	r.requireClean(before)
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// requireClean fails unless the repository is as before and nothing temporary is left.
func (r *tiny) requireClean(before string) {
	r.t.Helper()
	require.Equal(r.t, before, r.state(), "the repository was changed")
	left, err := os.ReadDir(r.tmp)
	require.NoError(r.t, err)
	require.Empty(r.t, left, "temporary files are left")
}

// TestVerdicts: the same repository, one state after the other.
func TestVerdicts(t *testing.T) {
	r := newTiny(t)
	r.write("notes.txt", "the tree differs, the benchmark does not\n")
	code, stdout, stderr := r.compare()
	require.Equal(t, exitFine, code, stdout+stderr)
	assert.Contains(t, stdout, "base: HEAD (")
	assert.Contains(t, stdout, "new:  the working tree\n")
	assert.Contains(t, stdout, "allocs/op", "the table")
	assert.NotContains(t, stdout, "sec/op", "not asked for")
	assert.Contains(t, stdout, "nothing is worse by more than 5 %, of 1 rows")
	assert.Contains(t, stderr, "round 4 of 4")

	r.work(3, "")
	code, stdout, stderr = r.compare()
	require.Equal(t, exitWorse, code, stdout+stderr)
	assert.Regexp(t, `worse: Work(-\d+)?: 3.* allocs/op instead of 2.*, \+50\.00% \(p=0\.029 n=4\)`, stdout)
	assert.Regexp(t, `Work.*\+50\.00% \(p=0\.029 n=4\)`, strings.Split(stdout, "worse:")[0], "benchstat says the same")

	r.commit("third allocation") // nothing is changed now: the last commit is judged
	code, stdout, stderr = r.compare()
	require.Equal(t, exitWorse, code, stdout+stderr)
	assert.Regexp(t, `base: HEAD~1 \(\w+ first\)\nnew:  HEAD \(\w+ third allocation\)\n`, stdout)

	code, stdout, stderr = r.compare("-base", "HEAD", "-new", "HEAD~1")
	require.Equal(t, exitFine, code, stdout+stderr)
	assert.Contains(t, stdout, "-33.33%", "better")
	code, stdout, stderr = r.compare("-base", "HEAD") // and the tree, which is the same
	require.Equal(t, exitFine, code, stdout+stderr)
}

func TestRefusals(t *testing.T) {
	r := newTiny(t)
	r.work(2, "\nfunc BenchmarkNew(b *testing.B) { for b.Loop() {} }\n")
	for name, row := range map[string]struct {
		flags []string
		says  string
	}{
		"revision":             {[]string{"-base", "none"}, `base: unknown revision "none"`},
		"option as revision":   {[]string{"-new", "--all"}, `new: unknown revision "--all"`},
		"package":              {[]string{"-package", "./none"}, "has no package ./none"},
		"no tests":             {[]string{"-package", "plain"}, "has no benchmarks in plain"},
		"package outside":      {[]string{"-package", "../other"}, "inside the repository"},
		"benchmark":            {[]string{"-bench", "None"}, `no benchmark matches "None"`},
		"unit":                 {[]string{"-bench", "Work", "-only", "none"}, "no benchmark reports none; those there are report B/op, allocs/op, sec/op"},
		"allocations":          {[]string{"-bench", "Work", "-benchmem=false"}, "no benchmark reports allocs/op; those there are report sec/op; -benchmem"},
		"too few rounds":       {[]string{"-count", "3"}, "fewer than 4 rounds"},
		"no percentage":        {[]string{"-threshold", "-1"}, "-threshold is -1"},
		"no flag":              {[]string{"HEAD"}, `"HEAD" is no flag`},
		"flag":                 {[]string{"-none"}, "-none"},
		"outside a repository": {[]string{"-repository", t.TempDir()}, "is not in a git repository"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := r.compare(row.flags...)
			require.Equal(t, exitError, code, stdout+stderr)
			assert.Contains(t, stderr, row.says)
		})
	}
	code, _, stderr := r.compare()
	require.Equal(t, exitError, code)
	assert.Regexp(t, `benchmark missing: New(-\d+)? is not in base; choose with -bench`, stderr)
	code, _, stderr = r.compare("-bench", "Work")
	require.Equal(t, exitFine, code, stderr, "what both have can be compared")
}

// TestBrokenRevisions: one does not build, one fails as it runs, one reports a unit of its own.
func TestBrokenRevisions(t *testing.T) {
	r := newTiny(t)
	r.work(2, "\nvar oops int = false\n")
	code, _, stderr := r.compare()
	require.Equal(t, exitError, code)
	assert.Contains(t, stderr, "new, the working tree, does not build")
	assert.Contains(t, stderr, "bench_test.go:", "what the compiler says")

	r.commit("broken")
	r.work(2, "")
	code, _, stderr = r.compare()
	require.Equal(t, exitError, code)
	assert.Regexp(t, `base, HEAD \(\w+ broken\), does not build`, stderr)

	r.work(2, "\nfunc BenchmarkFails(b *testing.B) { b.Fatal(\"as it must\") }\n")
	code, _, stderr = r.compare("-base", "HEAD~1")
	require.Equal(t, exitError, code)
	assert.Contains(t, stderr, "the benchmarks of new, the working tree, failed")
	assert.Contains(t, stderr, "as it must")

	report := "\nfunc BenchmarkUnit(b *testing.B) { b.ReportMetric(1, \"apples\") }\n"
	r.work(2, report)
	r.commit("apples")
	code, _, stderr = r.compare("-base", "HEAD", "-only", "apples")
	require.Equal(t, exitError, code)
	assert.Contains(t, stderr, `"Unit apples better=higher"`)
}

// TestInterrupt: an interrupt in the middle of a run leaves neither files nor the processes that were running.
func TestInterrupt(t *testing.T) {
	r := newTiny(t)
	pidFile := filepath.Join(t.TempDir(), "pid") // complete as soon as it is there
	r.write("bench/hangs_test.go", fmt.Sprintf(`package bench

import (
	"os"
	"strconv"
	"testing"
	"time"
)

func BenchmarkHangs(b *testing.B) {
	os.MkdirTemp("", "data")
	os.WriteFile("pid", []byte(strconv.Itoa(os.Getpid())), 0o600)
	os.Rename("pid", %q)
	time.Sleep(time.Hour)
}
`, pidFile+".new"))
	r.commit("hangs")
	before := r.state()
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd, stdout, stderr := r.command("-base", "HEAD", "-bench", "Hangs")
		require.NoError(t, cmd.Start())
		eventually(t, "the benchmark runs", func() bool { return os.Rename(pidFile+".new", pidFile) == nil })
		require.NoError(t, cmd.Process.Signal(signal))
		_ = cmd.Wait()
		require.Equal(t, exitError, cmd.ProcessState.ExitCode(), stdout.String()+stderr.String())
		require.Contains(t, stderr.String(), context.Canceled.Error())
		r.requireClean(before)
		eventually(t, "its process ends", func() bool {
			content, err := os.ReadFile(pidFile)
			require.NoError(t, err)
			pid, err := strconv.Atoi(string(content))
			require.NoError(t, err)
			return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
		})
	}
}

// eventually waits for what must happen.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for started := time.Now(); !done(); time.Sleep(time.Millisecond) {
		require.Less(t, time.Since(started), time.Minute, what)
	}
}
