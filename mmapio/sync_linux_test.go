package mmapio_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tongpengdl/small-db/mmapio"
)

const syncsFailVariable = "SMALLDB_MMAPIO_TEST_SYNCS_FAIL"

// TestSyncsThatFail runs in a process whose every fsync and fdatasync fails. So whoever says that something is durable there has not
// asked for it.
func TestSyncsThatFail(t *testing.T) {
	dir := os.Getenv(syncsFailVariable)
	if dir == "" {
		self, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.Command(self, "-test.run=^TestSyncsThatFail$")
		cmd.Env = append(os.Environ(), syncsFailVariable+"="+t.TempDir())
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return
	}
	failCalls(t, unix.SYS_FSYNC, unix.SYS_FDATASYNC)

	_, err := mmapio.OpenDir(filepath.Join(dir, "new"), true)
	assert.ErrorIs(t, err, unix.EIO, "the name of a new directory is made durable in its parent")
	_, err = mmapio.OpenDir(filepath.Join(dir, "new"), true)
	assert.ErrorIs(t, err, unix.EIO, "and so is that of an empty one, which may be as new")

	d, err := mmapio.OpenDir(dir, false)
	require.NoError(t, err)
	assert.ErrorIs(t, d.Sync(), unix.EIO)
	f, err := d.Create("a")
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("1"), 0)
	require.NoError(t, err)
	assert.ErrorIs(t, f.Sync(), unix.EIO)
}

// failCalls makes these system calls fail with EIO, for all of this process and for good.
func failCalls(t *testing.T, calls ...uint32) {
	t.Helper()
	const failed = unix.SECCOMP_RET_ERRNO | uint32(unix.EIO)
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // the number of the call
	for _, call := range calls {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: call},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: failed})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	require.NoError(t, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno == unix.ENOSYS || errno == unix.EINVAL {
		t.Skip("this kernel filters no system calls")
	}
	require.Zero(t, errno)
}
