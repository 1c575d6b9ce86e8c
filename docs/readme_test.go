package docs_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// block is a fenced block of a page.
type block struct {
	language, text string
}

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// readme returns the blocks of the README.
func readme(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	var blocks []block
	for _, found := range fence.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, block{found[1], found[2]})
	}
	require.NotEmpty(t, blocks)
	return blocks
}

// only returns the one block in a language.
func only(t *testing.T, language string) string {
	t.Helper()
	var found []string
	for _, b := range readme(t) {
		if b.language == language {
			found = append(found, b.text)
		}
	}
	require.Len(t, found, 1, language)
	return found[0]
}

// commands says of every line in a shell block of the README who runs it.
var commands = map[string]string{
	"go run ./cmd/small_db_server -dir ./data -create -addr :8080": "TestReadmeServer",
	"go test ./...":                                        "runs this test",
	"go install ./cmd/smalldb":                             "TestReadmeTool builds it",
	"go test -run '^$' -fuzz '^FuzzLog$' ./fuzz":           ".ci/run, not as long",
	"go run ./cmd/small_db_example":                        ".ci/run",
	"go run ./cmd/smalldb torture -dir ./torture -for 60s": ".ci/run, not as long",
	"go test ./benchmarks -run '^$' -bench . -count 6":     "takes minutes",
}

func TestReadmeCommands(t *testing.T) {
	var found []string
	for _, b := range readme(t) {
		if b.language == "sh" {
			found = append(found, strings.Split(strings.TrimSpace(b.text), "\n")...)
		}
	}
	for _, command := range found {
		assert.Contains(t, commands, command, "nobody runs it")
	}
	for command := range commands {
		assert.Contains(t, found, command)
	}
}

// TestReadmeProgram runs the program of the README and compares what it prints.
func TestReadmeProgram(t *testing.T) {
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	require.NoError(t, os.WriteFile(source, []byte(only(t, "go")), 0o600))
	build := exec.Command("go", "build", "-o", binary, source) // here, so imports are those of this module
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	program := exec.Command(binary)
	program.Dir = dir
	out, err = program.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Equal(t, only(t, "text"), string(out))
}

// TestReadmeTool runs the session of the README, and compares what it prints.
func TestReadmeTool(t *testing.T) {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "smalldb"), "./cmd/smalldb")
	build.Dir = root
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	ran := 0
	for _, step := range session(t, only(t, "session")) {
		args := strings.Fields(step.command)
		require.Equal(t, "smalldb", args[0])
		command := exec.Command(filepath.Join(dir, "smalldb"), args[1:]...)
		command.Dir = dir
		out, _ := command.CombinedOutput() // a status that is not 0 comes with its words
		assert.Equal(t, step.output, string(out), step.command)
		ran++
	}
	assert.Equal(t, 8, ran)
}

// step is a command of a block and what it prints.
type step struct{ command, output string }

// session takes a block apart.
func session(t *testing.T, text string) []step {
	t.Helper()
	var steps []step
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			steps = append(steps, step{command: command})
			continue
		}
		require.NotEmpty(t, steps, line)
		steps[len(steps)-1].output += line + "\n"
	}
	return steps
}

// TestReadmeServer starts the server with the README's own command and talks to it with the README's own.
func TestReadmeServer(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed, and the commands are calls of it")
	}
	address := startReadmeServer(t)
	ran := 0
	for _, step := range session(t, only(t, "console")) {
		require.Contains(t, step.command, "localhost:8080")
		out, err := exec.Command("sh", "-c", strings.ReplaceAll(step.command, "localhost:8080", address)).Output()
		require.NoError(t, err, step.command)
		assert.Equal(t, step.output, string(out), step.command)
		ran++
	}
	assert.Equal(t, 3, ran)
}

// startReadmeServer runs the first command of the README, on a free port and in a temporary directory, and returns the
// address where the server is. The server ends, cleanly, with the test.
func startReadmeServer(t *testing.T) string {
	t.Helper()
	const command = "go run ./cmd/small_db_server -dir ./data -create -addr :8080"
	require.Contains(t, commands, command)
	args := strings.Fields(strings.NewReplacer("./data", filepath.Join(t.TempDir(), "data"), ":8080", "127.0.0.1:0").Replace(command))
	server := exec.Command(args[0], args[1:]...)
	server.Dir = root
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // to reach what go run starts
	server.Stderr = os.Stderr
	stdout, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	lines := bufio.NewReader(stdout)
	t.Cleanup(func() {
		_ = syscall.Kill(-server.Process.Pid, syscall.SIGTERM)
		ended := time.AfterFunc(time.Minute, func() { _ = syscall.Kill(-server.Process.Pid, syscall.SIGKILL) })
		defer ended.Stop()
		_, _ = io.Copy(io.Discard, lines) // until the server itself has ended
		_ = server.Wait()                 // go run says that a signal ended it
	})
	for {
		line, err := lines.ReadString('\n')
		require.NoError(t, err, "the server ended before it said where it is")
		if address, ok := strings.CutPrefix(strings.TrimSpace(line), "address "); ok {
			return strings.TrimSpace(address)
		}
	}
}

// page is a page of documentation.
type page struct {
	name, text string
}

// pages returns all pages.
func pages(t *testing.T) []page {
	t.Helper()
	names := []string{"README.md", "CHANGELOG.md", "format/FORMAT.md"}
	more, err := filepath.Glob("*.md")
	require.NoError(t, err)
	for _, name := range more {
		names = append(names, "docs/"+name)
	}
	var out []page
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		out = append(out, page{name, string(text)})
	}
	return out
}

var (
	linked = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)                          // a relative link
	quoted = regexp.MustCompile("`((?:[a-z_]+/)+[a-z_]+\\.(?:go|md))`")                // `engine/write.go`
	named  = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z]*)`")           // `TestCrashImages`
	inCode = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z]*)\(`) // where that is
)

// TestPagesNameWhatExists: the files, tests and functions that a page names are there.
func TestPagesNameWhatExists(t *testing.T) {
	tests := map[string]bool{}
	for _, f := range readFiles(t) {
		if f.test {
			source, err := os.ReadFile(filepath.Join(root, f.path))
			require.NoError(t, err)
			for _, found := range inCode.FindAllStringSubmatch(string(source), -1) {
				tests[found[1]] = true
			}
		}
	}
	for _, p := range pages(t) {
		for _, found := range linked.FindAllStringSubmatch(p.text, -1) {
			assert.NoError(t, exists(filepath.Join(root, filepath.Dir(p.name), found[1])), p.name)
		}
		for _, found := range quoted.FindAllStringSubmatch(p.text, -1) {
			assert.NoError(t, exists(filepath.Join(root, found[1])), p.name)
		}
		for _, found := range named.FindAllStringSubmatch(p.text, -1) {
			assert.True(t, tests[found[1]], "%s names %s, which is not there", p.name, found[1])
		}
	}
}

func exists(name string) error {
	_, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not there", name)
	}
	return err
}
