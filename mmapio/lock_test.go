package mmapio_test

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tongpengdl/small-db/mmapio"
)

// lockedDir tells this binary, run again, which directory to lock.
const lockedDir = "MMAPIO_TEST_LOCKED_DIR"

func TestMain(m *testing.M) {
	if path := os.Getenv(lockedDir); path != "" {
		holdLock(path)
		return
	}
	os.Exit(m.Run())
}

// holdLock locks the directory, says how it went, and ends when its input does.
func holdLock(path string) {
	d, err := mmapio.OpenDir(path, false)
	if err == nil {
		err = d.Lock("LOCK")
	}
	fmt.Println(err)
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
}

// lockElsewhere runs holdLock in another process, and returns that and what it said.
func lockElsewhere(t *testing.T, path string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), lockedDir+"="+path)
	_, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return cmd, line
}

func TestLockAgainstAnotherProcess(t *testing.T) {
	d := openDir(t)
	other, said := lockElsewhere(t, d.Path())
	require.Equal(t, "<nil>\n", said)
	err := d.Lock("LOCK")
	require.ErrorIs(t, err, mmapio.ErrLocked)
	assert.ErrorContains(t, err, d.Path())
	assert.ErrorContains(t, err, fmt.Sprintf("pid %d,", other.Process.Pid))

	// A killed process holds nothing.
	require.NoError(t, other.Process.Kill())
	require.Error(t, other.Wait())
	require.NoError(t, d.Lock("LOCK"))
	_, said = lockElsewhere(t, d.Path())
	assert.Contains(t, said, fmt.Sprintf("pid %d,", os.Getpid()))
	assert.Contains(t, said, mmapio.ErrLocked.Error())
}

func TestLockIsReleasedByClose(t *testing.T) {
	d := openDir(t)
	require.NoError(t, d.Lock("LOCK"))
	e := openDirAt(t, d.Path())
	require.ErrorIs(t, e.Lock("LOCK"), mmapio.ErrLocked, "two of one process are two")
	require.NoError(t, d.Close())
	require.NoError(t, e.Lock("LOCK"))
}

func TestLockWithoutAWord(t *testing.T) {
	d := openDir(t)
	require.NoError(t, d.Lock("LOCK"))
	f, err := d.Open("LOCK", mmapio.Write)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("???"), 0)
	require.NoError(t, err)
	err = openDirAt(t, d.Path()).Lock("LOCK")
	require.ErrorIs(t, err, mmapio.ErrLocked)
	require.ErrorContains(t, err, "unknown process")
}

func TestLockShared(t *testing.T) {
	d := openDir(t)
	_, err := mmapio.LockShared(d, "LOCK")
	require.ErrorIs(t, err, fs.ErrNotExist, "it creates nothing")

	other, said := lockElsewhere(t, d.Path())
	require.Equal(t, "<nil>\n", said)
	_, err = mmapio.LockShared(d, "LOCK")
	require.ErrorIs(t, err, mmapio.ErrLocked)
	require.ErrorContains(t, err, fmt.Sprintf("pid %d,", other.Process.Pid))
	require.NoError(t, other.Process.Kill())
	require.Error(t, other.Wait())

	path := filepath.Join(d.Path(), "LOCK")
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(path, 0o400))
	first, err := mmapio.LockShared(d, "LOCK")
	require.NoError(t, err)
	second, err := mmapio.LockShared(openDirAt(t, d.Path()), "LOCK")
	require.NoError(t, err, "readers do not exclude each other")
	require.NoError(t, first.Close())
	require.NoError(t, os.Chmod(path, 0o600))
	require.ErrorIs(t, d.Lock("LOCK"), mmapio.ErrLocked, "they exclude a writer")
	require.NoError(t, second.Close())
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after), "nothing is written")
	require.NoError(t, d.Lock("LOCK"))
}

func TestLockSharedOfWhatIsNoFile(t *testing.T) {
	d := openDir(t)
	require.NoError(t, unix.Mkfifo(filepath.Join(d.Path(), "LOCK"), 0o600))
	lock, err := mmapio.LockShared(d, "LOCK") // it does not wait for a writer
	if err == nil {
		require.NoError(t, lock.Close())
	}
	require.NoError(t, os.Remove(filepath.Join(d.Path(), "LOCK")))
	require.NoError(t, os.Symlink("elsewhere", filepath.Join(d.Path(), "LOCK")))
	_, err = mmapio.LockShared(d, "LOCK")
	require.ErrorIs(t, err, unix.ELOOP)
}
