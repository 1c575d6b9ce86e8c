package mmapio

import "golang.org/x/sys/unix"

const (
	directFlag  = unix.O_DIRECT
	durableFlag = unix.O_DSYNC
)

func dataSync(fd uintptr) error {
	return retry(func() error { return unix.Fdatasync(int(fd)) })
}

func flushRange(fd uintptr, off, n int64) error {
	const flags = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	return retry(func() error { return unix.SyncFileRange(int(fd), off, n, flags) })
}

func evict(fd uintptr) error {
	return retry(func() error { return unix.Fadvise(int(fd), 0, 0, unix.FADV_DONTNEED) })
}
