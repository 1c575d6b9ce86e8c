package http_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	kvhttp "github.com/tongpengdl/small-db/http"
)

// memoryStore is a Store without a disk, but for what streams need: that is for a test to set. Errors that are set take
// the place of the answers.
type memoryStore struct {
	*engine.DB

	mu      sync.Mutex
	entries map[string][]byte
	stats   engine.Stats

	readErr, writeErr, checkpointErr error
	// beforeWrite, if set, runs at the start of each write.
	beforeWrite func(ctx context.Context)
	checkpoints int
}

func newStore() *memoryStore { return &memoryStore{entries: map[string][]byte{}} }

func (m *memoryStore) AppendGet(dst, key []byte) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, ok := m.entries[string(key)]
	return append(dst, value...), ok, m.readErr
}

func (m *memoryStore) Set(ctx context.Context, key, value []byte) (engine.Version, error) {
	return engine.Version{}, m.write(ctx, func() { m.entries[string(key)] = bytes.Clone(value) })
}

func (m *memoryStore) Delete(ctx context.Context, key []byte) (engine.Version, error) {
	return engine.Version{}, m.write(ctx, func() { delete(m.entries, string(key)) })
}

func (m *memoryStore) write(ctx context.Context, change func()) error {
	if m.beforeWrite != nil {
		m.beforeWrite(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writeErr == nil {
		change()
	}
	return m.writeErr
}

func (m *memoryStore) Checkpoint(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checkpoints++
	return m.checkpointErr
}

func (m *memoryStore) Stats() engine.Stats { return m.stats }

// value returns what the store has under key.
func (m *memoryStore) value(key string) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, ok := m.entries[key]
	return string(value), ok
}

// start serves store on a free port until the test ends.
func start(t testing.TB, store kvhttp.Store, opts kvhttp.Options) *kvhttp.Server {
	t.Helper()
	server := kvhttp.NewServer(store, opts)
	require.NoError(t, server.Listen("127.0.0.1:0"))
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	t.Cleanup(func() {
		_ = server.Close()
		require.NoError(t, <-served)
	})
	return server
}

// dial connects to server. Nothing on the connection takes longer than a minute.
func dial(t testing.TB, server *kvhttp.Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", server.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	return conn
}

// answered is what came back.
type answered struct {
	status int
	header http.Header
	body   string
}

// send sends a request whose target is exactly target over a connection of its own: no client library may
// tidy it.
func send(t testing.TB, server *kvhttp.Server, method, target, body string) answered {
	t.Helper()
	conn := dial(t, server)
	go func() { // the answer may come before the request is read whole
		_, _ = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", method, target, len(body))
		_, _ = io.WriteString(conn, body)
	}()
	return receive(t, bufio.NewReader(conn), method)
}

// receive reads one answer.
func receive(t testing.TB, r *bufio.Reader, method string) answered {
	t.Helper()
	response, err := http.ReadResponse(r, &http.Request{Method: method})
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answered{response.StatusCode, response.Header, string(body)}
}

// call answers a request without a network.
func call(handler http.Handler, method, target, body string) answered {
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(method, target, strings.NewReader(body)))
	return answered{recorder.Code, recorder.Header(), recorder.Body.String()}
}
