//go:build !linux

package mmapio

import "os"

const (
	// Without O_DIRECT a read around the page cache is an ordinary read.
	directFlag = 0
	// O_SYNC stands in for O_DSYNC; on Darwin it does not reach the disk's own cache.
	durableFlag = os.O_SYNC
)

// dataSync uses F_FULLFSYNC on Darwin, where fsync does not reach the disk.
func dataSync(fd uintptr) error {
	return retry(func() error { return fullSync(int(fd)) })
}

// flushRange has no counterpart: the later sync does all the work.
func flushRange(uintptr, int64, int64) error { return nil }

// evict has no counterpart.
func evict(uintptr) error { return nil }
