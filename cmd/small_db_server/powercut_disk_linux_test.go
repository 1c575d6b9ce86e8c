package main_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// shutdownRequest is the ioctl that stops a file system as a power cut does: EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN, which are the same. What
// has not reached the disk is lost, the journal is as it is on the disk, and everything fails with EIO until it is mounted again.
const shutdownRequest = 0x8004587d

// cutMode says what still happens before the end.
type cutMode int

// The cut modes, as the ioctl has them.
const (
	cutAfterSync    cutMode = iota // everything is written, like pulling an external disk after sync
	cutAfterJournal                // the journal is written, and the data that is ordered before it
	cutAtOnce                      // nothing
)

// disk is a file system in a file, of which the power can be cut.
type disk struct {
	t       testing.TB
	kind    string // ext4 or xfs
	options string // of the mount
	image   string
	point   string // where it is mounted
	root    *os.File
}

// privateMounts gives the test mounts of its own, which end with it whatever happens. From here on the goroutine keeps its thread, and with
// it whatever the test starts from this goroutine sees them. Goroutines that the test starts do not.
func privateMounts(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount file systems")
	}
	runtime.LockOSThread() // for good: the thread ends with the goroutine, and the mounts with the thread
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Skipf("root may not make mount namespaces here: %v", err)
	}
	require.NoError(t, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
}

// newDisk makes a file system of this size in dir and mounts it. The error says what is missing for that, which is no fault of
// the product.
func newDisk(t testing.TB, dir, kind, options string, size int64) (*disk, error) {
	t.Helper()
	d := &disk{t: t, kind: kind, options: options, image: filepath.Join(dir, "image"), point: filepath.Join(dir, "mount")}
	f, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(size); err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(d.point, 0o700); err != nil {
		return nil, err
	}
	force := map[string]string{"ext4": "-F", "xfs": "-f"}[kind]
	if err := run("mkfs."+kind, "-q", force, d.image); err != nil {
		return nil, err
	}
	t.Cleanup(d.remove)
	return d, d.tryMount()
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// run runs a command that says nothing when it succeeds.
func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// tryMount mounts the disk, which replays the journal. The loop device goes with the mount.
func (d *disk) tryMount() error {
	options := "loop"
	if d.options != "" {
		options += "," + d.options
	}
	if err := run("mount", "-t", d.kind, "-o", options, d.image, d.point); err != nil {
		return err
	}
	root, err := os.Open(d.point)
	d.root = root
	return err
}

// cut cuts the power.
func (d *disk) cut(mode cutMode) error {
	return unix.IoctlSetPointerInt(int(d.root.Fd()), shutdownRequest, int(mode))
}

// again gives the disk power again, once nobody has files of it open.
func (d *disk) again() {
	d.t.Helper()
	d.unmount()
	require.NoError(d.t, d.tryMount())
}

func (d *disk) unmount() {
	d.t.Helper()
	require.NoError(d.t, d.root.Close())
	d.root = nil
	err := unix.Unmount(d.point, 0)
	for started := time.Now(); errors.Is(err, unix.EBUSY) && time.Since(started) < time.Minute; err = unix.Unmount(d.point, 0) {
		time.Sleep(time.Millisecond)
	}
	require.NoError(d.t, err)
}

// remove leaves nothing behind, whatever has gone wrong.
func (d *disk) remove() {
	if d.root != nil {
		_ = d.root.Close()
		_ = unix.Unmount(d.point, unix.MNT_DETACH)
		d.root = nil
	}
	_ = os.Remove(d.image)
}
