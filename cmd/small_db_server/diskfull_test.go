package main_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startOnSmallDisk starts the server on a file system in memory of its own, and returns where that is seen from here.
func startOnSmallDisk(t *testing.T, size string) (s *server, disk string) {
	t.Helper()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("only root on Linux may mount a small file system")
	}
	dir := t.TempDir()
	const script = `mount -t tmpfs -o size="$1" tmpfs "$2" && exec "$3" -addr 127.0.0.1:0 -dir "$2/data" -create`
	cmd := exec.Command("unshare", "-m", "sh", "-c", script, "sh", size, dir, binary)
	s = &server{cmd: cmd, stderr: new(bytes.Buffer)}
	s.cmd.Stderr = s.stderr
	stdout, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	if err := s.cmd.Start(); errors.Is(err, exec.ErrNotFound) {
		t.Skipf("it needs unshare: %v", err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill(); _ = s.cmd.Wait() })
	s.rest = bufio.NewReader(stdout)
	for !strings.Contains(s.intro, "  address ") {
		line, err := s.rest.ReadString('\n')
		if err != nil {
			_ = s.cmd.Wait()
			if strings.Contains(s.stderr.String(), "unshare") {
				t.Skipf("root may not make mount namespaces here: %s", s.stderr)
			}
			t.Fatalf("%v after %q, stderr %q", err, s.intro, s.stderr)
		}
		s.intro += line
	}
	s.addr = s.field("address")
	return s, filepath.Join("/proc", fmt.Sprint(s.cmd.Process.Pid), "root", dir)
}

// fillDisk leaves no room on a file system, and returns the file that takes it, also what has become free since it was called last.
func fillDisk(t *testing.T, disk string) string {
	t.Helper()
	ballast := filepath.Join(disk, "ballast")
	f, err := os.OpenFile(ballast, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, f.Close())
	return ballast
}

// A full disk: PUT is 507 and says why, all else is as ever, and PUT is 200 again once there is room, in the same process.
func TestFullDisk(t *testing.T) {
	s, disk := startOnSmallDisk(t, "80m")
	value := strings.Repeat("v", 100_000)
	written := 0
	put := func() (int, string) {
		status, body := s.request(t, "PUT", fmt.Sprintf("/v1/kv/key-%d", written), fmt.Sprintf(`{"value":%q,"encoding":"text"}`, fmt.Sprint(written, value)))
		if status == 200 {
			written++
		}
		return status, body
	}
	get := func() {
		for _, n := range []int{0, written / 2, written - 1} {
			status, body := s.request(t, "GET", fmt.Sprintf("/v1/kv/key-%d", n), "")
			require.Equal(t, 200, status, body)
		}
		status, lines := s.request(t, "GET", "/v1/export", "")
		require.Equal(t, 200, status)
		require.Equal(t, written, strings.Count(lines, "\n"))
		status, _ = s.request(t, "GET", "/v1/backup", "")
		require.Equal(t, 200, status)
	}
	put()
	refused := 0
	for range 3 {
		ballast := fillDisk(t, disk)
		status, body := put()
		for status == 200 && written < 2000 { // as long as the logs that are prepared last
			fillDisk(t, disk) // a spare that was being prepared may have made room
			status, body = put()
		}
		require.Equal(t, 507, status, body)
		refused++
		assert.True(t, strings.HasPrefix(body, `{"error":"`) && strings.HasSuffix(body, "\"}\n"), body)
		assert.Contains(t, body, "disk is full")
		assert.NotContains(t, body, "outcome unknown")
		if refused > 1 {
			status, body = s.request(t, "POST", "/v1/checkpoint", "")
			assert.Equal(t, 507, status, body)
		}
		status, body = s.request(t, "GET", "/v1/health", "")
		assert.Equal(t, 200, status, body)
		assert.Equal(t, okBody, body)
		get()
		require.NoError(t, os.Remove(ballast))
		status, body = put()
		require.Equal(t, 200, status, body)
		get()
	}
	require.Equal(t, 0, s.end(t, syscall.SIGTERM), s.stderr)
	t.Logf("%d times full, %d values", refused, written)
	_, err := os.Stat(disk)
	require.ErrorIs(t, err, fs.ErrNotExist, "the file system has gone with its process")
}

const okBody = "{\"ok\":true}\n"
