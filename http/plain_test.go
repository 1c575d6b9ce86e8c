package http_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
	kvhttp "github.com/tongpengdl/small-db/http"
)

// pipes is a listener without a network: it works where time stands still.
type pipes struct {
	accepted chan net.Conn
	failed   chan error
	closed   chan struct{}
	once     sync.Once
}

func newPipes() *pipes {
	return &pipes{accepted: make(chan net.Conn), failed: make(chan error), closed: make(chan struct{})}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accepted:
		return conn, nil
	case err := <-p.failed:
		return nil, err
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.accepted <- theirs
	return ours
}

// startPiped serves store on pipes until the end of the bubble's test.
func startPiped(store kvhttp.Store, opts kvhttp.Options) (server *kvhttp.Server, listener *pipes, served chan error) {
	server, listener, served = kvhttp.NewServer(store, opts), newPipes(), make(chan error, 1)
	server.UseListener(listener)
	go func() { served <- server.Serve() }()
	return server, listener, served
}

// exchange sends pieces of text with pauses between, and returns all that comes back until the server ends the connection, and after
// how long that was.
func exchange(conn net.Conn, pause time.Duration, pieces ...string) (answers string, took time.Duration) {
	started := time.Now()
	var writing sync.WaitGroup
	writing.Go(func() {
		for i, text := range pieces {
			if i > 0 {
				time.Sleep(pause)
			}
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
	})
	all, _ := io.ReadAll(conn)
	took = time.Since(started)
	_ = conn.Close()
	writing.Wait()
	return string(all), took
}

var dateField = regexp.MustCompile(`(?m)^Date: [^\r]*\r\n`)

// trial is a client that sends pieces of text with pauses between, and what it meets.
type trial struct {
	pieces            []string
	pause             time.Duration
	opts              kvhttp.Options
	readErr, writeErr error
}

// checkLikeNetHTTP holds that the server answers byte for byte, and stores what it is told, as if net/http read every request.
func checkLikeNetHTTP(t *testing.T, of trial) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store, wanted := newStore(), newStore()
		for _, s := range []*memoryStore{store, wanted} {
			s.entries["k"] = []byte("value")
			s.entries["large"] = []byte(strings.Repeat("large", 40<<10))
			s.readErr, s.writeErr = of.readErr, of.writeErr
		}
		server, listener, _ := startPiped(store, of.opts)
		answers, _ := exchange(listener.dial(), of.pause, of.pieces...)
		require.NoError(t, server.Close())

		whole, wholeListener := kvhttp.NewServer(wanted, of.opts), newPipes()
		go func() { _ = whole.NetHTTP().Serve(wholeListener) }()
		want, _ := exchange(wholeListener.dial(), of.pause, of.pieces...)
		require.NoError(t, whole.Close())

		require.Equal(t, strings.Count(want, "\r\nDate: "), strings.Count(answers, "\r\nDate: "))
		want, got := dateField.ReplaceAllString(want, ""), dateField.ReplaceAllString(answers, "")
		if want != got {
			at := 0
			for at < min(len(want), len(got)) && want[at] == got[at] {
				at++
			}
			t.Fatalf("from offset %d net/http answers %.300q, and we %.300q", at, want[at:], got[at:])
		}
		require.True(t, maps.EqualFunc(wanted.entries, store.entries, bytes.Equal), "net/http has %d keys, and we %d, or values differ", len(wanted.entries), len(store.entries))
	})
}

// plainTexts are what a client sends on a connection.
var plainTexts = []string{
	"GET /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/kv/none HTTP/1.1\r\nhost: b:80\r\nConnection: keep-alive\r\n\r\n",
	"GET /v1/kv/k HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n",
	"PUT /v1/kv/p HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\nContent-Type: application/json\r\n\r\n{\"value\":\"eA==\"}GET /v1/kv/p HTTP/1.1\r\nHost: a\r\n\r\n",
	"PUT /v1/kv/p HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nno jsonDELETE /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n",
	"PUT /v1/kv/p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
	"PUT /v1/kv/p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
	"PUT /v1/kv/p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
	"PUT /v1/kv/p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}GET /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n",
	"PUT /v1/kv/p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 2\r\n\r\n{}GET /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n",
	"PUT /v1/kv/p HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}",
	"PUT /v1/kv/p HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
	"PUT /v1/kv/p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nGET /v1/kv/p HTTP/1.1\r\nHost: a\r\n\r\n",
	"PUT /v1/kv/p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	"PUT /v1/kv/p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}",
	"PUT /v1/kv/p HTTP/1.1\r\nHost: a\r\n\r\n{}",
	"PUT /v1/kv/p HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n{}",
	"PUT /v1/kv/p HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n{" + strings.Repeat(" ", 8998) + "}GET /v1/kv/p HTTP/1.1\r\nHost: a\r\n\r\n",
	"PUT /v1/kv/p HTTP/1.1\r\nHost: a\r\nContent-Length: 8000\r\n\r\n{" + strings.Repeat(" ", 7998) + "}GET /v1/kv/p HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /v1/kv/large HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /v1/kv/k HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
	"GET /v1/kv/k HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
	"DELETE /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\nDELETE /v1/kv/k HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n",
	"GET /v1/kv/%6b HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/kv/%6B?x=1 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /v1/kv/%C3%BF%00%2f HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/kv/%ff HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /v1/kv/%6 HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/kv/%zz HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/kv/% HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /v1/kv/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/kv// HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/kv/.. HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /v1%2fkv/k HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/kv%2fk HTTP/1.1\r\nHost: a\r\n\r\n", "GET //v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET http://a/v1/kv/k HTTP/1.1\r\nHost: b\r\n\r\n", "GET /v1/kv/<> HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/kv/a b HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /v1/kv/é HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/kv/a#b HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/kv/a\\b HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /v1/kv/k HTTP/1.0\r\nHost: a\r\n\r\n", "GET /v1/kv/k HTTP/1.1\r\n\r\n", "GET /v1/kv/k HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
	"GET /v1/kv/k HTTP/1.1\r\nHost:\r\n\r\n", "GET /v1/kv/k HTTP/1.1\r\nHost: a b\r\n\r\n", "GET /v1/kv/k HTTP/1.1\r\nHost : a\r\n\r\n",
	"GET /v1/kv/k HTTP/1.1\nHost: a\n\n", "GET /v1/kv/k HTTP/1.1\r\nHost: a\n\r\n", "GET /v1/kv/k HTTP/1.1\r\r\nHost: a\r\n\r\n",
	"GET /v1/kv/k HTTP/1.1\r\nHost: a\r\nAccept: \x00\r\n\r\n", "GET /v1/kv/k HTTP/1.1\r\nHost: a\r\nAccept: \tx\t \r\n\r\n", "GET /v1/kv/k HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
	"GET /v1/kv/k HTTP/1.1\r\nHost: a\r\nX-Unknown: y\r\nIf-Match: z\r\n\r\n", "GET /v1/kv/k HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n",
	"GET /v1/kv/k HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", "GET /v1/kv/k HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
	"GET /v1/kv/k HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", "get /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n",
	"HEAD /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n", "POST /v1/kv/k HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", "GETX /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /v1/health HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"", "\r\n", "\r\nGET /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/kv/k", "GET /v1/kv/k HTTP/1.1\r\nHost: a\r\n", "\x16\x03\x01",
	"GET /v1/kv/" + strings.Repeat("k", 9000) + " HTTP/1.1\r\nHost: a\r\n\r\n",
	strings.Repeat("GET /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n", 500),
}

func TestPlainLikeNetHTTP(t *testing.T) {
	for i, text := range plainTexts {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			checkLikeNetHTTP(t, trial{pieces: []string{text}})
			checkLikeNetHTTP(t, trial{pieces: []string{text}, opts: kvhttp.Options{MaxValueBytes: 100, MaxBodiesBytes: 1 << 10}})
			for _, at := range []int{1, len(text) / 3, len(text) - 20, len(text) - 1} {
				at = max(0, min(at, len(text)))
				checkLikeNetHTTP(t, trial{pieces: []string{text[:at], text[at:]}, pause: 50 * time.Millisecond})
				checkLikeNetHTTP(t, trial{pieces: []string{text[:at], text[at:]}, pause: 200 * time.Millisecond})
			}
			for _, err := range []error{engine.ErrPoisoned, engine.ErrDiskFull, engine.ErrIndeterminate, format.ErrChecksum, context.Canceled} {
				checkLikeNetHTTP(t, trial{pieces: []string{text}, readErr: err, writeErr: err})
			}
		})
	}
}

// FuzzPlain: whatever a client sends, and in whatever pieces, nobody can tell which requests net/http has read.
func FuzzPlain(f *testing.F) {
	for i, text := range plainTexts {
		f.Add(text, uint(len(text)), uint8(i*40))
	}
	f.Fuzz(func(t *testing.T, text string, cut uint, pause uint8) {
		if len(text) > 64<<10 {
			t.Skip("long")
		}
		at := min(cut, uint(len(text)))
		checkLikeNetHTTP(t, trial{pieces: []string{text[:at], text[at:]}, pause: time.Duration(pause) * time.Millisecond})
	})
}

// TestPlainStays: what clients send is plain, and what is not leaves the connection to net/http.
func TestPlainStays(t *testing.T) {
	const host = " HTTP/1.1\r\nHost: localhost:8080\r\n"
	for text, plain := range map[string]int{
		"GET /v1/kv/a/b%20c" + host + "User-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n":                                                                              1,
		"GET /v1/kv/k" + host + "User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n":                                                                  1,
		"PUT /v1/kv/k" + host + "User-Agent: Go-http-client/1.1\r\nContent-Length: 2\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n{}":         1,
		"DELETE /v1/kv/k" + host + "accept: */*\r\naccept-language: *\r\nuser-agent: node\r\naccept-encoding: br, gzip, deflate\r\nconnection: keep-alive\r\n\r\n": 1,
		"GET /v1/health" + host + "\r\n":             0,
		"GET /v1/kv/k" + host + "Upgrade: x\r\n\r\n": 0,
	} {
		synctest.Test(t, func(t *testing.T) {
			server, listener, _ := startPiped(newStore(), kvhttp.Options{})
			conn := listener.dial()
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			_, err := io.WriteString(conn, text)
			require.NoError(t, err)
			synctest.Wait()
			assert.Equal(t, plain, server.Plain(), text)
			require.NoError(t, server.Close())
			_ = conn.Close()
		})
	}
}

// TestPlainTimes: where time stands still, how long everything may take.
func TestPlainTimes(t *testing.T) {
	const put = "PUT /v1/kv/k HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\n"
	for name, row := range map[string]struct {
		text          string
		after         time.Duration // until more is sent
		more          string
		least, most   time.Duration // until the connection ends
		answers, part string        // statuses, and what one of the answers has
	}{
		"silence":            {"", 0, "", 5 * sec, 5 * sec, "", ""},
		"idle":               {"GET /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n", 0, "", 60 * sec, 61 * sec, "404", ""},
		"idle twice":         {"GET /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n", 59 * sec, "GET /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n", 119 * sec, 120 * sec, "404 404", ""},
		"header in pieces":   {"GET /v1/kv/k HT", 4 * sec, "TP/1.1\r\nHost: a\r\n\r\n", 64 * sec, 66 * sec, "404", ""},
		"header not whole":   {"GET /v1/kv/k HT", 0, "", 5 * sec, 5100 * time.Millisecond, "400", ""},
		"header too late":    {"GET /v1/kv/k HT", 6 * sec, "TP/1.1\r\nHost: a\r\n\r\n", 5 * sec, 5100 * time.Millisecond, "400", ""},
		"body soon":          {put, 50 * time.Millisecond, `{"value":"eA=="}`, 60 * sec, 62 * sec, "200", "ok"},
		"body late":          {put, 29 * sec, `{"value":"eA=="}`, 89 * sec, 90 * sec, "200", "ok"},
		"body too late":      {put, 40 * sec, `{"value":"eA=="}`, 30 * sec, 31 * sec, "408", "too slowly; nothing was written"},
		"second not whole":   {"GET /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/kv", 0, "", 5 * sec, 5100 * time.Millisecond, "404 400", ""},
		"second comes later": {"GET /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/kv", 50 * time.Millisecond, "/k HTTP/1.1\r\nHost: a\r\n\r\n", 60 * sec, 62 * sec, "404 404", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, listener, _ := startPiped(newStore(), kvhttp.Options{})
				answers, took := exchange(listener.dial(), row.after, row.text, row.more)
				var statuses []string
				for _, found := range statusLine.FindAllStringSubmatch(answers, -1) {
					statuses = append(statuses, found[1])
				}
				assert.Equal(t, row.answers, strings.Join(statuses, " "))
				assert.Contains(t, answers, row.part)
				assert.GreaterOrEqual(t, took, row.least)
				assert.LessOrEqual(t, took, row.most)
				require.NoError(t, server.Close())
			})
		})
	}
}

var statusLine = regexp.MustCompile(`(?m)^HTTP/1\.1 (\d+) `)

// TestPlainWriteWaits: a write that waits for too long is given up, with the connection, and the connections beside it are not.
func TestPlainWriteWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore()
		var waited time.Duration
		store.beforeWrite = func(ctx context.Context) {
			started := time.Now()
			<-ctx.Done()
			waited = time.Since(started)
			store.writeErr = ctx.Err()
		}
		server, listener, _ := startPiped(store, kvhttp.Options{})
		other := listener.dial()
		answers, took := exchange(listener.dial(), 0, "DELETE /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n")
		assert.Contains(t, answers, "HTTP/1.1 503 ")
		assert.Contains(t, answers, "\r\nConnection: close\r\n")
		assert.GreaterOrEqual(t, waited, 30*sec)
		assert.LessOrEqual(t, waited, 31*sec)
		assert.Equal(t, waited, took)
		_, err := other.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF, "it was silent for 5 s")
		answers, _ = exchange(listener.dial(), 0, "DELETE /v1/kv/k HTTP/1.1\r\nHost: a\r\nX-Not-Plain: 1\r\n\r\n")
		assert.Contains(t, answers, "HTTP/1.1 503 ")
		assert.Equal(t, 30*sec, waited)
		require.NoError(t, server.Close())
	})
}

// TestPlainPanic: what goes wrong with one request costs its connection, a line in the log, and nothing else.
func TestPlainPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore()
		store.beforeWrite = func(context.Context) { panic("broken store") }
		var log bytes.Buffer
		server, listener, _ := startPiped(store, kvhttp.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		answers, _ := exchange(listener.dial(), 0, "DELETE /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n")
		assert.Empty(t, answers)
		assert.Contains(t, log.String(), "panic serving")
		assert.Contains(t, log.String(), "broken store")
		answers, _ = exchange(listener.dial(), 0, "GET /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n")
		assert.Contains(t, answers, "HTTP/1.1 404 ")
		require.NoError(t, server.Close())
	})
}

// TestListenerFails: a failure that passes is waited for, any other ends Serve.
func TestListenerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, listener, served := startPiped(newStore(), kvhttp.Options{})
		early := listener.dial()
		for range 9 {
			listener.failed <- &net.OpError{Op: "accept", Err: syscall.EMFILE}
		}
		synctest.Wait() // and the next call comes in a second
		answers, took := exchange(early, 0, "GET /v1/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		assert.Contains(t, answers, "HTTP/1.1 200 ")
		assert.Zero(t, took)
		idle := listener.dial()
		answers, _ = exchange(listener.dial(), 0, "GET /v1/kv/k HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		assert.Contains(t, answers, "HTTP/1.1 404 ")
		broken := errors.New("broken")
		listener.failed <- broken
		assert.ErrorIs(t, <-served, broken)
		_, err := idle.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF, "nobody would take what is not plain")
		require.NoError(t, server.Close())
	})
}

// TestShutdownOfPlain: an answer that is being made is the last of its connection, and says so; requests behind it are not begun.
func TestShutdownOfPlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore()
		leave := make(chan struct{})
		store.beforeWrite = func(context.Context) { <-leave }
		server, listener, served := startPiped(store, kvhttp.Options{})
		conn := listener.dial()
		go func() {
			synctest.Wait()
			go func() { assert.NoError(t, server.Shutdown(context.Background())) }()
			assert.NoError(t, <-served)
			time.Sleep(sec)
			close(leave)
		}()
		answers, took := exchange(conn, 0, strings.Repeat("DELETE /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n", 2))
		assert.Equal(t, 1, strings.Count(answers, "HTTP/1.1 200 OK\r\n"))
		assert.Contains(t, answers, "\r\nConnection: close\r\n")
		assert.Equal(t, sec, took)
		require.NoError(t, server.Close())
	})
}

// TestShutdownOfPart: of a request that has begun to come the rest may follow soon.
func TestShutdownOfPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore()
		server, listener, _ := startPiped(store, kvhttp.Options{})
		go func() {
			time.Sleep(5 * time.Millisecond)
			assert.NoError(t, server.Shutdown(context.Background()))
		}()
		answers, _ := exchange(listener.dial(), 10*time.Millisecond, "PUT /v1/kv/k HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\n{\"value", "\":\"eA==\"}")
		assert.Contains(t, answers, "HTTP/1.1 200 OK\r\n")
		assert.Contains(t, answers, "\r\nConnection: close\r\n")
		value, _ := store.value("k")
		assert.Equal(t, "x", value)
		require.NoError(t, server.Close())
	})
}

// TestPlainSlowClient: a client may take as long for an answer as from net/http, and then go on.
func TestPlainSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore()
		store.entries["large"] = make([]byte, 1<<20)
		server, listener, _ := startPiped(store, kvhttp.Options{})
		conn := listener.dial()
		go func() {
			_, _ = io.WriteString(conn, strings.Repeat("GET /v1/kv/large HTTP/1.1\r\nHost: a\r\n\r\n", 2))
		}()
		piece := make([]byte, 40<<10)
		var all int
		for started := time.Now(); ; time.Sleep(sec) { // 1 s for 40 KiB
			n, err := conn.Read(piece)
			if all += n; err != nil {
				assert.Greater(t, time.Since(started), 60*sec)
				break
			}
		}
		assert.Greater(t, all, 2*(1<<20)*4/3)
		require.NoError(t, server.Close())
	})
}

// TestPlainClientGone: nothing is written for a client that did not take the answer before.
func TestPlainClientGone(t *testing.T) {
	for _, key := range []string{"large", "k"} {
		synctest.Test(t, func(t *testing.T) {
			store := newStore()
			store.entries["large"], store.entries["k"] = make([]byte, 1<<20), []byte("value")
			server, listener, _ := startPiped(store, kvhttp.Options{})
			conn := listener.dial()
			_, err := io.WriteString(conn, "GET /v1/kv/"+key+" HTTP/1.1\r\nHost: a\r\n\r\nDELETE /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n")
			require.NoError(t, err)
			_, err = conn.Read(make([]byte, 10))
			require.NoError(t, err)
			require.NoError(t, conn.Close())
			synctest.Wait()
			_, there := store.value("k")
			assert.True(t, there)
			require.NoError(t, server.Close())
		})
	}
}

// TestPlainAnswersAtOnce: no answer waits for the writes of requests behind it, nor is lost with one that fails.
func TestPlainAnswersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore()
		writes := 0
		store.beforeWrite = func(context.Context) {
			if writes++; writes > 1 {
				time.Sleep(10 * sec)
				panic("broken store")
			}
		}
		server, listener, _ := startPiped(store, kvhttp.Options{})
		conn := listener.dial()
		go func() { _, _ = io.WriteString(conn, strings.Repeat("DELETE /v1/kv/k HTTP/1.1\r\nHost: a\r\n\r\n", 2)) }()
		started := time.Now()
		got := receive(t, bufio.NewReader(conn), "DELETE")
		assert.Equal(t, answered{200, got.header, okBody}, got)
		assert.Zero(t, time.Since(started))
		_, err := conn.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
		require.NoError(t, server.Close())
	})
}

// fixedStore has one value under all keys, and takes every write.
type fixedStore struct {
	*memoryStore
	value []byte
}

func (s fixedStore) AppendGet(dst, _ []byte) ([]byte, bool, error) {
	return append(dst, s.value...), true, nil
}

func (s fixedStore) Set(context.Context, []byte, []byte) (engine.Version, error) {
	return engine.Version{}, nil
}

// TestPlainAllocates: from the connection and back a plain request allocates nothing.
func TestPlainAllocates(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector a sync.Pool forgets on purpose")
	}
	server := start(t, fixedStore{newStore(), make([]byte, 128)}, kvhttp.Options{})
	conn := dial(t, server)
	for _, text := range []string{
		"GET /v1/kv/key HTTP/1.1\r\nHost: a\r\n\r\n",
		"PUT /v1/kv/key HTTP/1.1\r\nHost: a\r\nContent-Length: 36\r\n\r\n" + `{"value":"eA==","encoding":"base64"}`,
		"DELETE /v1/kv/%00 HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		request, answer := []byte(text), make([]byte, 4<<10)
		allocs := testing.AllocsPerRun(200, func() {
			if _, err := conn.Write(request); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(answer); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
				t.Fatal(err, string(answer))
			}
		})
		assert.Less(t, allocs, 0.5, text) // the deadlines of each second are few
	}
}
