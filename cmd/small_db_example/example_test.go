package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTour builds the program and runs it as a user would.
func TestTour(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "small_db_example")
	out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(out))

	temporary := t.TempDir()
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err = cmd.Output()
	require.NoError(t, err, stderr.String())
	assert.Empty(t, stderr.String())

	left, err := os.ReadDir(temporary)
	require.NoError(t, err)
	assert.Empty(t, left, "it removes what it made")

	text := string(out)
	for _, want := range []string{
		`there was none: true; version 1\.0`,
		`get apple: "green", true`,
		`now get apple says false`,
		`3 operations, one durable write, version 1\.5`,
		`view to: 3 bytes`,
		`append to: to=110`,
		`1280 sets by 64 goroutines in \d+ durable writes; the database has 1282 keys`,
		`writer 0 has 20 keys, the last is writer/00/19; one was deleted since`,
		`the second time: condition failed`,
		`a transaction made it 800 as version 1\.1288`,
		`get session after 50ms: false; 1 key less`,
		`the next open starts from generation 2`,
		`version 1\.1289 in \d+ bytes; restored, it has 1281 keys`,
		`files: LOCK checkpoint\.1 checkpoint\.2 logfile\.1 logfile\.2 .*version`,
		`the same directory again: directory is in use`,
		`closed cleanly: true; replayed 1 operation`,
		`get last: "words"`,
		`closed cleanly: false; replayed \d{3,} operations`,
		`killed after 2\d\d acknowledged writes: all of them are here`,
	} {
		assert.Regexp(t, regexp.MustCompile(want), text)
	}
}
