package bugs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine/enginetest"
)

const (
	effortVariable = "SMALLDB_TEST_LONG"
	// packageTimeout is how long the tests of a package may take, in the words of go test: many times what they need.
	packageTimeout = "10m"
)

// TestBugsAreCaught seeds one bug after the other, and wants the ordinary suite to fail.
func TestBugsAreCaught(t *testing.T) {
	if !enginetest.Long() {
		t.Skip("it runs the suite once for each bug: set " + effortVariable)
	}
	table, packages := readTable(t), suite(t)
	found := 0
	for _, b := range readBugs(t) {
		t.Run(b.name, func(t *testing.T) {
			s := seeded{t: t, overlay: b.overlay(t)}
			s.build()
			by := s.firstFailure(b, table[b.name].by, packages)
			require.NotEmpty(t, by, "%s: no test has failed", b.what)
			t.Logf("caught by %s", by)
			found++
		})
	}
	t.Logf("%d bugs caught", found)
}

// suite is the packages of the ordinary suite, by their directories, but for those that look at the source and not at what it does.
func suite(t *testing.T) []string {
	t.Helper()
	list := exec.Command("go", "list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}", "./...")
	list.Dir = root
	list.Stderr = os.Stderr
	out, err := list.Output()
	require.NoError(t, err)
	var dirs []string
	for _, name := range strings.Fields(string(out)) {
		if dir := strings.TrimPrefix(name, module); !slices.Contains([]string{"benchmarks", "docs", "fuzz/bugs"}, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// seeded runs the go command on the product with a bug in it.
type seeded struct {
	t       *testing.T
	overlay string
}

// command returns a go command. What it builds has the bug, and so has what the tests build.
func (s *seeded) command(args ...string) *exec.Cmd {
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, effortVariable+"=") })
	cmd.Env = append(cmd.Env, strings.TrimSpace("GOFLAGS="+os.Getenv("GOFLAGS")+" -overlay="+s.overlay))
	return cmd
}

// build makes sure that the bug is no error of the compiler.
func (s *seeded) build() {
	s.t.Helper()
	out, err := s.command("build", "./...").CombinedOutput()
	require.NoError(s.t, err, "the bug does not compile:\n%s", out)
}

// firstFailure returns which test fails first, as package.Test, and how if it does not just say so; "" if none does.
func (s *seeded) firstFailure(b *bug, expected string, packages []string) string {
	if expected != "" && enginetest.Effort() == 1 {
		dir, test := splitTest(expected)
		if by := s.test(dir, "-run", "^"+test+"$"); by != "" {
			return by
		}
		s.t.Logf("%s does not catch it", expected)
	}
	home := path.Dir(b.edits[0].file)
	ordered := append([]string{home}, slices.DeleteFunc(slices.Clone(packages), func(dir string) bool { return dir == home })...)
	for _, dir := range ordered {
		if by := s.test(dir); by != "" {
			return by
		}
	}
	return ""
}

// event is what go test -json says.
type event struct {
	Action, Test, Output string
	FailedBuild          string
}

// test runs tests of a package, and says which one fails.
func (s *seeded) test(dir string, args ...string) string {
	s.t.Helper()
	cmd := s.command(slices.Concat([]string{"test", "-json", "-vet=off", "-failfast", "-timeout", packageTimeout}, args, []string{"./" + dir})...)
	out, err := cmd.Output()
	running, failed, last := []string{}, "", bytes.Buffer{}
	hangs, passed := false, false
	for line := range bytes.Lines(out) {
		var e event
		require.NoError(s.t, json.Unmarshal(line, &e), "%s", line)
		require.Empty(s.t, e.FailedBuild, "the tests of %s cannot be built with the bug:\n%s", dir, out)
		hangs = hangs || strings.HasPrefix(e.Output, "panic: test timed out")
		last.WriteString(e.Output)
		top := !strings.Contains(e.Test, "/") && e.Test != ""
		switch {
		case top && e.Action == "run":
			running = append(running, e.Test)
		case top && (e.Action == "pass" || e.Action == "skip" || e.Action == "fail"):
			running = slices.DeleteFunc(running, func(name string) bool { return name == e.Test })
			if e.Action == "fail" && failed == "" {
				failed = e.Test
			}
		case e.Test == "" && e.Action == "pass":
			passed = true
		}
	}
	switch {
	case err == nil && passed:
		return ""
	case hangs:
		return fmt.Sprintf("%s.%s (hangs)", dir, strings.Join(append(running, failed), ", "))
	case failed != "":
		return dir + "." + failed
	case len(running) > 0: // the process has ended under them
		return fmt.Sprintf("%s.%s (crashes)", dir, running[len(running)-1])
	}
	require.Fail(s.t, "the tests have not run", "%s: %v\n%s", dir, err, last.String())
	return ""
}
