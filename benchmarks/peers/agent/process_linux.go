package agent

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
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

// cpuTime is the processor time that this process has used so far.
func cpuTime() time.Duration {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage) // fails only for bad arguments
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
