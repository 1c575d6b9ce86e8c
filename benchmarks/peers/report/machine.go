package report

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// Machine says what the figures were measured on, in lines.
func Machine() []string {
	return []string{
		time.Now().UTC().Format("2006-01-02"),
		fmt.Sprintf("%s/%s, %d processors%s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), procField("/proc/cpuinfo", "model name")),
		"memory" + procField("/proc/meminfo", "MemTotal"),
		"kernel" + firstLine("/proc/sys/kernel/osrelease"),
		runtime.Version(),
	}
}

// procField is ", VALUE" of the first line with a name in a file of /proc; "" where there is none.
func procField(file, name string) string {
	text, _ := os.ReadFile(file) // other systems have none
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return ", " + strings.TrimSpace(value)
		}
	}
	return ""
}

func firstLine(file string) string {
	text, _ := os.ReadFile(file)
	line, _, _ := strings.Cut(string(text), "\n")
	return " " + line
}

// Version is that of a module that this program was built with.
func Version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok || module == "" {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == module {
			return m.Version
		}
	}
	return ""
}
