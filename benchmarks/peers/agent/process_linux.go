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

// writtenBytes is what processes have made the kernel write to the disk.
func writtenBytes(pids []int) (sum int64) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
		if _, after, ok := bytes.Cut(text, []byte("\nwrite_bytes: ")); err == nil && ok {
			line, _, _ := bytes.Cut(after, []byte("\n"))
			n, _ := strconv.ParseInt(string(line), 10, 64)
			sum += n
		}
	}
	return sum
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
