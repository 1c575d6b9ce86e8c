package main_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
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

// binary is the server, built once for all tests.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "small_db_server")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { // for tests that run it as another user
		panic(err)
	}
	binary = filepath.Join(dir, "small_db_server")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v\n%s", err, out))
	}
	return m.Run()
}

// server is a running server.
type server struct {
	cmd    *exec.Cmd
	intro  string        // what it printed up to the point where it serves
	addr   string        // from intro
	rest   *bufio.Reader // standard output after intro
	stderr *bytes.Buffer // to be read after wait
}

// command is the binary with an address that is free.
func command(args ...string) *exec.Cmd {
	return exec.Command(binary, append([]string{"-addr", "127.0.0.1:0"}, args...)...)
}

// startServer starts the binary and waits until it has said where it listens.
func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	return startCommand(t, command(args...))
}

// startCommand does so with any command that speaks like the binary.
func startCommand(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	s, err := tryCommand(t, cmd)
	if err != nil {
		_ = s.cmd.Wait()
		t.Fatalf("%v after %q, stderr %q", err, s.intro, s.stderr)
	}
	return s
}

// tryCommand returns an error if the command does not come to say where it listens.
func tryCommand(t *testing.T, cmd *exec.Cmd) (*server, error) {
	t.Helper()
	s := &server{cmd: cmd, stderr: new(bytes.Buffer)}
	s.cmd.Stderr = s.stderr
	stdout, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	s.rest = bufio.NewReader(stdout)
	for !strings.Contains(s.intro, "  address ") {
		line, err := s.rest.ReadString('\n')
		if err != nil {
			return s, err
		}
		s.intro += line
	}
	s.addr = s.field("address")
	require.NotEmpty(t, s.addr, s.intro)
	return s, nil
}

// field is what the introduction says about name.
func (s *server) field(name string) string {
	found := regexp.MustCompile(`(?m)^  ` + name + ` +(.*)$`).FindStringSubmatch(s.intro)
	if found == nil {
		return ""
	}
	return found[1]
}

// end sends a signal and returns the exit status; -1 if a signal ended the process.
func (s *server) end(t *testing.T, signal syscall.Signal) int {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(signal))
	return s.wait(t)
}

func (s *server) wait(t *testing.T) int {
	t.Helper()
	more, err := io.ReadAll(s.rest)
	require.NoError(t, err)
	assert.Empty(t, string(more), "standard output has the introduction only")
	_ = s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode()
}

func (s *server) request(t *testing.T, method, path, body string) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequest(method, "http://"+s.addr+path, strings.NewReader(body))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

func (s *server) put(t *testing.T, key, value string) {
	t.Helper()
	status, answer := s.request(t, "PUT", "/v1/kv/"+key, fmt.Sprintf(`{"value":%q,"encoding":"text"}`, value))
	require.Equal(t, 200, status, answer)
}

// hang sends half a request and returns when the server is reading the rest.
func (s *server) hang(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, "PUT /v1/kv/half HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n")
	require.NoError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n') // the handler has asked for the body
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
	return conn
}

// newDir returns a path where nothing is.
func newDir(t *testing.T) string { return filepath.Join(t.TempDir(), "data") }

func TestLifeOfADatabase(t *testing.T) {
	dir := newDir(t)
	s := startServer(t, "-dir", dir, "-create")
	assert.Equal(t, dir, s.field("directory"))
	assert.Equal(t, "0", s.field("keys"))
	assert.Contains(t, s.field("recovery"), "new database")
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL, syscall.SIGTERM} {
		s.put(t, "last", signal.String())
		s.put(t, signal.String(), "there")
		want := 0
		if signal == syscall.SIGKILL {
			want = -1
		}
		require.Equal(t, want, s.end(t, signal), s.stderr)
		assert.Empty(t, s.stderr.String(), "nothing went wrong, and requests are not logged")

		s = startServer(t, "-dir", dir)
		if signal == syscall.SIGKILL {
			assert.Contains(t, s.field("recovery"), "unclean stop")
		} else {
			assert.Contains(t, s.field("recovery"), "clean close")
		}
		_, answer := s.request(t, "GET", "/v1/kv/"+signal.String(), "")
		assert.Equal(t, `{"key":"`+signal.String()+`","value":"dGhlcmU=","encoding":"base64"}`+"\n", answer)
	}
	assert.Equal(t, "4", s.field("keys"))
	assert.Regexp(t, `^\d+\.8$`, s.field("version"))
	assert.Regexp(t, `^\d+$`, s.field("generation"))
	status, answer := s.request(t, "POST", "/v1/checkpoint", "")
	assert.Equal(t, 200, status, answer)
	assert.Equal(t, 0, s.end(t, syscall.SIGTERM))
}

// TestRefusals: one line on standard error, nothing on standard output, and the exit status.
func TestRefusals(t *testing.T) {
	inUse := startServer(t, "-dir", newDir(t), "-create")
	inUseDir := inUse.field("directory")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	other := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(other, "thesis.txt"), []byte("x"), 0o600))
	empty := t.TempDir()

	for name, row := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"no -dir":                 {nil, 2, "-dir is required"},
		"unknown flag":            {[]string{"-dir", empty, "-nonsense"}, 2, "-nonsense"},
		"unknown warm-up":         {[]string{"-dir", empty, "-warm-up", "hot"}, 2, "off, background or wait"},
		"negative memory":         {[]string{"-dir", empty, "-max-memory-bytes", "-1"}, 1, "MaxMemoryBytes"},
		"bad number":              {[]string{"-dir", empty, "-checkpoint-updates", "-1"}, 2, "-checkpoint-updates"},
		"argument":                {[]string{"-dir", empty, "extra"}, 2, `"extra"`},
		"missing directory":       {[]string{"-dir", newDir(t)}, 1, "-create"},
		"missing parent":          {[]string{"-dir", filepath.Join(newDir(t), "below"), "-create"}, 1, "not those above it"},
		"empty directory":         {[]string{"-dir", empty}, 1, "-create"},
		"file in its place":       {[]string{"-dir", file}, 1, "not a directory"},
		"file in its place, made": {[]string{"-dir", file, "-create"}, 1, "not a directory"},
		"other files":             {[]string{"-dir", other, "-create"}, 1, "not empty"},
		"locked":                  {[]string{"-dir", inUseDir}, 1, fmt.Sprintf("pid %d", inUse.cmd.Process.Pid)},
		"address in use":          {[]string{"-dir", newDir(t), "-create", "-addr", inUse.addr}, 1, "address already in use"},
		"address nonsense":        {[]string{"-dir", newDir(t), "-create", "-addr", "nonsense"}, 1, "nonsense"},
		"negative log bytes":      {[]string{"-dir", newDir(t), "-create", "-checkpoint-log-bytes", "-1"}, 1, "CheckpointLogBytes"},
	} {
		t.Run(name, func(t *testing.T) {
			checkRefusal(t, exec.Command(binary, append([]string{"-addr", "127.0.0.1:0"}, row.args...)...), row.status, row.want)
		})
	}
	names, err := os.ReadDir(other)
	require.NoError(t, err)
	assert.Len(t, names, 1, "nothing was made among other files")
	inUse.put(t, "still", "serving")
	assert.Equal(t, 0, inUse.end(t, syscall.SIGTERM))
}

func checkRefusal(t *testing.T, cmd *exec.Cmd, status int, want string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, status, exit.ExitCode())
	assert.Empty(t, stdout.String())
	assert.Contains(t, stderr.String(), want)
	assert.Regexp(t, `^small_db_server: [^\n]+\n$`, stderr.String())
}

// TestNoPermission runs as nobody when the test runs as root, whom no permission stops.
func TestNoPermission(t *testing.T) {
	dir := newDir(t)
	s := startServer(t, "-dir", dir, "-create")
	require.Equal(t, 0, s.end(t, syscall.SIGTERM))
	require.NoError(t, os.Chmod(dir, 0o000))
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	cmd := exec.Command(binary, "-dir", dir, "-addr", "127.0.0.1:0")
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Dir = "/"
	}
	checkRefusal(t, cmd, 1, "permission denied")
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	s := startServer(t, "-dir", newDir(t), "-create", "-shutdown-timeout", "1h")
	s.put(t, "k", "v")
	s.hang(t)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool { // it has heard the first signal
		conn, err := net.Dial("tcp", s.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, time.Minute, 5*time.Millisecond)
	require.Equal(t, -1, s.end(t, syscall.SIGTERM))
	assert.Equal(t, syscall.SIGTERM, s.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
}

// TestShutdownTimeout: what hangs is cut off, and the database is closed cleanly all the same.
func TestShutdownTimeout(t *testing.T) {
	dir := newDir(t)
	s := startServer(t, "-dir", dir, "-create", "-shutdown-timeout", "20ms")
	s.put(t, "k", "v")
	conn := s.hang(t)
	require.Equal(t, 0, s.end(t, syscall.SIGTERM))
	assert.Regexp(t, `^small_db_server: requests were still running [^\n]+\n$`, s.stderr.String())
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err := io.ReadAll(conn)
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection is cut")

	s = startServer(t, "-dir", dir)
	assert.Contains(t, s.field("recovery"), "clean close")
	assert.Equal(t, "1", s.field("keys"))
	assert.Equal(t, 0, s.end(t, syscall.SIGINT))
}

func TestWarningOnOpenAddresses(t *testing.T) {
	s := startServer(t, "-dir", newDir(t), "-create", "-addr", ":0")
	require.Equal(t, 0, s.end(t, syscall.SIGTERM))
	assert.Regexp(t, `^small_db_server: warning: there is no authentication[^\n]+\n$`, s.stderr.String())
}

func TestVersionAndHelp(t *testing.T) {
	out, err := exec.Command(binary, "-version").Output()
	require.NoError(t, err)
	assert.Regexp(t, `^small_db_server \S+( revision [0-9a-f]+( modified)?)? go\S+.* format 1\n$`, string(out))

	out, err = exec.Command(binary, "-h").Output()
	require.NoError(t, err)
	for _, flag := range []string{"dir", "create", "addr", "checkpoint-interval", "checkpoint-updates", "checkpoint-log-bytes",
		"disable-background-checkpoint", "max-memory-bytes", "lock-memory", "warm-up",
		"scrub-interval", "scrub-bytes-per-second", "shutdown-timeout", "version"} {
		assert.Regexp(t, `(?m)^  -`+flag+`\b`, string(out))
	}
}
