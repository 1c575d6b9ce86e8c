package http_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	kvhttp "github.com/tongpengdl/small-db/http"
)

const tooManyStreams = `{"error":"too many exports and backups at once; try again"}` + "\n"

// stall sends a request, reads the header of the answer and, if it is a failure, the text, and nothing more.
func stall(server *kvhttp.Server, target string) (conn net.Conn, got answered, err error) {
	if conn, err = net.Dial("tcp", server.Addr().String()); err != nil {
		return nil, got, err
	}
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", target)
	response, err := http.ReadResponse(bufio.NewReaderSize(conn, 1<<10), nil)
	if err != nil {
		return conn, got, err
	}
	got.status, got.header = response.StatusCode, response.Header
	if got.status != http.StatusOK {
		var text []byte
		text, err = io.ReadAll(response.Body)
		got.body = string(text)
	}
	return conn, got, err
}

// stallAll lets as many clients stall at once, and returns the answers by status. Their connections are closed by leave.
func stallAll(t *testing.T, server *kvhttp.Server, clients int, targets ...string) (answers map[int][]answered, leave func()) {
	answers = map[int][]answered{}
	var conns []net.Conn
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			conn, got, err := stall(server, targets[i%len(targets)])
			mu.Lock()
			defer mu.Unlock()
			assert.NoError(t, err)
			answers[got.status] = append(answers[got.status], got)
			conns = append(conns, conn)
		})
	}
	all.Wait()
	leave = func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
	}
	t.Cleanup(leave)
	return answers, leave
}

// liveHeap is what the heap holds after a collection.
func liveHeap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

const stalledValue = 2 << 20

// withLargeValues is a database whose export and backup are more than a connection takes that nobody reads.
func withLargeValues(t *testing.T) *engine.DB {
	opts := quick()
	opts.LogFileBytes = 16 << 20
	db := enginetest.Open(t, opts)
	for i := range 8 {
		if i == 4 {
			require.NoError(t, db.Checkpoint(ctx))
		}
		apply(t, db, &engine.Entry{Key: fmt.Appendf(nil, "key-%d", i), Value: bytes.Repeat([]byte{1}, stalledValue)})
	}
	return db
}

// TestStalledStreams: of many clients that ask and do not read, some are served and hold no more than the package comment says;
// the others are refused. All else goes on, and once the clients are gone, streams do.
func TestStalledStreams(t *testing.T) {
	const streams, clients = 4, 24
	for _, row := range []struct {
		values  int64 // that a stream holds here, where those that it comes to lie in one file
		targets []string
	}{{2, []string{"/v1/export", "/v1/export?reverse=true"}}, {3, []string{"/v1/backup"}}} {
		server := start(t, withLargeValues(t), kvhttp.Options{MaxStreams: streams})
		before := liveHeap()
		answers, leave := stallAll(t, server, clients, row.targets...)
		assert.Less(t, liveHeap()-before, streams*(row.values*stalledValue+512<<10), "%v", row.targets)
		assert.Len(t, answers[200], streams)
		assert.Len(t, answers[503], clients-streams)
		for _, got := range answers[503] {
			assert.Equal(t, tooManyStreams, got.body)
			assert.Equal(t, []string{"1"}, got.header.Values("Retry-After"))
		}
		for target, method := range map[string]string{"/v1/health": "GET", "/v1/checkpoint": "POST", "/v1/kv/key-1": "GET", "/v1/import": "POST"} {
			assert.Equal(t, 200, send(t, server, method, target, "").status, target)
		}
		leave()
		var got answered
		for deadline := time.Now().Add(time.Minute); got.status != 200 && time.Now().Before(deadline); {
			got = send(t, server, "GET", "/v1/export?limit=1", "")
		}
		assert.Equal(t, 200, got.status, got.body)
	}
}

// TestStalledValues: clients that ask for a large value and do not read share the budget of large bodies.
func TestStalledValues(t *testing.T) {
	const value, fit = 8 << 20, 3
	store := newStore()
	store.entries["large"] = bytes.Repeat([]byte{1}, value)
	store.entries["small"] = bytes.Repeat([]byte{1}, 64<<10)
	server := start(t, store, kvhttp.Options{MaxValueBytes: 1 << 20, MaxBodiesBytes: fit*(6<<20+4<<10) + 1<<20})
	before := liveHeap()
	answers, leave := stallAll(t, server, 12, "/v1/kv/large")
	assert.Less(t, liveHeap()-before, int64(fit*value+4<<20))
	assert.Len(t, answers[200], fit)
	for _, got := range answers[503] {
		assert.Equal(t, tooManyBodies, got.body)
		assert.Equal(t, []string{"1"}, got.header.Values("Retry-After"))
	}
	assert.Equal(t, 200, send(t, server, "GET", "/v1/kv/small", "").status)
	leave()
	got := answered{status: 503}
	for deadline := time.Now().Add(time.Minute); got.status != 200 && time.Now().Before(deadline); {
		got = send(t, server, "GET", "/v1/kv/large", "")
	}
	assert.Len(t, got.body, len(`{"key":"large","value":"","encoding":"base64"}`+"\n")+(value+2)/3*4)
}

// TestStreamsWaitForOthers: a second, and no longer.
func TestStreamsWaitForOthers(t *testing.T) { synctest.Test(t, testStreamsWaitForOthers) }

func testStreamsWaitForOthers(t *testing.T) {
	leave := make(chan struct{})
	store := backupStore{newStore(), func(context.Context, io.Writer) error { <-leave; return nil }}
	server := kvhttp.NewServer(store, kvhttp.Options{MaxStreams: 1})
	answers := make(chan answered, 2)
	backup := func() { answers <- call(server, "GET", "/v1/backup", "") }
	go backup()
	synctest.Wait()

	start := time.Now()
	got := call(server, "GET", "/v1/backup", "")
	assert.Equal(t, answered{503, got.header, tooManyStreams}, got)
	assert.Equal(t, time.Second, time.Since(start))

	start = time.Now()
	go backup()
	time.Sleep(time.Second - 1)
	leave <- struct{}{}
	assert.Equal(t, 200, (<-answers).status)
	synctest.Wait()
	leave <- struct{}{}
	assert.Equal(t, 200, (<-answers).status, "the second came in")
	assert.Less(t, time.Since(start), time.Second)
}

// TestStreamsWithoutParameters: what a route does not know it refuses.
func TestStreamsWithoutParameters(t *testing.T) {
	db := enginetest.Open(t, quick())
	server := kvhttp.NewServer(db, kvhttp.Options{})
	got := call(server, "GET", "/v1/backup?prefix=a", "")
	assert.Equal(t, answered{400, got.header, `{"error":"invalid query: /v1/backup takes no parameters"}` + "\n"}, got)
	got = call(server, "POST", "/v1/import?x=1", line("a", "1"))
	assert.Equal(t, answered{400, got.header, `{"error":"invalid query: /v1/import takes no parameters","imported":0}` + "\n"}, got)
	assert.Equal(t, []string{"close"}, got.header.Values("Connection"))
	assert.Empty(t, contentsOf(t, db))
	assert.Equal(t, 200, call(server, "GET", "/v1/backup?", "").status)
}
