package torture

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tongpengdl/small-db/mmapio"
)

// Figures of the measurement of durable writes.
const (
	probeName   = "latency"
	probeBytes  = 1 << 20
	probeWrite  = 4096
	probes      = 8       // after each cycle
	keptSamples = 1 << 16 // beyond, a random one is replaced
)

// latency measures how long a durable write takes.
type latency struct {
	dir     mmapio.Dir
	file    mmapio.File
	off     int64
	seen    int
	samples []time.Duration
}

func newLatency(path string) (*latency, error) {
	dir, err := mmapio.OpenDir(path, false)
	if err != nil {
		return nil, err
	}
	l := &latency{dir: dir}
	if err := l.prepare(); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return l, nil
}

// prepare makes a file of zeros, so that a write changes no size, and opens it for durable writes.
func (l *latency) prepare() error {
	f, err := l.dir.Create(probeName)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, probeBytes), 0)
	if err := errors.Join(err, f.Sync(), f.Close(), l.dir.Sync()); err != nil {
		return err
	}
	l.file, err = l.dir.Open(probeName, mmapio.WriteDurable)
	return err
}

// measure writes some blocks, one after the other.
func (l *latency) measure() error {
	block := make([]byte, probeWrite)
	for range probes {
		began := time.Now()
		if _, err := l.file.WriteAt(block, l.off); err != nil {
			return err
		}
		took := time.Since(began)
		l.off = (l.off + probeWrite) % probeBytes
		if l.seen++; len(l.samples) < keptSamples {
			l.samples = append(l.samples, took)
		} else if i := rand.IntN(l.seen); i < keptSamples {
			l.samples[i] = took
		}
	}
	return nil
}

// quantiles are the median and the 99th percentile; 0 if nothing was measured.
func (l *latency) quantiles() (median, p99 time.Duration) {
	if len(l.samples) == 0 {
		return 0, 0
	}
	slices.Sort(l.samples)
	return l.samples[len(l.samples)/2], l.samples[len(l.samples)*99/100]
}

func (l *latency) close() { _ = errors.Join(l.file.Close(), l.dir.Close()) }

// fileSystem names the file system that a directory is in, and its device; "unknown" where the system does not tell.
func fileSystem(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return unknownSystem
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return unknownSystem
	}
	return mountOf(string(mounts), path)
}

const unknownSystem = "unknown"

// mountOf finds the mount of a path in the text of mountinfo: the last of those with the longest mount point.
func mountOf(mounts, path string) string {
	found, longest := unknownSystem, -1
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(mounts) {
		before, after, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(kind) < 2 {
			continue
		}
		point := unescape.Replace(fields[4])
		if relative, err := filepath.Rel(point, path); err == nil && filepath.IsLocal(relative) && len(point) >= longest {
			found, longest = kind[0]+" on "+unescape.Replace(kind[1]), len(point)
		}
	}
	return found
}
