package http_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	kvhttp "github.com/tongpengdl/small-db/http"
)

// line is the line that sets a key.
func line(key, value string) string {
	return string(kvhttp.AppendLine(nil, &engine.Entry{Key: []byte(key), Value: []byte(value)}))
}

// importAll posts a body of known or unknown length.
func importAll(server http.Handler, body io.Reader) answered {
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, httptest.NewRequest("POST", "/v1/import", body))
	return answered{recorder.Code, recorder.Header(), recorder.Body.String()}
}

func imported(n int) string { return fmt.Sprintf(`{"ok":true,"imported":%d}`+"\n", n) }

// TestImport holds the answers, and what is there afterwards.
func TestImport(t *testing.T) {
	a, b := line("a", "1"), line("b", "2")
	bad := func(n int, text string) string {
		return fmt.Sprintf(`{"error":"line %d: %s","imported":%d}`+"\n", n, text, n-1)
	}
	const ends = `invalid JSON: it ends where '{' is expected`
	for _, row := range []struct {
		name, body string
		status     int
		want       string
		keys       int
	}{
		{"nothing", "", 200, imported(0), 0},
		{"one", a, 200, imported(1), 1},
		{"no newline at the end", a + strings.TrimSuffix(b, "\n"), 200, imported(2), 2},
		{"Windows lines", strings.ReplaceAll(a+b, "\n", "\r\n"), 200, imported(2), 2},
		{"a key twice", a + b + a, 200, imported(3), 2},
		{"due already", `{"key":"a","value":"","encoding":"utf-8","expires_at":"2000-01-01T00:00:00Z"}` + "\n" + b, 200, imported(2), 1},
		{"an empty line", a + "\n" + b, 400, bad(2, ends), 1},
		{"an empty line at the end", a + "\n", 400, bad(2, ends), 1},
		{"not JSON", "x", 400, bad(1, "invalid JSON: '{' is expected at byte 0"), 0},
		{"two objects in a line", a + strings.TrimSuffix(b, "\n") + a, 400, bad(2, "unexpected data after the JSON object, from byte 42 on"), 1},
		{"one object in two lines", a + "{\n" + b[1:], 400, bad(2, "invalid JSON: it ends where a string is expected"), 1},
		{"a part", a + b[:20], 400, bad(2, "invalid JSON: it ends within a string"), 1},
		{"an unknown field", `{"key":"a","value":"","encoding":"utf-8","ttl":"1s"}`, 400, bad(1, `unknown field \"ttl\"`), 0},
		{"no key", line("", ""), 400, bad(1, "key is empty"), 0},
		{"a large key", a + line(strings.Repeat("k", 1<<16), ""), 400, bad(2, "key is too large: 65536 bytes, at most 65535"), 1},
		{"a large value", a + line("b", strings.Repeat("v", 1001)) + b, 400, bad(2, "value is too large: 1001 bytes, at most 1000"), 1},
		{"the largest value", a + line("b", strings.Repeat("\x00", 1000)), 200, imported(2), 2},
		{"the longest line", line(strings.Repeat("\x00", 1<<16-1), strings.Repeat("\x01", 1000)) + a, 200, imported(2), 2},
		{"a longer line", a + b + strings.Repeat(" ", 500_000) + a, 400, bad(3, "it has more than 403306 bytes"), 2},
		{"not UTF-8", a + "{\"key\":\"\xff\",\"value\":\"\",\"encoding\":\"utf-8\"}", 400, bad(2, "a string that is not UTF-8, at byte 7: bytes go as base64"), 1},
		{"half a character", `{"key":"\ud800","value":"","encoding":"utf-8"}`, 400, bad(1, `field \"key\": \\u escape without four digits, or of half a character`), 0},
		{"a deadline too far", a + `{"key":"b","value":"","encoding":"utf-8","expires_at":"2300-01-01T00:00:00Z"}`, 400, bad(2, `field \"expires_at\": deadline is out of range: \"2300-01-01T00:00:00Z\"`), 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, reader := range []io.Reader{strings.NewReader(row.body), iotest.DataErrReader(iotest.HalfReader(strings.NewReader(row.body)))} {
				db := enginetest.Open(t, quick())
				got := importAll(kvhttp.NewServer(db, kvhttp.Options{MaxValueBytes: 1000}), reader)
				assert.Equal(t, answered{row.status, got.header, row.want}, got)
				assert.Equal(t, row.keys, strings.Count(contentsOf(t, db), "\n"))
				assert.Equal(t, []string{"application/json"}, got.header["Content-Type"])
			}
		})
	}
}

// TestImportByBytes: lines do not depend on how the body comes.
func TestImportByBytes(t *testing.T) {
	db := enginetest.Open(t, quick())
	body := line("a", "1") + line("b", strings.Repeat("v", 1000)) + line("c", "")
	got := importAll(kvhttp.NewServer(db, kvhttp.Options{}), iotest.OneByteReader(strings.NewReader(body)))
	assert.Equal(t, answered{200, got.header, imported(3)}, got)
	assert.Equal(t, body, contentsOf(t, db))
}

// TestImportReplaces: an import sets, and a later line wins.
func TestImportReplaces(t *testing.T) {
	db := enginetest.Open(t, quick())
	apply(t, db, &engine.Entry{Key: []byte("a"), Value: []byte("old"), Deadline: time.Unix(9e9, 0)}, &engine.Entry{Key: []byte("b")})
	got := call(kvhttp.NewServer(db, kvhttp.Options{}), "POST", "/v1/import?", line("a", "1")+line("c", "")+line("a", "2"))
	assert.Equal(t, answered{200, got.header, imported(3)}, got)
	assert.Equal(t, line("a", "2")+line("b", "")+line("c", ""), contentsOf(t, db))
}

// TestLargeImport sends 100,000 lines through a connection while another reads. Every key is written a hundred times, and a
// reader never sees one fall back.
func TestLargeImport(t *testing.T) {
	const lines, keys = 100_000, 1000
	db := enginetest.Open(t, quick())
	server := start(t, db, kvhttp.Options{})
	body, send := io.Pipe()
	go func() {
		var text []byte
		for i := range lines {
			text = kvhttp.AppendLine(text[:0], &engine.Entry{Key: fmt.Appendf(nil, "key-%d", i%keys), Value: fmt.Appendf(nil, "%0100d", i)})
			if _, err := send.Write(text); err != nil {
				return
			}
		}
		_ = send.Close()
	}()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for last := ""; ; time.Sleep(20 * time.Millisecond) {
			select {
			case <-stop:
				return
			default:
			}
			value, _, err := db.AppendGet(nil, []byte("key-77"))
			assert.NoError(t, err)
			assert.GreaterOrEqual(t, string(value), last)
			last = string(value)
			snapshot, n := db.Snapshot(), 0
			for range snapshot.Scan(nil, nil) {
				n++
			}
			assert.NoError(t, snapshot.Err())
			assert.LessOrEqual(t, n, keys)
		}
	}()
	response, err := http.Post("http://"+server.Addr().String()+"/v1/import", "application/x-ndjson", body)
	require.NoError(t, err)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	close(stop)
	<-stopped
	assert.Equal(t, imported(lines), string(text))
	for i := range keys {
		value, ok, err := db.AppendGet(nil, fmt.Appendf(nil, "key-%d", i))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, fmt.Sprintf("%0100d", lines-keys+i), string(value))
	}
}

// TestImportOfLargeEntries: entries larger than a batch, among small ones, in order.
func TestImportOfLargeEntries(t *testing.T) {
	db := enginetest.Open(t, engine.Options{Sync: engine.SyncNone, DisableBackgroundCheckpoint: true})
	var body, want strings.Builder
	for i := range 40 {
		text := line(fmt.Sprintf("key-%02d", i), strings.Repeat(fmt.Sprint(i%10), []int{0, 10, 250_000, 256 << 10, 300_000, 2_000_000, 100}[i%7]))
		body.WriteString(line(fmt.Sprintf("key-%02d", i), "before"))
		body.WriteString(text)
		want.WriteString(text)
	}
	got := send(t, start(t, db, kvhttp.Options{}), "POST", "/v1/import", body.String())
	assert.Equal(t, answered{200, got.header, imported(80)}, got)
	assert.True(t, want.String() == contentsOf(t, db))
}

// applyStore is a store whose batches go to a function.
type applyStore struct {
	*memoryStore
	apply func(ctx context.Context, b *engine.Batch) error
}

func (a applyStore) Apply(ctx context.Context, b *engine.Batch) (engine.Version, error) {
	return engine.Version{}, a.apply(ctx, b)
}

// TestImportFails: how far it came is said, and what is wrong earlier counts. 5500 lines are five and a half batches.
func TestImportFails(t *testing.T) {
	lines := strings.Repeat(line("k", ""), 5500)
	for _, row := range []struct {
		err    error
		status int
		text   string
	}{
		{engine.ErrFull, 507, "memory limit is reached"},
		{engine.ErrDiskFull, 507, "disk is full"},
		{engine.ErrPoisoned, 503, engine.ErrPoisoned.Error()},
		{engine.ErrIndeterminate, 504, "outcome unknown; the write may be there or not: read before writing again"},
		{errors.New("no"), 500, "no"},
	} {
		for fails := 1; fails <= 6; fails++ {
			for _, body := range []string{lines, lines + "x"} {
				calls := 0
				store := applyStore{newStore(), func(_ context.Context, b *engine.Batch) error {
					if calls++; calls == fails {
						return row.err
					}
					return nil
				}}
				got := importAll(kvhttp.NewServer(store, kvhttp.Options{}), strings.NewReader(body))
				assert.Equal(t, answered{row.status, got.header, fmt.Sprintf(`{"error":"%s","imported":%d}`+"\n", row.text, (fails-1)*1000)}, got)
				assert.Equal(t, fails, calls, "nothing after what failed")
			}
		}
	}
}

// TestImportPanics: a panic of the store is one of the request, as in every other route.
func TestImportPanics(t *testing.T) {
	store := applyStore{newStore(), func(context.Context, *engine.Batch) error { panic("the store") }}
	server := kvhttp.NewServer(store, budgetOptions)
	for range 3 { // the budget comes back
		func() {
			defer func() { assert.Contains(t, recover(), "the store") }()
			importAll(server, io.MultiReader(strings.NewReader(strings.Repeat(line("k", ""), 20_000))))
		}()
	}
}

// TestImportBodies: what is wrong with the body is said, and the whole lines before are there.
func TestImportBodies(t *testing.T) {
	for _, row := range []struct {
		err    error
		status int
		text   string
	}{
		{io.ErrUnexpectedEOF, 400, "the body broke off: unexpected EOF"},
		{os.ErrDeadlineExceeded, 408, "the body came too slowly"},
		{&http.MaxBytesError{Limit: 10}, 413, "the body has more than 10 bytes"},
	} {
		db := enginetest.Open(t, quick())
		body := io.MultiReader(strings.NewReader(line("a", "1")+line("b", "2")+`{"key":"c"`), iotest.ErrReader(row.err))
		got := importAll(kvhttp.NewServer(db, kvhttp.Options{}), body)
		assert.Equal(t, answered{row.status, got.header, fmt.Sprintf(`{"error":"%s","imported":2}`+"\n", row.text)}, got)
		assert.Equal(t, []string{"close"}, got.header["Connection"])
		assert.Equal(t, line("a", "1")+line("b", "2"), contentsOf(t, db))
	}
}

// TestImportClientLeaves in the middle of a line: the whole lines are there, and nothing is left running.
func TestImportClientLeaves(t *testing.T) {
	db := enginetest.Open(t, quick())
	server := start(t, db, kvhttp.Options{})
	conn := dial(t, server)
	fmt.Fprintf(conn, "POST /v1/import HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n%s%s", line("a", "1"), `{"key":`)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	got := receive(t, bufio.NewReader(conn), "POST")
	assert.Equal(t, answered{400, got.header, `{"error":"the body broke off: unexpected EOF","imported":1}` + "\n"}, got)

	conn = dial(t, server)
	fmt.Fprintf(conn, "POST /v1/import HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n%s", strings.Repeat(line("b", "2"), 5000))
	require.NoError(t, conn.Close())
	require.Eventually(t, func() bool {
		_, ok, err := db.AppendGet(nil, []byte("b"))
		return ok && err == nil
	}, time.Minute, time.Millisecond)
	require.NoError(t, server.Shutdown(ctx))
	assert.Equal(t, line("a", "1")+line("b", "2"), contentsOf(t, db))
}

// TestImportKeepsTheConnection if it has read the body, and ends it otherwise.
func TestImportKeepsTheConnection(t *testing.T) {
	server := start(t, enginetest.Open(t, quick()), kvhttp.Options{})
	conn := dial(t, server)
	reader := bufio.NewReader(conn)
	post := func(body string) answered {
		go fmt.Fprintf(conn, "POST /v1/import HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		return receive(t, reader, "POST")
	}
	assert.Equal(t, 200, post(line("a", "")).status)
	assert.Equal(t, 400, post("x\n").status)
	assert.Equal(t, 200, post("").status)
	got := post("x\n" + strings.Repeat(line("a", ""), 1_000_000))
	assert.Equal(t, answered{400, got.header, `{"error":"line 1: invalid JSON: '{' is expected at byte 0","imported":0}` + "\n"}, got)
	_, err := reader.ReadByte()
	assert.Error(t, err)
}

// TestImportMemoryIsBounded: an import of 20 MB allocates its batches and buffers once.
func TestImportMemoryIsBounded(t *testing.T) {
	text := line("some key", strings.Repeat("v", 200))
	store := applyStore{newStore(), func(context.Context, *engine.Batch) error { return nil }}
	server := kvhttp.NewServer(store, kvhttp.Options{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := importAll(server, &repeated{text, 20_000_000 / len(text) * len(text), 0})
	runtime.ReadMemStats(&after)
	assert.Equal(t, answered{200, got.header, imported(20_000_000 / len(text))}, got)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20))
}

// repeated reads text again and again, up to size bytes.
type repeated struct {
	text     string
	size, at int
}

func (r *repeated) Read(p []byte) (n int, err error) {
	for n < len(p) && r.at < r.size {
		m := copy(p[n:min(len(p), n+r.size-r.at)], r.text[r.at%len(r.text):])
		n, r.at = n+m, r.at+m
	}
	if n == 0 && r.at == r.size {
		return 0, io.EOF
	}
	return n, nil
}

// TestImportsShareTheBudget: an import counts as a large body, unless it is announced to be small.
func TestImportsShareTheBudget(t *testing.T) {
	db := enginetest.Open(t, quick())
	server := start(t, db, budgetOptions)
	body, send := io.Pipe()
	first := make(chan answered, 1)
	go func() { first <- importAll(server, body) }()
	_, err := io.WriteString(send, line("a", "")) // it is read, so it was let in
	require.NoError(t, err)

	const refused = `{"error":"too many large bodies at once; try again"`
	got := importAll(server, io.MultiReader(strings.NewReader(line("b", ""))))
	assert.Equal(t, answered{503, got.header, refused + `,"imported":0}` + "\n"}, got)
	assert.Equal(t, []string{"1"}, got.header["Retry-After"])
	assert.Equal(t, []string{"close"}, got.header["Connection"])
	got = call(server, "PUT", "/v1/kv/c", bodyOfSize(64<<10+1))
	assert.Equal(t, answered{503, got.header, refused + "}\n"}, got)
	assert.Equal(t, imported(1), importAll(server, strings.NewReader(line("d", ""))).body, "a small one does not count")

	require.NoError(t, send.Close())
	assert.Equal(t, imported(1), (<-first).body)
	assert.Equal(t, imported(1), importAll(server, io.MultiReader(strings.NewReader(line("b", "")))).body, "there is room again")
}

// TestLongLineBeyondTheBudget: a line that does not fit ends the import there.
func TestLongLineBeyondTheBudget(t *testing.T) {
	db := enginetest.Open(t, quick())
	opts := kvhttp.Options{MaxValueBytes: 500_000, MaxBodiesBytes: 1}
	server := start(t, db, opts)
	body, send := io.Pipe()
	first := make(chan answered, 1)
	go func() { first <- importAll(server, body) }()
	_, err := io.WriteString(send, line("a", ""))
	require.NoError(t, err)

	second := make(chan answered, 1)
	go func() {
		second <- importAll(server, io.MultiReader(strings.NewReader(line("b", "")), strings.NewReader(line("c", strings.Repeat("\x00", 400_000)))))
	}()
	got := <-second
	assert.Equal(t, answered{503, got.header, `{"error":"too many large bodies at once; try again","imported":1}` + "\n"}, got)
	require.NoError(t, send.Close())
	assert.Equal(t, imported(1), (<-first).body)
	assert.Equal(t, imported(1), importAll(server, strings.NewReader(line("c", strings.Repeat("\x00", 400_000)))).body)
}

// TestImportDeadlines: each MiB buys the next its time; while the rest is committed there is no read deadline.
func TestImportDeadlines(t *testing.T) { synctest.Test(t, testImportDeadlines) }

func testImportDeadlines(t *testing.T) {
	store := applyStore{newStore(), func(context.Context, *engine.Batch) error { return nil }}
	server := kvhttp.NewServer(store, kvhttp.Options{})
	d := callWithDeadlines(server, "POST", "/v1/import", strings.NewReader(line("a", "")))
	assert.Equal(t, []time.Duration{0, 30 * sec}, d.read)
	assert.Equal(t, []time.Duration{60 * sec}, d.write)
	d = callWithDeadlines(server, "POST", "/v1/import", iotest.HalfReader(strings.NewReader(strings.Repeat(line("a", strings.Repeat("v", 500)), 10_000))))
	assert.Equal(t, 200, d.Code)
	if n := len(d.read) - 2; assert.GreaterOrEqual(t, n, 5, "5 MiB, and now and then a wait for the store") {
		assert.Equal(t, append(slices.Repeat([]time.Duration{30 * sec}, n), 0, 30*sec), d.read)
	}

	slow := applyStore{newStore(), func(context.Context, *engine.Batch) error { time.Sleep(time.Hour); return nil }}
	d = callWithDeadlines(kvhttp.NewServer(slow, kvhttp.Options{}), "POST", "/v1/import", strings.NewReader(strings.Repeat(line("a", ""), 6000)))
	assert.Equal(t, 200, d.Code)
	assert.Equal(t, []time.Duration{30 * sec, 30 * sec, 0, 30 * sec}, d.read, "time that the store takes is not the client's")
}

// TestImportWithoutAllocating: lines that fit are decoded and batched without an allocation each.
func TestImportWithoutAllocating(t *testing.T) {
	store := applyStore{newStore(), func(context.Context, *engine.Batch) error { return nil }}
	server := kvhttp.NewServer(store, kvhttp.Options{})
	body := []byte(strings.Repeat(line("some key", "some value"), 20_000))
	perImport := testing.AllocsPerRun(3, func() { importAll(server, bytes.NewReader(body)) })
	assert.Less(t, perImport, 1000.0)
}
