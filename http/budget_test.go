package http_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	kvhttp "github.com/tongpengdl/small-db/http"
)

const tooManyBodies = `{"error":"too many large bodies at once; try again"}` + "\n"

// budgetOptions allow one body of the largest size, 6 x 100000 + 4096 bytes, and no more.
var budgetOptions = kvhttp.Options{MaxValueBytes: 100_000, MaxBodiesBytes: 1}

// bodyOfSize is a body that sets the empty value.
func bodyOfSize(size int) string { return "{" + strings.Repeat(" ", size-2) + "}" }

const largestBody = 6*100_000 + 4096

// TestBudgetOfLargeBodies holds a body of the largest size in a write, and sends others.
func TestBudgetOfLargeBodies(t *testing.T) {
	store := newStore()
	inside, leave := make(chan struct{}), make(chan struct{})
	var writes atomic.Int64
	store.beforeWrite = func(context.Context) {
		if writes.Add(1) == 1 {
			close(inside)
			<-leave
		}
	}
	server := start(t, store, budgetOptions)
	first := make(chan answered, 1)
	go func() { first <- call(server, "PUT", "/v1/kv/first", bodyOfSize(largestBody)) }()
	<-inside

	// The length is announced: the answer comes though nothing of the body is sent.
	conn := dial(t, server)
	fmt.Fprintf(conn, "PUT /v1/kv/k HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n", 64<<10+1)
	reader := bufio.NewReader(conn)
	got := receive(t, reader, "PUT")
	assert.Equal(t, answered{503, got.header, tooManyBodies}, got)
	assert.Equal(t, []string{"1"}, got.header.Values("Retry-After"))
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	_, err := reader.ReadByte()
	assert.ErrorIs(t, err, io.EOF)
	assert.Equal(t, []string{"close"}, call(server, "PUT", "/v1/kv/k", bodyOfSize(64<<10+1)).header.Values("Connection"))

	got = callChunked(server, bodyOfSize(64<<10+1))
	assert.Equal(t, answered{503, got.header, tooManyBodies}, got)
	assert.Equal(t, []string{"1"}, got.header.Values("Retry-After"))
	_, stored := store.value("k")
	assert.False(t, stored)

	for _, size := range []int{2, 40 << 10, 64<<10 - 1} {
		assert.Equal(t, okBody, call(server, "PUT", "/v1/kv/small", bodyOfSize(size)).body, "small bodies do not count")
		assert.Equal(t, okBody, callChunked(server, bodyOfSize(size)).body, "small bodies do not count")
	}

	close(leave)
	assert.Equal(t, okBody, (<-first).body)
	assert.Equal(t, okBody, call(server, "PUT", "/v1/kv/k", bodyOfSize(largestBody)).body, "there is room again")
	assert.Equal(t, okBody, callChunked(server, bodyOfSize(largestBody)).body, "and for one of unknown length")
}

// callChunked is call for a PUT of k with a body of unknown length.
func callChunked(handler http.Handler, body string) answered {
	recorder := httptest.NewRecorder()
	request := httptest.NewRequest("PUT", "/v1/kv/k", io.MultiReader(strings.NewReader(body)))
	handler.ServeHTTP(recorder, request)
	return answered{recorder.Code, recorder.Header(), recorder.Body.String()}
}

// TestBudgetComesBack: however a large body ends, the next of the largest size fits.
func TestBudgetComesBack(t *testing.T) {
	store := newStore()
	server := kvhttp.NewServer(store, budgetOptions)
	put := func() { call(server, "PUT", "/v1/kv/k", bodyOfSize(largestBody)) }
	for name, end := range map[string]func(){
		"written":     put,
		"not JSON":    func() { call(server, "PUT", "/v1/kv/k", strings.Repeat("x", largestBody)) },
		"too large":   func() { callChunked(server, bodyOfSize(largestBody+1)) },
		"cut off":     func() { callWithDeadlines(server, "PUT", "/v1/kv/k", errorAfter(largestBody/2)) },
		"store fails": func() { store.writeErr = context.Canceled; put(); store.writeErr = nil },
		"store panics": func() {
			store.beforeWrite = func(context.Context) { panic("no") }
			assert.Panics(t, put)
			store.beforeWrite = nil
		},
	} {
		end()
		assert.Equal(t, okBody, call(server, "PUT", "/v1/kv/k", bodyOfSize(largestBody)).body, name)
	}
}

// errorAfter is a body that fails after size bytes.
func errorAfter(size int) io.Reader {
	return io.MultiReader(strings.NewReader(strings.Repeat(" ", size)), iotest.ErrReader(io.ErrUnexpectedEOF))
}
