package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// residentBytes is what processes have in memory, mapped files included.
func residentBytes(pids []int) (sum int64) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if fields := bytes.Fields(text); err == nil && len(fields) > 1 {
			pages, _ := strconv.ParseInt(string(fields[1]), 10, 64) // the kernel writes numbers
			sum += pages * int64(os.Getpagesize())
		}
	}
	return sum
}

// diskWritten is what the disk of a directory was given to write so far, in bytes; 0 where that is not known, as in memory. What the system says of a process is
// no measure: of a file that was written in large pieces it counts 256 KiB for each durable write of 4 KiB, which is what the disk is given.
func diskWritten(dir string) int64 {
	written, _ := diskCounts(dir)
	return written * 512
}

// diskCounts are the sectors that the disk of a directory was given to write so far, and how many requests it is busy with.
func diskCounts(dir string) (sectors, busy int64) {
	const sectorsWritten, inFlight = 6, 8 // fields
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return 0, 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if fields := bytes.Fields(text); err == nil && len(fields) > inFlight {
		sectors, _ = strconv.ParseInt(string(fields[sectorsWritten]), 10, 64) // the kernel writes numbers
		busy, _ = strconv.ParseInt(string(fields[inFlight]), 10, 64)
	}
	return sectors, busy
}

// A disk is quiet that was given nothing for so many looks at it. Some never is.
const (
	quietLooks = 4
	quietPause = 5 * time.Millisecond
	settleTime = time.Second
)

// settle waits until nothing is being written to the disk of a directory, as by a store that had its turn before.
func settle(dir string) {
	flush(dir)
	last := int64(-1)
	for quiet, started := 0, time.Now(); quiet < quietLooks && time.Since(started) < settleTime; time.Sleep(quietPause) {
		written, busy := diskCounts(dir)
		if quiet++; written != last || busy > 0 {
			quiet = 0
		}
		last = written
	}
}

// flush writes what waits in memory for the file system of a directory.
func flush(dir string) {
	if fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0); err == nil {
		_ = unix.Syncfs(fd) // stores sync for themselves what must not be lost
		_ = unix.Close(fd)
	}
}

// diskBytes is what the files in a directory take on the disk, and what files of it take that were removed and that this process has mapped.
func diskBytes(dir string) (present, unlinked int64) {
	entries, _ := os.ReadDir(dir) // of a rival that keeps none there it is 0
	for _, e := range entries {
		var st unix.Stat_t
		if unix.Lstat(filepath.Join(dir, e.Name()), &st) == nil {
			present += st.Blocks * 512
		}
	}
	text, _ := os.ReadFile("/proc/self/maps")
	ends := map[string]uint64{} // by inode: a file is mapped in pieces
	for line := range strings.Lines(string(text)) {
		var from, to, offset uint64
		fields := strings.Fields(line)
		if !strings.HasSuffix(strings.TrimSpace(line), " (deleted)") || !strings.Contains(line, dir+"/") {
			continue
		}
		if _, err := fmt.Sscanf(fields[0]+" "+fields[2], "%x-%x %x", &from, &to, &offset); err == nil {
			ends[fields[4]] = max(ends[fields[4]], offset+to-from)
		}
	}
	for _, n := range ends {
		unlinked += int64(n)
	}
	return present, unlinked
}

// threadTime is the processor time that this thread has used so far.
func threadTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // fails only for bad arguments
	return time.Duration(t.Nano())
}

// cpuTime is the processor time that this process has used so far.
func cpuTime() time.Duration {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage) // fails only for bad arguments
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
