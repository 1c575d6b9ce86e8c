package main_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// say serves one answer to everything, after it has read the request.
func say(t *testing.T, status int, contentType, text string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

const (
	jsonType  = "application/json"
	linesType = "application/x-ndjson"
	bytesType = "application/octet-stream"
)

// TestStrangers: a 200 that no small-db gives is an error, and replaces no file.
func TestStrangers(t *testing.T) {
	t.Parallel()
	line := func(key string) string { return `{"key":"` + key + `","value":"1","encoding":"utf-8"}` + "\n" }
	copied := newRunner(t).must("backup", "-dir", filled(t))
	for name, row := range map[string]struct{ verb, contentType, text string }{
		"a page for get":         {"get", "text/html", "<html>hello</html>"},
		"a page for put":         {"put", "text/html", "<html>hello</html>"},
		"a page for del":         {"del", "text/html", "<html>hello</html>"},
		"a page for import":      {"import", "text/html", "<html>hello</html>"},
		"a page for scan":        {"scan", "text/html", "<html>hello</html>"},
		"a page for export":      {"export", "text/html", "<html>hello</html>"},
		"a page for backup":      {"backup", "text/html", "<html>hello</html>"},
		"no type":                {"get", "", `{"key":"k","value":"","encoding":"base64"}`},
		"other JSON":             {"get", jsonType, `{}`},
		"no JSON":                {"get", jsonType, `hello`},
		"more JSON":              {"get", jsonType, `{"key":"k","value":"","encoding":"base64"}{}`},
		"no value":               {"get", jsonType, `{"key":"k","encoding":"base64"}`},
		"no encoding":            {"get", jsonType, `{"key":"k","value":""}`},
		"no key":                 {"get", jsonType, `{"value":"","encoding":"base64"}`},
		"another key":            {"get", jsonType, `{"key":"K","value":"","encoding":"base64"}`},
		"another key in base64":  {"get", jsonType, `{"key":"azI=","key_encoding":"base64","value":"","encoding":"base64"}`},
		"no base64":              {"get", jsonType, `{"key":"k","value":"%","encoding":"base64"}`},
		"put without ok":         {"put", jsonType, `{}`},
		"put that is not ok":     {"put", jsonType, `{"ok":false}`},
		"endless put":            {"put", jsonType, `{"ok":true}` + strings.Repeat(" ", 5000)},
		"del without ok":         {"del", jsonType, `[]`},
		"ttl without ok":         {"ttl", jsonType, `{"imported":1}`},
		"ttl without its line":   {"ttl", jsonType, `{"ok":true,"imported":0}`},
		"import without ok":      {"import", jsonType, `{"imported":10}`},
		"import without number":  {"import", jsonType, `{"ok":true}`},
		"import of fewer":        {"import", jsonType, `{"ok":true,"imported":9}`},
		"import of more":         {"import", jsonType, `{"ok":true,"imported":11}`},
		"import of less than 0":  {"import", jsonType, `{"ok":true,"imported":-1}`},
		"line of another key":    {"get -json", linesType, line("j")},
		"two lines of a key":     {"get -json", linesType, line("k") + line("k")},
		"lines not in order":     {"export", linesType, line("b") + line("a")},
		"a line twice":           {"export", linesType, line("b") + line("b")},
		"a half line":            {"export", linesType, line("a") + strings.TrimSuffix(line("b"), "\n")},
		"JSON for lines":         {"export", linesType, "{}\n"},
		"no line":                {"export", linesType, line("a") + "hello\n"},
		"lines of another range": {"export -prefix b", linesType, line("a")},
		"more than the limit":    {"scan -limit 1", linesType, line("a") + line("b")},
		"rising in reverse":      {"scan -reverse", linesType, line("a") + line("b")},
		"bytes for a backup":     {"backup", bytesType, "hello"},
		"no bytes for a backup":  {"backup", bytesType, ""},
		"half a backup":          {"backup", bytesType, copied[:len(copied)/2]},
		"a changed backup":       {"backup", bytesType, strings.Replace(copied, "a value", "b value", 1)},
		"more than a backup":     {"backup", bytesType, copied + "x"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "file")
			require.NoError(t, os.WriteFile(file, []byte("before"), 0o600))
			args := strings.Fields(row.verb)
			switch args[0] {
			case "get", "del":
				args = append(args, "k")
			case "put":
				args = append(args, "k", "v")
			case "ttl":
				args = []string{"put", "k", "v", "-ttl", "1h"}
			case "export", "backup":
				args = append(args, file)
			}
			got := newRunner(t).with(lines(10)).run(append(args, "-addr", say(t, 200, row.contentType, row.text))...)
			require.Equal(t, 1, got.exit, got.stderr)
			require.Equal(t, 1, strings.Count(got.stderr, "\n"))
			if row.verb == "put" || row.verb == "del" || row.verb == "import" || row.verb == "ttl" {
				assert.Contains(t, got.stderr, "may have been written or not")
			}
			if row.verb == "get" {
				assert.Empty(t, got.stdout)
			}
			assert.Equal(t, map[string]string{"file": "before"}, filesOf(t, filepath.Dir(file)))
		})
	}
	assert.Equal(t, "ok", newRunner(t).must("get", "k", "-addr", say(t, 200, jsonType+"; charset=utf-8",
		`{"key":"k","value":"`+base64.StdEncoding.EncodeToString([]byte("ok"))+`","encoding":"base64","later":1}`)))
}

// TestFailedImports: a server's word on how much it has done is believed where it can be true.
func TestFailedImports(t *testing.T) {
	t.Parallel()
	for text, row := range map[string]struct {
		status int
		want   string
	}{
		`{"error":"x","imported":10}`: {500, "; the first 10 lines have been imported\n"},
		`{"error":"x","imported":3}`:  {504, "; the first 3 lines have been imported; later ones may be, too: to repeat the import is harmless\n"},
		`{"error":"x","imported":11}`: {500, "; what was sent may have been written or not\n"},
		`{"error":"x","imported":-1}`: {400, "; what was sent may have been written or not\n"},
		`{"error":"y"}`:               {500, "; what was sent may have been written or not\n"},
		`{"error":"refused"}`:         {413, "413 Request Entity Too Large: refused\n"},
	} {
		got := newRunner(t).with(lines(10)).run("import", "-addr", say(t, row.status, jsonType, text))
		assert.Equal(t, 1, got.exit)
		assert.True(t, strings.HasSuffix(got.stderr, row.want), "%s: %s", text, got.stderr)
	}
}

// TestOldProtocol: where an answer that is cut off looks whole, there is no export and no backup.
func TestOldProtocol(t *testing.T) {
	t.Parallel()
	for _, head := range []string{"HTTP/1.0 200 OK\r\nContent-Type: %s\r\n\r\n", "HTTP/1.0 200 OK\r\nContent-Type: %s\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: %s\r\n\r\n"} {
		for verb, contentType := range map[string]string{"export": linesType, "backup": bytesType} {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = fmt.Fprintf(conn, head, contentType)
			}()
			newRunner(t).fails(1, "HTTP/1.1", verb, "-addr", listener.Addr().String())
			require.NoError(t, listener.Close())
		}
	}
}

// TestSilentServers: a server that never begins its answer, or stops in its midst, does not hold a command for ever.
func TestSilentServers(t *testing.T) {
	t.Parallel()
	var begun atomic.Bool
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if begun.Load() {
			w.Header().Set("Content-Type", jsonType)
			_, _ = io.WriteString(w, `{"ok":true,`)
			w.(http.Flusher).Flush()
		}
		<-release
	}))
	defer server.Close()
	defer close(release)
	for range 2 {
		r := newRunner(t).with(lines(10))
		r.fails(6, "-timeout", "get", "k", "-addr", server.URL, "-timeout", "50ms")
		r.fails(1, "-timeout says for how long it may be; what was sent may have been written or not", "put", "k", "v", "-addr", server.URL, "-timeout", "50ms")
		r.fails(1, "may have been written or not", "import", "-addr", server.URL, "-timeout", "50ms")
		begun.Store(true)
	}
	// An upload may take its time.
	in, out := io.Pipe()
	go func() {
		for range 4 {
			time.Sleep(20 * time.Millisecond)
			_, _ = io.WriteString(out, `{"key":"k","value":"v","encoding":"utf-8"}`+"\n")
		}
		_ = out.Close()
	}()
	r := newRunner(t)
	r.in = in
	assert.Contains(t, r.must("import", "-addr", serve(t, newDir(t)), "-timeout", "60s"), "4 lines imported")
}

// TestNoEscapes: what others name cannot move the cursor, nor turn text round.
func TestNoEscapes(t *testing.T) {
	t.Parallel()
	evil := "a\x1b[2Jb\u202ec\u009bd\xffe"
	const clean = `a\x1b[2Jb\u202ec\u009bd\xffe`
	said, err := jsonString(evil)
	require.NoError(t, err)
	r := newRunner(t)
	assert.Contains(t, r.fails(1, "", "get", "k", "-addr", say(t, 400, jsonType, `{"error":`+said+`}`)).stderr, `a\x1b[2Jb\u202ec\u009bd`)
	dir := filled(t)
	for _, args := range [][]string{{"import", "-dir", dir, evil}, {"put", "-dir", dir, "k", "@" + evil}, {"check", evil}, {"dump", evil},
		{"get", "-dir", evil, "k"}, {"migrate", evil, newDir(t)}, {"restore", "-dir", newDir(t), evil}} {
		got := r.run(args...)
		assert.Equal(t, 1, got.exit)
		assert.Contains(t, got.stderr, clean, "%q", args)
		assert.NotContains(t, got.stderr, "\x1b")
	}
	assert.NotContains(t, r.run("get", "-"+evil).stderr, "\x1b")
	file := filepath.Join(t.TempDir(), evil)
	assert.Contains(t, r.must("export", "-dir", dir, file), clean)
	assert.Contains(t, r.must("import", "-dir", dir, file), clean)
	require.NoError(t, os.WriteFile(filepath.Join(dir, evil), nil, 0o600))
	assert.Contains(t, r.must("check", dir), clean)
	assert.Contains(t, r.must("dump", dir), clean)
	var seen bytes.Buffer
	seen.WriteString(r.must("check", dir) + r.must("dump", dir))
	assert.False(t, bytes.Contains(seen.Bytes(), []byte("\x1b")))
}
