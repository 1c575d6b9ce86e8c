package http_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
	kvhttp "github.com/tongpengdl/small-db/http"
)

var ctx = context.Background()

// quick is a database without syncs: these tests kill nothing.
func quick() engine.Options {
	return engine.Options{Sync: engine.SyncNone, LogFileBytes: 1 << 20, DisableBackgroundCheckpoint: true}
}

// apply sets entries in one batch.
func apply(t testing.TB, db *engine.DB, entries ...*engine.Entry) {
	t.Helper()
	var batch engine.Batch
	for _, e := range entries {
		batch.SetUntil(e.Key, e.Value, e.Deadline)
	}
	_, err := db.Apply(ctx, &batch)
	require.NoError(t, err)
}

// numbered is n entries whose keys rise and whose values have size bytes.
func numbered(n, size int) (entries []*engine.Entry) {
	for i := range n {
		entries = append(entries, &engine.Entry{Key: fmt.Appendf(nil, "key-%08d", i), Value: bytes.Repeat([]byte{byte('a' + i%26)}, size)})
	}
	return entries
}

// linesOf decodes an export.
func linesOf(t testing.TB, text string) (entries []*engine.Entry) {
	t.Helper()
	for line := range strings.Lines(text) {
		e := new(engine.Entry)
		require.NoError(t, kvhttp.DecodeLine([]byte(line), e))
		entries = append(entries, e)
	}
	return entries
}

// contentsOf is what a database holds, as lines.
func contentsOf(t testing.TB, db *engine.DB) string {
	t.Helper()
	var text []byte
	snapshot := db.Snapshot()
	for e := range snapshot.Entries(nil, nil) {
		text = kvhttp.AppendLine(text, &e)
	}
	require.NoError(t, snapshot.Err())
	return string(text)
}

// TestExportSelects asks for parts of a store, in the order of the keys or against it.
func TestExportSelects(t *testing.T) {
	db := enginetest.Open(t, quick())
	keys := []string{"\x00", "a", "a\x00", "a b", "a+b", "aé", "b", "b\xff", "b\xff\xff", "c", "\xff", "\xff\xff"}
	for i, key := range keys {
		apply(t, db, &engine.Entry{Key: []byte(key), Value: []byte{byte(i)}, Deadline: time.Unix(9e9, int64(i)).UTC()})
		if i == 5 {
			require.NoError(t, db.Checkpoint(ctx))
		}
	}
	server := kvhttp.NewServer(db, kvhttp.Options{})
	for query, want := range map[string][]string{
		"":                              keys,
		"prefix=":                       keys,
		"prefix=a":                      {"a", "a\x00", "a b", "a+b", "aé"},
		"prefix=a%20":                   {"a b"},
		"prefix=a+":                     {"a b"},
		"prefix=a%2B":                   {"a+b"},
		"prefix=%FF":                    {"\xff", "\xff\xff"},
		"prefix=b%FF":                   {"b\xff", "b\xff\xff"},
		"prefix=b%FF&reverse=true":      {"b\xff\xff", "b\xff"},
		"prefix=nothing":                nil,
		"start=b":                       {"b", "b\xff", "b\xff\xff", "c", "\xff", "\xff\xff"},
		"start=b%00":                    {"b\xff", "b\xff\xff", "c", "\xff", "\xff\xff"},
		"end=a%00":                      {"\x00", "a"},
		"start=a%00&end=b":              {"a\x00", "a b", "a+b", "aé"},
		"start=a&end=a":                 nil,
		"start=b&end=a":                 nil,
		"start=&end=&prefix=b%FF":       {"b\xff", "b\xff\xff"},
		"limit=1":                       {"\x00"},
		"limit=18446744073709551615":    keys,
		"start=b&limit=2":               {"b", "b\xff"},
		"start=b&limit=2&reverse=1":     {"\xff\xff", "\xff"},
		"end=b&limit=2&reverse=true":    {"aé", "a+b"},
		"prefix=a&limit=9&reverse=f":    {"a", "a\x00", "a b", "a+b", "aé"},
		"start=a&end=a%00&reverse=true": {"a"},
	} {
		got := call(server, "GET", "/v1/export?"+query, "")
		require.Equal(t, 200, got.status, got.body)
		assert.Equal(t, []string{"application/x-ndjson"}, got.header["Content-Type"])
		var found []string
		for _, e := range linesOf(t, got.body) {
			at := slices.Index(keys, string(e.Key))
			assert.Equal(t, []byte{byte(at)}, e.Value)
			assert.Equal(t, time.Unix(9e9, int64(at)).UTC(), e.Deadline, query)
			found = append(found, string(e.Key))
		}
		assert.Equal(t, want, found, query)
	}
}

// TestExportQueries: what is not understood exports nothing.
func TestExportQueries(t *testing.T) {
	server := kvhttp.NewServer(enginetest.Open(t, quick()), kvhttp.Options{})
	for query, want := range map[string]string{
		"prefix=a&start=a":           "prefix goes with neither start nor end",
		"prefix=a&end=a":             "prefix goes with neither start nor end",
		"perfix=a":                   `there are prefix, start, end, limit and reverse, but no \"perfix\"`,
		"a&prefix=a":                 `there are prefix, start, end, limit and reverse, but no \"a\"`,
		"start=a&start=b":            "it has more than one start",
		"limit=":                     "limit is a number from 1 on",
		"limit=0":                    "limit is a number from 1 on",
		"limit=-1":                   "limit is a number from 1 on",
		"limit=1e3":                  "limit is a number from 1 on",
		"limit=18446744073709551616": "limit is a number from 1 on",
		"reverse":                    "reverse is true or false",
		"reverse=":                   "reverse is true or false",
		"reverse=yes":                "reverse is true or false",
		"prefix=%zz":                 `invalid URL escape \"%zz\"`,
		"prefix=%":                   `invalid URL escape \"%\"`,
		"prefix=a;b":                 "invalid semicolon separator in query",
	} {
		got := call(server, "GET", "/v1/export?"+query, "")
		assert.Equal(t, answered{400, got.header, `{"error":"invalid query: ` + want + `"}` + "\n"}, got)
	}
	long := call(server, "GET", "/v1/export?"+strings.Repeat("n", 9000)+"=1", "")
	assert.Equal(t, 400, long.status)
	assert.Less(t, len(long.body), 400)
}

// TestExportOfNothing: an empty answer, not a missing one.
func TestExportOfNothing(t *testing.T) {
	got := send(t, start(t, enginetest.Open(t, quick()), kvhttp.Options{}), "GET", "/v1/export", "")
	assert.Equal(t, answered{200, got.header, ""}, got)
	assert.Equal(t, "application/x-ndjson", got.header.Get("Content-Type"))
}

// TestStreamMethods: streams have one method each.
func TestStreamMethods(t *testing.T) {
	server := start(t, enginetest.Open(t, quick()), kvhttp.Options{})
	for target, allow := range map[string]string{"/v1/export": "GET", "/v1/import": "POST", "/v1/backup": "GET"} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} {
			if method != allow {
				got := send(t, server, method, target, "")
				assert.Equal(t, 405, got.status, method+target)
				assert.Equal(t, allow, got.header.Get("Allow"), method+target)
			}
		}
	}
}

// TestStreamsNeedHTTP11: an older client could not tell that an answer was cut off.
func TestStreamsNeedHTTP11(t *testing.T) {
	server := start(t, enginetest.Open(t, quick()), kvhttp.Options{})
	for _, target := range []string{"/v1/export", "/v1/backup"} {
		got := sendRaw(t, server, "GET "+target+" HTTP/1.0\r\nHost: test\r\n\r\n")
		assert.Equal(t, answered{505, got.header, `{"error":"HTTP/1.1 is needed: before, an answer that is cut off looks whole"}` + "\n"}, got)
	}
}

// TestExportAndImportAreInverse takes a store of all that is special to another one, and back.
func TestExportAndImportAreInverse(t *testing.T) {
	opts := quick()
	opts.Now = func() time.Time { return time.Unix(1, 0) }
	first, second := enginetest.Open(t, opts), enginetest.Open(t, opts)
	r := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		e := anyEntry(r)
		if !e.Deadline.IsZero() && e.Deadline.Before(time.Unix(2, 0)) {
			e.Deadline = time.Unix(2, int64(r.IntN(5))).UTC()
		}
		apply(t, first, e)
		if r.IntN(1000) == 0 {
			require.NoError(t, first.Checkpoint(ctx))
		}
	}
	apply(t, first, &engine.Entry{Key: bytes.Repeat([]byte{0}, format.MaxKeyLen), Value: bytes.Repeat([]byte{0}, 100_000)})
	source, target := start(t, first, kvhttp.Options{}), start(t, second, kvhttp.Options{})
	exported := send(t, source, "GET", "/v1/export", "")
	require.Equal(t, 200, exported.status)
	got := send(t, target, "POST", "/v1/import", exported.body)
	assert.Equal(t, answered{200, got.header, fmt.Sprintf(`{"ok":true,"imported":%d}`+"\n", strings.Count(exported.body, "\n"))}, got)
	assert.Equal(t, contentsOf(t, first), contentsOf(t, second))
	assert.Equal(t, exported.body, send(t, target, "GET", "/v1/export", "").body)
}

// TestSlowExport: a client that does not read holds up neither writes nor checkpoints, and gets the state of when it asked.
func TestSlowExport(t *testing.T) {
	db := enginetest.Open(t, quick())
	entries := numbered(1500, 10_000) // more than the buffers of a connection
	apply(t, db, entries[:700]...)
	require.NoError(t, db.Checkpoint(ctx))
	apply(t, db, entries[700:]...)
	want := contentsOf(t, db)
	conn := dial(t, start(t, db, kvhttp.Options{}))
	fmt.Fprint(conn, "GET /v1/export HTTP/1.1\r\nHost: test\r\n\r\n")
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"chunked"}, response.TransferEncoding)
	front := make([]byte, 1000)
	_, err = io.ReadFull(response.Body, front)
	require.NoError(t, err)
	for i := range 3 {
		for j := range entries {
			if j%10 == i {
				_, err := db.Delete(ctx, entries[j].Key)
				require.NoError(t, err)
			}
		}
		apply(t, db, &engine.Entry{Key: fmt.Appendf(nil, "later-%d", i)})
		require.NoError(t, db.Checkpoint(ctx))
	}
	rest, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.True(t, want == string(front)+string(rest), "%d bytes, want %d", len(front)+len(rest), len(want))
}

// logged is a logger whose lines can be waited for.
func logged() (*slog.Logger, <-chan string) {
	lines := make(chan string, 100)
	return slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		lines <- string(p)
		return len(p), nil
	}), nil)), lines
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestStreamClientLeaves: the server notices, and stops.
func TestStreamClientLeaves(t *testing.T) {
	db := enginetest.Open(t, quick())
	apply(t, db, numbered(1500, 10_000)...)
	logger, lines := logged()
	server := start(t, db, kvhttp.Options{Logger: logger})
	for _, target := range []string{"/v1/export", "/v1/backup"} {
		conn := dial(t, server)
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", target)
		_, err := io.ReadFull(conn, make([]byte, 1000))
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		assert.Contains(t, <-lines, target+" was cut off: ")
	}
	require.NoError(t, server.Shutdown(ctx), "nothing is left running")
}

// damaged is a store of 4000 keys in a checkpoint, in which one byte was changed in the value of the key at place.
func damaged(t *testing.T, place int) *engine.DB {
	opts := quick()
	opts.Dir, opts.Create = t.TempDir(), true
	db, err := engine.Open(opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	entries := numbered(4000, 1000)
	apply(t, db, entries...)
	require.NoError(t, db.Checkpoint(ctx))
	name := filepath.Join(opts.Dir, format.CheckpointName(db.Stats().Generation))
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	at := bytes.Index(data, append(entries[place].Key, entries[place].Value...))
	require.Positive(t, at)
	file, err := os.OpenFile(name, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte{'!'}, int64(at+500))
	require.NoError(t, err)
	require.NoError(t, file.Close())
	return db
}

// TestStreamsMeetDamage: a stream that began is cut off where the damage is, so that it does not look whole; before that
// the answer says what is wrong.
func TestStreamsMeetDamage(t *testing.T) {
	logger, lines := logged()
	for _, target := range []string{"/v1/export", "/v1/export?reverse=true", "/v1/backup"} {
		db := damaged(t, 2000)
		response, err := http.Get("http://" + start(t, db, kvhttp.Options{Logger: logger}).Addr().String() + target)
		require.NoError(t, err)
		require.Equal(t, 200, response.StatusCode)
		body, err := io.ReadAll(response.Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, target)
		assert.NotContains(t, string(body), "y!y")
		require.NoError(t, response.Body.Close())
		assert.Regexp(t, "was cut off: .*checkpoint", <-lines)
		assert.ErrorIs(t, db.Stats().Damage, engine.ErrCorrupt)
	}
	for target, place := range map[string]int{"/v1/export": 10, "/v1/export?reverse=1": 3990} {
		got := send(t, start(t, damaged(t, place), kvhttp.Options{}), "GET", target, "")
		assert.Equal(t, 500, got.status, target)
		assert.Contains(t, got.body, `{"error":"`)
		assert.Contains(t, got.body, "checkpoint.")
		assert.Equal(t, "application/json", got.header.Get("Content-Type"))
	}
	got := send(t, start(t, damaged(t, 2000), kvhttp.Options{}), "GET", "/v1/export?prefix=key-00000", "")
	assert.Equal(t, 200, got.status, "what is not damaged is served")
	assert.Len(t, linesOf(t, got.body), 1000)
}

// TestBackupRestores makes a database of a backup that was taken while writes went on.
func TestBackupRestores(t *testing.T) {
	opts := quick()
	opts.Now = func() time.Time { return time.Unix(1, 0) }
	db := enginetest.Open(t, opts)
	apply(t, db, numbered(2000, 1000)...)
	require.NoError(t, db.Checkpoint(ctx))
	apply(t, db, &engine.Entry{Key: []byte("\xff\x00"), Deadline: time.Unix(3, 3).UTC()}, &engine.Entry{Key: []byte("key-00000007")})
	want := contentsOf(t, db)
	response, err := http.Get("http://" + start(t, db, kvhttp.Options{}).Addr().String() + "/v1/backup")
	require.NoError(t, err)
	assert.Equal(t, 200, response.StatusCode)
	assert.Equal(t, "application/octet-stream", response.Header.Get("Content-Type"))
	apply(t, db, &engine.Entry{Key: []byte("later")})
	restored := opts
	restored.Dir = filepath.Join(t.TempDir(), "restored")
	require.NoError(t, engine.Restore(restored, response.Body))
	require.NoError(t, response.Body.Close())
	assert.Equal(t, want, contentsOf(t, enginetest.Open(t, restored)))
}

// TestStreamsOfAClosedStore answer as all do.
func TestStreamsOfAClosedStore(t *testing.T) {
	db := enginetest.Open(t, quick())
	require.NoError(t, db.Close())
	server := kvhttp.NewServer(db, kvhttp.Options{})
	for _, target := range []string{"/v1/export", "/v1/export?reverse=1&limit=1", "/v1/backup"} {
		got := call(server, "GET", target, "")
		assert.Equal(t, 503, got.status, target)
		assert.Contains(t, got.body, "database is closed")
		assert.Equal(t, []string{"application/json"}, got.header["Content-Type"])
	}
	got := call(server, "POST", "/v1/import", `{"key":"k","value":"","encoding":"utf-8"}`)
	assert.Equal(t, answered{503, got.header, `{"error":"database is closed","imported":0}` + "\n"}, got)
}

// backupStore is a store whose backup is a function.
type backupStore struct {
	*memoryStore
	write func(ctx context.Context, w io.Writer) error
}

func (b backupStore) Backup(ctx context.Context, w io.Writer) (engine.Version, error) {
	return engine.Version{}, b.write(ctx, w)
}

// TestStreamDeadlines: while the client stays there is no read deadline, and each MiB has a minute to be taken.
func TestStreamDeadlines(t *testing.T) { synctest.Test(t, testStreamDeadlines) }

func testStreamDeadlines(t *testing.T) {
	write := func(sizes ...int) backupStore {
		return backupStore{newStore(), func(_ context.Context, w io.Writer) error {
			for _, size := range sizes {
				n, err := w.Write(make([]byte, size))
				assert.Equal(t, size, n)
				assert.NoError(t, err)
			}
			return nil
		}}
	}
	for _, row := range []struct {
		sizes []int
		moved int
	}{{nil, 0}, {[]int{0}, 0}, {[]int{1}, 1}, {[]int{1 << 20}, 1}, {[]int{1<<20 - 1, 1}, 1}, {[]int{1<<20 - 1, 2}, 2}, {[]int{5 << 20, 1}, 6}, {slices.Repeat([]int{1000}, 2098), 3}} {
		d := callWithDeadlines(kvhttp.NewServer(write(row.sizes...), kvhttp.Options{}), "GET", "/v1/backup", nil)
		assert.Equal(t, 200, d.Code)
		assert.Equal(t, []time.Duration{0, 30 * sec}, d.read)
		assert.Equal(t, slices.Repeat([]time.Duration{60 * sec}, row.moved+1), d.write, "and once at the end: %v", row.sizes)
	}
}

// TestBackupFails at the start, where the answer can say so, and later, where it cannot.
func TestBackupFails(t *testing.T) {
	for _, row := range []struct {
		err    error
		status int
		text   string
	}{
		{engine.ErrPoisoned, 503, engine.ErrPoisoned.Error()},
		{context.Canceled, 503, "the request waited too long"},
		{errors.New("no"), 500, "no"},
	} {
		server := kvhttp.NewServer(backupStore{newStore(), func(context.Context, io.Writer) error { return row.err }}, kvhttp.Options{})
		got := call(server, "GET", "/v1/backup", "")
		assert.Equal(t, answered{row.status, got.header, `{"error":"` + row.text + `"}` + "\n"}, got)

		server = kvhttp.NewServer(backupStore{newStore(), func(_ context.Context, w io.Writer) error {
			_, _ = io.WriteString(w, "a part")
			return row.err
		}}, kvhttp.Options{})
		assert.PanicsWithValue(t, http.ErrAbortHandler, func() {
			server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/v1/backup", nil))
		})
	}
}

// TestExportQueryOfAClient: what net/url encodes is understood.
func TestExportQueryOfAClient(t *testing.T) {
	db := enginetest.Open(t, quick())
	var every []byte
	for c := range 256 {
		every = append(every, byte(c))
	}
	apply(t, db, &engine.Entry{Key: every})
	server := start(t, db, kvhttp.Options{})
	got := send(t, server, "GET", "/v1/export?"+url.Values{"start": {string(every)}, "end": {string(every) + "\x00"}}.Encode(), "")
	assert.Len(t, linesOf(t, got.body), 1)
	got = send(t, server, "GET", "/v1/export?"+url.Values{"prefix": {string(every)}, "limit": {"3"}}.Encode(), "")
	assert.Len(t, linesOf(t, got.body), 1)
}
