package http_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
	kvhttp "github.com/tongpengdl/small-db/http"
)

// TestBodyLimit: with values of at most 1000 bytes, a body has at most 6 x 1000 + 4096.
func TestBodyLimit(t *testing.T) {
	const limit = 6*1000 + 4096
	const tooLarge = `{"error":"value is too large: the body has more than 10096 bytes"}` + "\n"
	escaped := `{"value":"` + strings.Repeat(`\u0001`, 1000) + `","encoding":"text"}`
	fits := escaped + strings.Repeat(" ", limit-len(escaped))
	for _, chunked := range []bool{false, true} {
		for body, want := range map[string]answered{
			escaped:                         {status: 200, body: okBody},
			fits:                            {status: 200, body: okBody},
			fits + " ":                      {status: 413, body: tooLarge},
			strings.Repeat("x", 100*limit):  {status: 413, body: tooLarge},
			strings.Repeat(" ", 1000*limit): {status: 413, body: tooLarge},
		} {
			store := newStore()
			server := start(t, store, kvhttp.Options{MaxValueBytes: 1000})
			var reader io.Reader = strings.NewReader(body)
			if chunked {
				reader = io.MultiReader(reader) // hides the length
			}
			request, err := http.NewRequest("PUT", "http://"+server.Addr().String()+"/v1/kv/k", reader)
			require.NoError(t, err)
			response, err := http.DefaultTransport.RoundTrip(request)
			require.NoError(t, err, "%d bytes", len(body))
			text, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			assert.Equal(t, want, answered{response.StatusCode, nil, string(text)}, "%d bytes, chunked %v", len(body), chunked)
			require.NoError(t, response.Body.Close())
			_, stored := store.value("k")
			assert.Equal(t, want.status == 200, stored)
		}
	}
}

// TestUnreadBodiesAreBounded: a body beyond the limit is answered before it comes, and one that its route ignores
// is not waited for. Either ends the connection.
func TestUnreadBodiesAreBounded(t *testing.T) {
	server := start(t, newStore(), kvhttp.Options{MaxValueBytes: 1000})
	for request, status := range map[string]int{
		"PUT /v1/kv/a": 413, "GET /v1/kv/a": 404, "DELETE /v1/kv/a": 200, "POST /v1/kv/a": 405,
		"POST /v1/checkpoint": 200, "GET /v1/health": 200, "GET /nowhere": 404,
	} {
		conn := dial(t, server)
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: test\r\nContent-Length: 9000000000000000000\r\n\r\n", request)
		reader := bufio.NewReader(conn)
		method, _, _ := strings.Cut(request, " ")
		assert.Equal(t, status, receive(t, reader, method).status, request)
		_, err := reader.ReadByte()
		assert.ErrorIs(t, err, io.EOF, request)
	}
}

func TestCutOffBodyStoresNothing(t *testing.T) {
	store := newStore()
	conn := dial(t, start(t, store, kvhttp.Options{}))
	_, err := io.WriteString(conn, "PUT /v1/kv/k HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n{\"value\":\"eA==\"}")
	require.NoError(t, err)
	require.NoError(t, conn.(interface{ CloseWrite() error }).CloseWrite())
	got := receive(t, bufio.NewReader(conn), "PUT")
	assert.Equal(t, answered{400, got.header, `{"error":"invalid JSON body: unexpected EOF"}` + "\n"}, got)
	assert.Empty(t, store.entries)
}

// TestValueSizes reads back values around the sizes at which buffers grow or the answer states its
// length, over one connection.
func TestValueSizes(t *testing.T) {
	store := newStore()
	conn := dial(t, start(t, store, kvhttp.Options{}))
	reader := bufio.NewReader(conn)
	sizes := []int{0, 1, 2, 3, 4 << 10, 64<<10 - 1, 64 << 10, 1 << 20, 3<<20 + 1}
	for size := 1400; size < 1560; size++ { // 4/3 of it passes 2000 and 2048
		sizes = append(sizes, size)
	}
	for _, size := range sizes {
		value := bytes.Repeat([]byte{byte(size), 0xff, '<'}, size/3+1)[:size]
		encoded := base64.StdEncoding.EncodeToString(value)
		body := fmt.Sprintf(`{"value":"%s"}`, encoded)
		fmt.Fprintf(conn, "PUT /v1/kv/k HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		require.Equal(t, 200, receive(t, reader, "PUT").status)
		stored, _ := store.value("k")
		require.Equal(t, string(value), stored)

		fmt.Fprintf(conn, "GET /v1/kv/k HTTP/1.1\r\nHost: test\r\n\r\n")
		got := receive(t, reader, "GET")
		require.Equal(t, `{"key":"k","value":"`+encoded+`","encoding":"base64"}`+"\n", got.body)
		require.Equal(t, fmt.Sprint(len(got.body)), got.header.Get("Content-Length"), "never chunked")
	}
}

func TestHeaderLimit(t *testing.T) {
	store := newStore()
	server := start(t, store, kvhttp.Options{})
	key := strings.Repeat("\xff", format.MaxKeyLen)
	got := send(t, server, "PUT", "/v1/kv/"+escapeAll(key), `{"value":"eA=="}`)
	assert.Equal(t, answered{200, got.header, okBody}, got)
	_, ok := store.value(key)
	assert.True(t, ok)

	got = sendRaw(t, server, "GET /v1/kv/k HTTP/1.1\r\nHost: test\r\nX-Large: "+strings.Repeat("x", 300<<10)+"\r\n\r\n")
	assert.Equal(t, 431, got.status)
}

// TestSlowHeadersStopNobody leaves connections in the middle of their headers and works on another.
func TestSlowHeadersStopNobody(t *testing.T) {
	server := start(t, newStore(), kvhttp.Options{})
	for range 200 {
		conn := dial(t, server)
		_, err := io.WriteString(conn, "GET /v1/kv/k HTTP/1.1\r\nHost: te")
		require.NoError(t, err)
	}
	assert.Equal(t, 200, send(t, server, "PUT", "/v1/kv/k", `{"value":"eA=="}`).status)
	assert.Equal(t, 200, send(t, server, "GET", "/v1/kv/k", "").status)
}
