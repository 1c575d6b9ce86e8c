package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	smalldb "github.com/tongpengdl/small-db/cmd/smalldb"
)

// ticking is a clock that goes on by step whenever it is read.
func ticking(step time.Duration) func() time.Time {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	return func() time.Time {
		now = now.Add(step)
		return now
	}
}

func linesFile(t *testing.T, n int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "lines")
	require.NoError(t, os.WriteFile(file, []byte(lines(n)), 0o600))
	return file
}

var progressLine = regexp.MustCompile(`^import: (\d+) lines, \d+/s, (\d+) %, \d+s left$`)

// TestProgressInLines: without a terminal progress is lines, one every few seconds, whose numbers rise.
func TestProgressInLines(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	r.now = ticking(500 * time.Millisecond)
	got := r.run("import", "-dir", newDir(t), "-create", linesFile(t, 100_000))
	require.Equal(t, 0, got.exit, got.stderr)
	assert.Contains(t, got.stdout, "100000 lines imported")
	shown := strings.Split(strings.TrimSuffix(got.stderr, "\n"), "\n")
	blocks := 1 + len(lines(100_000))/(256<<10)
	assert.InDelta(t, 1+blocks/10, len(shown), 1, "one after a second, then one in 10 readings of the clock, which are 5 s")
	count, part := -1, -1
	for _, line := range shown {
		found := progressLine.FindStringSubmatch(line)
		require.NotNil(t, found, "%q", line)
		nextCount, err := strconv.Atoi(found[1])
		require.NoError(t, err)
		nextPart, err := strconv.Atoi(found[2])
		require.NoError(t, err)
		assert.GreaterOrEqual(t, nextCount, count)
		assert.Greater(t, nextPart, part)
		assert.LessOrEqual(t, nextPart, 100)
		count, part = nextCount, nextPart
	}
}

// TestTrueFigures: the first figures count from the start, each position is drawn once, and units are those of the results.
func TestTrueFigures(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	const pause = 20 * time.Millisecond
	smalldb.Draw(&text, "bytes", 100<<20, func() { time.Sleep(pause) }, 10<<20, 10<<20, 20<<20)
	var frames []string
	for frame := range strings.SplitSeq(text.String(), "\r") {
		if strings.TrimSpace(frame) != "" {
			frames = append(frames, frame)
		}
	}
	require.Len(t, frames, 2, "%q", text.String())
	found := regexp.MustCompile(`^import +10% .*\(10/100 MiB, (\d+) MiB/s\) \[0s:\d+s\]`).FindStringSubmatch(frames[0])
	require.NotNil(t, found, "%q", frames[0])
	rate, err := strconv.ParseFloat(found[1], 64)
	require.NoError(t, err)
	assert.LessOrEqual(t, rate, 10/pause.Seconds()+1)
	assert.Contains(t, frames[1], "(20/100 MiB, ")

	text.Reset()
	smalldb.Draw(&text, "lines", 100<<20, func() {}, 10<<20)
	assert.Equal(t, 1, strings.Count(text.String(), "/s"), "one rate: %q", text.String())
	assert.Contains(t, text.String(), "import: 10485760 lines ")
}

// TestNoProgress of what takes less than a second, and where nobody wants it.
func TestNoProgress(t *testing.T) {
	t.Parallel()
	file := linesFile(t, 100_000)
	for name, row := range map[string]struct {
		step time.Duration
		args []string
	}{
		"short": {time.Microsecond, nil},
		"quiet": {time.Second, []string{"-quiet"}},
		"JSON":  {time.Second, []string{"-json"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t)
			r.now = ticking(row.step)
			r.must(append([]string{"import", "-dir", newDir(t), "-create", file}, row.args...)...)
		})
	}
}

// TestProgressOfOtherVerbs: whatever may take long says how far it is.
func TestProgressOfOtherVerbs(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := newDir(t)
	r.with(lines(20_000)).must("import", "-dir", dir, "-create", "-quiet")
	addr := serve(t, filled(t))
	backup := filepath.Join(t.TempDir(), "backup")
	r.must("backup", "-dir", dir, backup)
	old := newReference(t, 5000)
	for name, row := range map[string]struct {
		args []string
		want string
	}{
		"export":  {[]string{"export", "-dir", dir}, `(?m)^export: \d+ keys, \d+/s, \d+ %, \d+s left$`},
		"range":   {[]string{"export", "-dir", dir, "-prefix", "k"}, `(?m)^export: \d+ keys, \d+/s$`},
		"server":  {[]string{"export", "-addr", addr}, `(?m)^export: \d+ keys, \d+/s$`},
		"upload":  {[]string{"import", "-addr", addr, linesFile(t, 10_000)}, `(?m)^import: \d+ lines, \d+/s, \d+ %, \d+s left$`},
		"backup":  {[]string{"backup", "-dir", dir}, `(?m)^backup: [\d.]+ (B|KiB), [\d.]+ (B|KiB)/s$`},
		"restore": {[]string{"restore", "-dir", newDir(t), backup}, `(?m)^restore: [\d.]+ KiB, [\d.]+ (B|KiB)/s, \d+ %, \d+s left$`},
		"check":   {[]string{"check", dir}, `(?m)^check: [\d.]+ (B|KiB), [\d.]+ (B|KiB)/s`},
		"migrate": {[]string{"migrate", old, newDir(t)}, `(?m)^migrate: verify: \d+ keys, \d+/s, \d+ %, \d+s left$`},
	} {
		t.Run(name, func(t *testing.T) {
			r := *r
			r.now = ticking(2 * time.Second)
			got := r.run(row.args...)
			require.Equal(t, 0, got.exit, got.stderr)
			assert.Regexp(t, row.want, got.stderr)
		})
	}
}
