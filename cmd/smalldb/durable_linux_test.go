package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const durableVariable = "SMALLDB_TEST_DURABLE_DIR"

// inChild runs the test that calls it in a process of its own, with a directory that everybody may look into and in which data is a
// database, and returns false; there it returns the directory and true.
func inChild(t *testing.T) (dir string, child bool) {
	t.Helper()
	if dir := os.Getenv(durableVariable); dir != "" {
		return dir, true
	}
	dir, err := os.MkdirTemp("", "durable") // t.TempDir is closed to others
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	// Without deadlines: a backup would record engine time, and need syncs of its own.
	newRunner(t).must("put", "-dir", filepath.Join(dir, "data"), "-create", "k", "a value")
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), durableVariable+"="+dir)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return "", false
}

// TestOutputThatIsNotDurable: where no file can be made durable, what a verb writes does not take its name.
func TestOutputThatIsNotDurable(t *testing.T) {
	dir, child := inChild(t)
	if !child {
		return
	}
	out := filepath.Join(dir, "out")
	require.NoError(t, os.Mkdir(out, 0o700))
	failSyncs(t)
	for _, verb := range []string{"backup", "export"} {
		newRunner(t).fails(1, syscall.EIO.Error(), verb, "-dir", filepath.Join(dir, "data"), filepath.Join(out, verb))
		left, err := os.ReadDir(out)
		require.NoError(t, err)
		assert.Empty(t, left, "neither the file nor what was to become it")
	}
}

// failSyncs makes every fsync of this process fail with EIO, for good.
func failSyncs(t *testing.T) {
	t.Helper()
	filter := [...]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_FSYNC},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EIO)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	require.NoError(t, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno == unix.ENOSYS || errno == unix.EINVAL {
		t.Skip("this kernel filters no system calls")
	}
	require.Zero(t, errno)
}

// TestOutputWhoseNameIsNotDurable: a verb does not say that it has written a file of which the name may go with a power cut. A directory that must not
// be read cannot be synced.
func TestOutputWhoseNameIsNotDurable(t *testing.T) {
	if os.Getuid() != 0 && os.Getenv(durableVariable) == "" {
		t.Skip("only root can become somebody else")
	}
	dir, child := inChild(t)
	if !child {
		return
	}
	const nobody = 65534
	data, closed := filepath.Join(dir, "data"), filepath.Join(dir, "closed")
	require.NoError(t, os.Mkdir(closed, 0o300))
	for _, name := range []string{data, closed} {
		require.NoError(t, os.Chown(name, nobody, nobody))
	}
	names, err := filepath.Glob(filepath.Join(data, "*"))
	require.NoError(t, err)
	for _, name := range names {
		require.NoError(t, os.Chown(name, nobody, nobody))
	}
	require.NoError(t, syscall.Setgid(nobody))
	require.NoError(t, syscall.Setuid(nobody))
	for _, verb := range []string{"backup", "export"} {
		newRunner(t).fails(1, syscall.EACCES.Error(), verb, "-dir", data, filepath.Join(closed, verb))
	}
	require.NoError(t, os.Chmod(closed, 0o700))
	newRunner(t).must("backup", "-dir", data, filepath.Join(closed, "backup"))
}
