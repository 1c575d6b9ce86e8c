package main_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	smalldb "github.com/tongpengdl/small-db/cmd/smalldb"
)

// openTerminal returns the two ends of a terminal: what is written to slave can be read from master.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("pseudo-terminals cannot be opened here: %v", err)
	}
	require.NoError(t, unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 120}))
	return master, slave
}

// TestTerminals: a bar fits where it is, and there is none where it cannot.
func TestTerminals(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	newRunner(t).with(lines(4000)).must("import", "-dir", dir, "-create", "-quiet")
	file := linesFile(t, 10_000)
	old := newReference(t, 1000)
	for _, row := range []struct {
		width int
		term  string
		bar   bool
	}{{200, "", true}, {100, "xterm", true}, {80, "", true}, {70, "", true}, {60, "", true}, {59, "", false}, {100, "dumb", false}} {
		for _, args := range [][]string{{"import", "-dir", newDir(t), "-create", file}, {"export", "-dir", dir, os.DevNull},
			{"export", "-dir", dir, os.DevNull, "-prefix", "k"}, {"backup", "-dir", dir, os.DevNull}, {"migrate", old, newDir(t)}} {
			text := onTerminal(t, row.width, row.term, args...)
			require.Equal(t, row.bar, !strings.Contains(text, "\n"), "%d %q: %q", row.width, args, text)
			if !row.bar {
				continue
			}
			for frame := range strings.SplitSeq(text, "\r") {
				assert.LessOrEqual(t, utf8.RuneCountInString(frame), row.width, "%q: %q", args, frame)
			}
		}
	}
}

// onTerminal runs a command whose standard error is a terminal, and returns what that shows.
func onTerminal(t *testing.T, width int, term string, args ...string) string {
	t.Helper()
	master, slave := openTerminal(t)
	require.NoError(t, unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: uint16(width)}))
	shown := make(chan string)
	go func() {
		var text bytes.Buffer
		_, _ = io.Copy(&text, master) // fails when the slave is closed
		shown <- text.String()
	}()
	p := &smalldb.Program{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: slave, Env: map[string]string{"TERM": term},
		Now: ticking(2 * time.Second), Terminal: smalldb.IsTerminal}
	exit := p.Run(t.Context(), args...)
	require.NoError(t, slave.Close())
	text := <-shown
	require.Equal(t, 0, exit, text)
	require.NotEmpty(t, text, "%d %s %q", width, term, args)
	return text
}

// TestProgressOnATerminal: a bar, redrawn in place and removed at the end.
func TestProgressOnATerminal(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, verb, want string
		args             func(dir string) []string
	}{
		{"import", "import: ", " MiB/s)", func(dir string) []string {
			return []string{"import", "-dir", dir, "-create", linesFile(t, 100_000)}
		}},
		{"export", "export", " keys/s)", func(dir string) []string {
			newRunner(t).with(lines(20_000)).must("import", "-dir", dir, "-create", "-quiet")
			return []string{"export", "-dir", dir, os.DevNull}
		}},
		{"a range", "export", " keys/s)", func(dir string) []string { // of which no end is known
			newRunner(t).with(lines(20_000)).must("import", "-dir", dir, "-create", "-quiet")
			return []string{"export", "-dir", dir, os.DevNull, "-prefix", "k"}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			master, slave := openTerminal(t)
			shown := make(chan string)
			go func() {
				var text bytes.Buffer
				_, _ = io.Copy(&text, master) // fails when the slave is closed
				shown <- text.String()
			}()
			var stdout bytes.Buffer
			args := row.args(newDir(t))
			p := &smalldb.Program{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: slave,
				Now: ticking(500 * time.Millisecond), Terminal: smalldb.IsTerminal}
			exit := p.Run(t.Context(), args...)
			require.NoError(t, slave.Close())
			text := <-shown
			require.Equal(t, 0, exit, text)
			assert.Contains(t, text, row.verb)
			assert.Contains(t, text, row.want)
			assert.NotContains(t, text, "\n", "all on one line")
			assert.Greater(t, strings.Count(text, "\r"), 2, "which is drawn again and again")
			if row.name != "a range" {
				assert.Regexp(t, `\d+%`, text)
				assert.Contains(t, text, "[=")
			}
			last := text[strings.LastIndex(strings.TrimRight(text, "\r"), "\r")+1:]
			assert.Empty(t, strings.Trim(last, " \r"), "nothing of it stays")
			t.Logf("%q", text[len(text)/2:min(len(text), len(text)/2+300)])
		})
	}
}
