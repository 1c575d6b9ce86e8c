package benchmarks

import "golang.org/x/sys/unix"

// onDisk reports whether a directory lies on a file system that keeps its files elsewhere than in memory.
func onDisk(path string) (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return false, err
	}
	return fs.Type != unix.TMPFS_MAGIC && fs.Type != unix.RAMFS_MAGIC, nil
}
