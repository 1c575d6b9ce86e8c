package http_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	kvhttp "github.com/tongpengdl/small-db/http"
)

var (
	_ http.Handler = (*kvhttp.Server)(nil)
	_ kvhttp.Store = (*engine.DB)(nil)
)

// TestShutdownFinishesWhatRuns: the request in flight is answered, the idle connection closed,
// a new one refused.
func TestShutdownFinishesWhatRuns(t *testing.T) {
	store := newStore()
	inside, leave := make(chan struct{}), make(chan struct{})
	store.beforeWrite = func(context.Context) { close(inside); <-leave }
	server := kvhttp.NewServer(store, kvhttp.Options{})
	require.NoError(t, server.Listen("127.0.0.1:0"))
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()

	idle := dial(t, server)
	idleReader := bufio.NewReader(idle)
	fmt.Fprint(idle, "GET /v1/health HTTP/1.1\r\nHost: test\r\n\r\n")
	require.Equal(t, 200, receive(t, idleReader, "GET").status)
	busy := dial(t, server)
	fmt.Fprint(busy, "PUT /v1/kv/k HTTP/1.1\r\nHost: test\r\nContent-Length: 16\r\n\r\n{\"value\":\"eA==\"}")
	<-inside

	down := make(chan error, 1)
	go func() { down <- server.Shutdown(context.Background()) }()
	require.NoError(t, <-served)
	_, err := idleReader.ReadByte()
	assert.ErrorIs(t, err, io.EOF, "the idle connection is closed")
	_, err = net.Dial("tcp", server.Addr().String())
	assert.Error(t, err, "a new connection is refused")
	select {
	case err := <-down:
		t.Fatalf("Shutdown did not wait: %v", err)
	default:
	}

	close(leave)
	got := receive(t, bufio.NewReader(busy), "PUT")
	assert.Equal(t, answered{200, got.header, okBody}, got)
	require.NoError(t, <-down)
	_, stored := store.value("k")
	assert.True(t, stored)
}

// TestCloseCutsOffWhatRuns: Shutdown gives up with its context; Close cancels those of the requests.
func TestCloseCutsOffWhatRuns(t *testing.T) {
	store := newStore()
	inside, cancelled := make(chan struct{}), make(chan struct{})
	store.beforeWrite = func(ctx context.Context) { close(inside); <-ctx.Done(); close(cancelled) }
	server := start(t, store, kvhttp.Options{})
	conn := dial(t, server)
	fmt.Fprint(conn, "DELETE /v1/kv/k HTTP/1.1\r\nHost: test\r\n\r\n")
	<-inside

	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, server.Shutdown(ctx), context.DeadlineExceeded)
	require.NoError(t, server.Close())
	<-cancelled
	_, err := conn.Read(make([]byte, 1))
	assert.Error(t, err)
}

// TestClientThatLeavesCancels: the context of a write ends with its connection.
func TestClientThatLeavesCancels(t *testing.T) {
	store := newStore()
	inside, cancelled := make(chan struct{}), make(chan struct{})
	store.beforeWrite = func(ctx context.Context) { close(inside); <-ctx.Done(); close(cancelled) }
	conn := dial(t, start(t, store, kvhttp.Options{}))
	fmt.Fprint(conn, "PUT /v1/kv/k HTTP/1.1\r\nHost: test\r\nContent-Length: 16\r\n\r\n{\"value\":\"eA==\"}")
	<-inside
	require.NoError(t, conn.Close())
	<-cancelled
}

func TestListen(t *testing.T) {
	unused := kvhttp.NewServer(newStore(), kvhttp.Options{})
	assert.Nil(t, unused.Addr())
	assert.ErrorContains(t, unused.Serve(), "without Listen")

	first := start(t, newStore(), kvhttp.Options{})
	second := kvhttp.NewServer(newStore(), kvhttp.Options{})
	assert.ErrorContains(t, second.Listen(first.Addr().String()), "address already in use")

	// A listener that was never served is closed all the same.
	third := kvhttp.NewServer(newStore(), kvhttp.Options{})
	require.NoError(t, third.Listen("127.0.0.1:0"))
	require.NoError(t, third.Shutdown(context.Background()))
	require.NoError(t, third.Serve(), "nothing to do after Shutdown")
	_, err := net.Dial("tcp", third.Addr().String())
	assert.Error(t, err)
}
