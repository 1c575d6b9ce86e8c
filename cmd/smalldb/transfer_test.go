package main_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	smalldb "github.com/tongpengdl/small-db/cmd/smalldb"
	"github.com/tongpengdl/small-db/engine"
)

// entriesOf reads a directory that nobody has open.
func entriesOf(t *testing.T, dir string) []engine.Entry {
	t.Helper()
	db, err := engine.Open(engine.Options{Dir: dir})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	snapshot := db.Snapshot()
	var all []engine.Entry
	for e := range snapshot.Entries(nil, nil) {
		all = append(all, engine.Entry{Key: append([]byte{}, e.Key...), Value: append([]byte{}, e.Value...), Deadline: e.Deadline.UTC()})
		if e.Deadline.IsZero() {
			all[len(all)-1].Deadline = time.Time{}
		}
	}
	require.NoError(t, snapshot.Err())
	return all
}

// TestExportAndImport: binary keys, empty values and deadlines arrive elsewhere as they were, by every way.
func TestExportAndImport(t *testing.T) {
	t.Parallel()
	for from, source := range places(t) {
		for _, to := range []string{"directory", "server"} {
			for _, through := range []string{"file", "pipe"} {
				t.Run(from+" to "+to+" by "+through, func(t *testing.T) {
					r := newRunner(t)
					file := filepath.Join(t.TempDir(), "lines")
					if through == "file" {
						assert.Contains(t, r.must(join("export", source, file)...), fmt.Sprintf("%d keys in %s", len(entries), file))
					} else {
						require.NoError(t, os.WriteFile(file, []byte(r.must(join("export", source, "-")...)), 0o600))
					}
					dir := newDir(t)
					place := []string{"-dir", dir, "-create"}
					stop := func() {}
					if to == "server" {
						var addr string
						addr, stop = serveUntil(t, dir)
						place = []string{"-addr", addr}
					}
					text, err := os.ReadFile(file)
					require.NoError(t, err)
					if through == "file" {
						assert.Contains(t, r.must(join("import", place, file)...), fmt.Sprintf("%d lines", len(entries)))
					} else {
						got := r.with(string(text)).must(join("import", place, "-json")...)
						assert.EqualValues(t, len(entries), parseJSON(t, got)[0]["imported"])
					}
					stop()
					assert.Equal(t, entries, entriesOf(t, dir))
					assert.Equal(t, string(text), r.must("export", "-dir", dir))
				})
			}
		}
	}
}

func TestExportOfARange(t *testing.T) {
	t.Parallel()
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t)
			got := parseJSON(t, r.must(join("export", place, "-prefix", "..")...))
			require.Len(t, got, 2)
			assert.Equal(t, "../a//b/", got[1]["key"])
			file := filepath.Join(t.TempDir(), "lines")
			said := parseJSON(t, r.must(join("export", place, "-json", file, "-start", "plain", "-end", "soon")...))[0]
			assert.EqualValues(t, 1, said["keys"])
			assert.Equal(t, file, said["file"])
			info, err := os.Stat(file)
			require.NoError(t, err)
			assert.EqualValues(t, info.Size(), said["bytes"])
			assert.Equal(t, os.FileMode(0o600), info.Mode())
			assert.Empty(t, r.must(join("export", place, "-prefix", "none")...))
		})
	}
}

// TestLaterLineWins: with many blocks and batches on their way at once, too.
func TestLaterLineWins(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := newDir(t)
	const n = 40_000
	r.with(lines(n)).must("import", "-dir", dir, "-create", "-quiet")
	all := entriesOf(t, dir)
	require.Len(t, all, n/2)
	for _, e := range all {
		require.Equal(t, "new", string(e.Value), "%s", e.Key)
	}
}

// TestLongLines: lines that are longer than a block, with short ones around them.
func TestLongLines(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := newDir(t)
	long := strings.Repeat("x", 3<<20)
	text := `{"key":"a","value":"1","encoding":"utf-8"}` + "\n" +
		`{"key":"b","value":"` + long + `","encoding":"utf-8"}` + "\n" +
		`{"key":"c","value":"3","encoding":"utf-8"}` + "\n" +
		`{"key":"d","value":"` + long + `4","encoding":"utf-8"}`
	r.with(text).must("import", "-dir", dir, "-create")
	got := entriesOf(t, dir)
	require.Len(t, got, 4)
	assert.Len(t, got[1].Value, len(long))
	assert.Len(t, got[3].Value, len(long)+1)
}

func TestBadLines(t *testing.T) {
	t.Parallel()
	const good = `{"key":"a","value":"1","encoding":"utf-8"}` + "\n"
	for name, row := range map[string]struct {
		text, want string
		imported   int
	}{
		"first":              {"nonsense\n" + good, "line 1", 0},
		"no JSON":            {good + good + "nonsense\n" + good, "line 3", 2},
		"cut off":            {good + `{"key":"b","va`, "line 2", 1},
		"empty line":         {good + "\n" + good, "line 2", 1},
		"empty key":          {good + `{"key":"","value":"1","encoding":"utf-8"}`, "line 2", 1},
		"long key":           {good + `{"key":"` + strings.Repeat("k", 65536) + `","value":"1","encoding":"utf-8"}`, "line 2", 1},
		"unknown field":      {good + `{"key":"b","value":"1","encoding":"utf-8","x":"y"}`, "line 2", 1},
		"no value":           {good + `{"key":"b","encoding":"utf-8"}`, "line 2", 1},
		"bad base64":         {good + `{"key":"b","value":"!","encoding":"base64"}`, "line 2", 1},
		"bad deadline":       {good + `{"key":"b","value":"","encoding":"utf-8","expires_at":"soon"}`, "line 2", 1},
		"impossible":         {good + `{"key":"b","value":"","encoding":"utf-8","expires_at":"1901-01-01T00:00:00Z"}`, "line 2", 1},
		"a value of another": {good + `[1]`, "line 2", 1},
		"much later":         {lines(30_000) + "nonsense\n" + good, "line 30001", 30_000},
	} {
		t.Run(name, func(t *testing.T) {
			for place, flags := range map[string][]string{"directory": {"-dir", newDir(t), "-create"}, "server": {"-addr", serve(t, newDir(t))}} {
				r := newRunner(t).with(row.text)
				got := r.fails(1, row.want, join("import", flags, "-quiet")...)
				assert.Contains(t, got.stderr, importedText(row.imported), place)
				assert.Empty(t, got.stdout)
				r = r.with(row.text)
				got = r.run(join("import", flags, "-json")...)
				assert.Equal(t, 1, got.exit)
				assert.EqualValues(t, row.imported, parseJSON(t, got.stderr)[0]["imported"], place)
				keys := strings.Count(r.must(join("scan", flags[:2], "-keys")...), "\n")
				assert.Equal(t, min(row.imported, max(1, row.imported/2)), keys, place)
			}
		})
	}
	r := newRunner(t)
	r.fails(1, "no such file", "import", "-dir", newDir(t), "-create", newDir(t))
	assert.NotContains(t, r.fails(1, "-create", "import", "-dir", newDir(t)).stderr, "lines")
}

// importedText says how many lines an import that failed has done.
func importedText(n int) string {
	switch n {
	case 0:
		return "; no line has been imported"
	case 1:
		return "; the first line has been imported"
	}
	return fmt.Sprintf("; the first %d lines have been imported", n)
}

// failing runs a command that stops in its midst: its clock, which is asked for progress, ends the context at the second call.
func failing(t *testing.T, in string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := newRunner(t).with(in)
	r.ctx = ctx
	calls, now := 0, r.now()
	r.now = func() time.Time {
		if calls++; calls == 2 { // the first is the start
			cancel()
		}
		return now
	}
	return r.run(args...)
}

// TestInterruptedExport leaves what was there before, and nothing else.
func TestInterruptedExport(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	newRunner(t).with(lines(40_000)).must("import", "-dir", dir, "-create")
	for _, verb := range []string{"export", "backup"} {
		t.Run(verb, func(t *testing.T) {
			out := t.TempDir()
			file := filepath.Join(out, "file")
			got := failing(t, "", verb, "-dir", dir, file)
			assert.Equal(t, 1, got.exit)
			assert.Contains(t, got.stderr, "interrupted; "+file+" was not written")
			names, err := os.ReadDir(out)
			require.NoError(t, err)
			assert.Empty(t, names)

			require.NoError(t, os.WriteFile(file, []byte("before"), 0o600))
			got = failing(t, "", verb, "-dir", dir, file)
			assert.Equal(t, 1, got.exit)
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.True(t, string(text) == "before")
			newRunner(t).must(verb, "-dir", dir, file)
			text, err = os.ReadFile(file)
			require.NoError(t, err)
			assert.Greater(t, len(text), 1000)
			names, err = os.ReadDir(out)
			require.NoError(t, err)
			assert.Len(t, names, 1)
			newRunner(t).fails(1, "no such file", verb, "-dir", dir, filepath.Join(out, "none", "file"))
		})
	}
}

// TestExportToALink: the link stays, and a device is written as it is.
func TestExportToALink(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := filled(t)
	out := t.TempDir()
	target, link := filepath.Join(out, "target"), filepath.Join(out, "link")
	require.NoError(t, os.WriteFile(target, nil, 0o600))
	require.NoError(t, os.Symlink(target, link))
	r.must("export", "-dir", dir, link)
	text, err := os.ReadFile(target)
	require.NoError(t, err)
	assert.Equal(t, r.must("export", "-dir", dir), string(text))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	assert.NotZero(t, info.Mode()&os.ModeSymlink)
	r.must("export", "-dir", dir, os.DevNull)
	info, err = os.Lstat(os.DevNull)
	require.NoError(t, err)
	assert.NotZero(t, info.Mode()&os.ModeDevice)
}

// TestFailingImport: a database that takes nothing any more ends an import, even one that waits for its input.
func TestFailingImport(t *testing.T) {
	t.Parallel()
	db, err := engine.Open(engine.Options{Dir: newDir(t), Create: true})
	require.NoError(t, err)
	require.NoError(t, db.Close())
	in, out := io.Pipe()
	defer out.Close()
	go func() { _, _ = io.WriteString(out, lines(10)) }()
	n, err := smalldb.Load(t.Context(), db, in)
	require.ErrorIs(t, err, engine.ErrClosed)
	assert.Contains(t, err.Error(), "; no line has been imported; later ones may be, too: to repeat the import is harmless")
	assert.Zero(t, n)

	db, err = engine.Open(engine.Options{Dir: newDir(t), Create: true, MaxValueBytes: 100})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	long := `{"key":"x","value":"` + strings.Repeat("v", 101) + `","encoding":"utf-8"}` + "\n"
	text := distinct(50_000) + long + lines(50_000)
	n, err = smalldb.Load(t.Context(), db, strings.NewReader(text))
	require.ErrorIs(t, err, engine.ErrValueTooLarge)
	assert.LessOrEqual(t, n, int64(50_000))
	assert.Contains(t, err.Error(), importedText(int(n))+"; later ones may be")
	for i := range n {
		_, ok, err := db.Entry(fmt.Appendf(nil, "d%07d", i))
		require.NoError(t, err)
		require.True(t, ok, "line %d of %d that are in for sure", i, n)
	}
}

// TestInterruptedImport says how much of it is there, and is right.
func TestInterruptedImport(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	got := failing(t, lines(200_000), "import", "-dir", dir, "-create")
	assert.Equal(t, 1, got.exit)
	var loaded int
	_, err := fmt.Sscanf(got.stderr[strings.Index(got.stderr, "interrupted;"):], "interrupted; the first %d lines have been imported", &loaded)
	require.NoError(t, err, got.stderr)
	assert.NotZero(t, loaded)
	assert.Len(t, entriesOf(t, dir), min(loaded, 100_000))
}

// TestCutOffAnswers: an answer that ends too early is never taken for a whole one.
func TestCutOffAnswers(t *testing.T) {
	t.Parallel()
	contentType := "application/x-ndjson"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte(`{"key":"a","value":"1","encoding":"utf-8"}` + "\n"))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	r := newRunner(t)
	file := filepath.Join(t.TempDir(), "file")
	r.fails(1, "cut off", "export", "-addr", server.URL, file)
	contentType = "application/octet-stream"
	r.fails(1, "cut off", "backup", "-addr", server.URL, file)
	assert.NoFileExists(t, file)
	contentType = "application/x-ndjson"
	r.fails(1, "incomplete", "export", "-addr", server.URL)
	assert.Contains(t, r.fails(1, "cut off", "scan", "-addr", server.URL).stdout, "a\t1\n")
}

// TestBrokenConnections: where the server did not say what came of a write, that is said.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer server.Close()
	for _, args := range [][]string{{"put", "k", "v"}, {"put", "k", "v", "-ttl", "1h"}, {"del", "k"}, {"import"}} {
		r := newRunner(t).with(lines(10))
		got := r.fails(1, "may have been written or not", append(args, "-addr", server.URL)...)
		assert.NotContains(t, got.stderr, "imported")
		got = r.with(lines(10)).run(append(args, "-json", "-addr", server.URL)...)
		assert.NotContains(t, parseJSON(t, got.stderr)[0], "imported")
	}
	newRunner(t).fails(1, "EOF", "get", "-addr", server.URL, "k")
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	status := http.StatusServiceUnavailable
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"error":"the log failed"}` + "\n"))
	}))
	defer server.Close()
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, args := range [][]string{{"get", "k"}, {"get", "-json", "k"}, {"put", "k", "v"}, {"put", "k", "v", "-ttl", "1h"}, {"del", "k"},
		{"scan"}, {"export"}, {"import"}, {"backup"}} {
		r := newRunner(t).with(lines(10))
		got := r.run(append(args, "-addr", server.URL)...)
		assert.Equal(t, 6, got.exit, "%q: %s", args, got.stderr)
		assert.Contains(t, got.stderr, "the log failed", "%q", args)
		got = r.with(lines(10)).run(append(args, "-addr", closed.URL)...)
		assert.Equal(t, 6, got.exit, "%q: %s", args, got.stderr)
		assert.Contains(t, got.stderr, "refused", "%q", args)
	}
	status = http.StatusNotFound
	newRunner(t).fails(1, "404", "get", "-addr", server.URL, "k")
	status = http.StatusFound
	newRunner(t).fails(1, "302", "put", "-addr", server.URL, "k", "v")
}

// TestLocked: a directory that a process has open is refused with the name of the process and the way out.
func TestLocked(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	serve(t, dir)
	r := newRunner(t)
	file := filepath.Join(t.TempDir(), "file")
	for _, args := range [][]string{{"get", "k"}, {"put", "k", "v"}, {"del", "k"}, {"scan"}, {"export", file}, {"import"}, {"backup", file}, {"check"}} {
		got := r.fails(6, fmt.Sprintf("directory %s is held by pid %d", dir, os.Getpid()), append(args, "-dir", dir)...)
		assert.Contains(t, got.stderr, "-addr", "%q", args)
	}
	assert.NoFileExists(t, file)
	assert.EqualValues(t, 6, parseJSON(t, r.run("get", "-json", "-dir", dir, "k").stderr)[0]["code"])
}

func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t)
			file := filepath.Join(t.TempDir(), "backup")
			said := r.must(join("backup", place, file)...)
			assert.Contains(t, said, file)
			dir := newDir(t)
			assert.Contains(t, r.must("restore", "-dir", dir, file), dir)
			assert.Equal(t, entries, entriesOf(t, dir))

			piped := r.must(join("backup", place, "-")...)
			dir = newDir(t)
			assert.Equal(t, dir, parseJSON(t, r.with(piped).must("restore", "-dir", dir, "-", "-json"))[0]["dir"])
			assert.Equal(t, entries, entriesOf(t, dir))
			r.fails(1, "not empty", "restore", "-dir", dir, file)

			text, err := os.ReadFile(file)
			require.NoError(t, err)
			text[len(text)/2] ^= 1
			dir = newDir(t)
			r.with(string(text)).fails(5, "restore into "+dir, "restore", "-dir", dir, "-")
			r.with(string(text[:len(text)/2])).fails(5, "standard input", "restore", "-dir", dir, "-")
			r.with(string(piped)).must("restore", "-dir", dir, "-")
			r.with("nonsense").fails(5, "backup", "restore", "-dir", newDir(t), "-")
			r.fails(1, "no such file", "restore", "-dir", newDir(t), file+".none")
			said = r.must(join("backup", place, file, "-json")...)
			assert.Equal(t, file, parseJSON(t, said)[0]["file"])
		})
	}
}
