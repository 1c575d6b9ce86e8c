package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	smalldb "github.com/tongpengdl/small-db/cmd/smalldb"
	"github.com/tongpengdl/small-db/engine"
	kvhttp "github.com/tongpengdl/small-db/http"
)

// asProgram makes the test binary the program itself, for tests that need a process.
const asProgram = "SMALLDB_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "1" {
		os.Exit(smalldb.Main())
	}
	os.Exit(m.Run())
}

// command is the program as a process.
func command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// result is what a command left.
type result struct {
	exit           int
	stdout, stderr string
}

// runner runs commands in this process.
type runner struct {
	t   *testing.T
	env map[string]string
	now func() time.Time
	in  io.Reader
	ctx context.Context
	out io.Writer // beside result.stdout
	tty func(any) bool
}

func newRunner(t *testing.T) *runner {
	now := time.Now() // it stands still, so that slowness never shows progress
	return &runner{t: t, now: func() time.Time { return now }, ctx: t.Context(), tty: func(any) bool { return false }}
}

func (r *runner) run(args ...string) result {
	r.t.Helper()
	var stdout, stderr bytes.Buffer
	in := r.in
	if in == nil {
		in = strings.NewReader("")
	}
	out := io.Writer(&stdout)
	if r.out != nil {
		out = io.MultiWriter(&stdout, r.out)
	}
	p := &smalldb.Program{Stdin: in, Stdout: out, Stderr: &stderr, Env: r.env, Now: r.now, Terminal: r.tty}
	exit := p.Run(r.ctx, args...)
	return result{exit, stdout.String(), stderr.String()}
}

// must runs a command that is to succeed in silence, and returns what it prints.
func (r *runner) must(args ...string) string {
	r.t.Helper()
	got := r.run(args...)
	require.Equal(r.t, 0, got.exit, "%q: %s", args, got.stderr)
	require.Empty(r.t, got.stderr, "%q", args)
	return got.stdout
}

// fails runs a command that is to fail: one line on standard error, the exit status.
func (r *runner) fails(exit int, want string, args ...string) result {
	r.t.Helper()
	got := r.run(args...)
	require.Equal(r.t, exit, got.exit, "%q: %s", args, got.stderr)
	require.Regexp(r.t, `^smalldb: [^\n]+\n$`, got.stderr, "%q", args)
	require.Contains(r.t, got.stderr, want, "%q", args)
	return got
}

// with returns a runner whose standard input is text.
func (r *runner) with(text string) *runner {
	other := *r
	other.in = strings.NewReader(text)
	return &other
}

// newDir returns a path where nothing is.
func newDir(t testing.TB) string { return filepath.Join(t.TempDir(), "data") }

// places are a directory and a server with the same entries, each as the flags that name it.
func places(t *testing.T) map[string][]string {
	t.Helper()
	return map[string][]string{"directory": {"-dir", filled(t)}, "server": {"-addr", serve(t, filled(t))}}
}

// entries are in every database that is filled.
var entries = []engine.Entry{
	{Key: []byte("\x00"), Value: []byte("nul")},
	{Key: []byte("%2F"), Value: []byte("percent")},
	{Key: []byte("."), Value: []byte("dot")},
	{Key: []byte(".."), Value: []byte("dots")},
	{Key: []byte("../a//b/"), Value: []byte("path")},
	{Key: []byte("empty"), Value: []byte{}},
	{Key: []byte("line\n\"\t\\"), Value: []byte("a\r\n\u2028b\x00")},
	{Key: []byte("plain"), Value: []byte("a value")},
	{Key: []byte("soon"), Value: []byte("gone one day"), Deadline: time.Date(2099, 1, 2, 3, 4, 5, 6, time.UTC)},
	{Key: []byte("é ü+&?#"), Value: []byte("<é>")},
	{Key: []byte("\xff\xfe"), Value: []byte{0, 0xff, '\n'}, Deadline: time.Date(2098, 1, 1, 0, 0, 0, 0, time.UTC)},
}

// filled makes a database of entries and closes it.
func filled(t testing.TB) string {
	t.Helper()
	dir := newDir(t)
	db, err := engine.Open(engine.Options{Dir: dir, Create: true, LogFileBytes: 4 << 20})
	require.NoError(t, err)
	for _, e := range entries {
		_, err := db.SetUntil(context.Background(), e.Key, e.Value, e.Deadline)
		require.NoError(t, err)
	}
	require.NoError(t, db.Close())
	return dir
}

// serve serves a directory until the test ends, and returns the address.
func serve(t testing.TB, dir string) string {
	t.Helper()
	addr, stop := serveUntil(t, dir)
	t.Cleanup(stop)
	return addr
}

// serveUntil serves a directory until stop is called.
func serveUntil(t testing.TB, dir string) (addr string, stop func()) {
	t.Helper()
	db, err := engine.Open(engine.Options{Dir: dir, Create: true, LogFileBytes: 4 << 20})
	require.NoError(t, err)
	server := kvhttp.NewServer(db, kvhttp.Options{})
	require.NoError(t, server.Listen("127.0.0.1:0"))
	var serving sync.WaitGroup
	serving.Go(func() { assert.NoError(t, server.Serve()) })
	return server.Addr().String(), func() {
		_ = server.Shutdown(context.Background())
		serving.Wait()
		assert.NoError(t, db.Close())
	}
}

// join is a command with the flags of a place.
func join(verb string, place []string, args ...string) []string {
	return append(append([]string{verb}, place...), args...)
}

// parseJSON reads lines of JSON objects.
func parseJSON(t *testing.T, text string) []map[string]any {
	t.Helper()
	require.NotEmpty(t, text)
	var objects []map[string]any
	for line := range strings.Lines(text) {
		var object map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &object), "%q", line)
		objects = append(objects, object)
	}
	return objects
}

// distinct are n lines of an import with different keys.
func distinct(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"key":"d%07d","value":"x","encoding":"utf-8"}`+"\n", i)
	}
	return b.String()
}

// lines are n lines of an import, in which each key occurs twice; the second has the value "new".
func lines(n int) string {
	var b strings.Builder
	for i := range n {
		value := "old"
		if i >= n/2 {
			value = "new"
		}
		fmt.Fprintf(&b, `{"key":"k%07d","value":"%s","encoding":"utf-8"}`+"\n", i%(n/2), value)
	}
	return b.String()
}

// jsonString is text as a JSON string; what is not UTF-8 is replaced.
func jsonString(text string) (string, error) {
	b, err := json.Marshal(text)
	return string(b), err
}
