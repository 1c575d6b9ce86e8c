package http_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	kvhttp "github.com/tongpengdl/small-db/http"
)

// benchmarkConnection sends one request again and again over one connection, and reads the answers, which
// are all as long as the first. The client allocates nothing, so what is counted is the server's.
func benchmarkConnection(b *testing.B, handler http.Handler, request string) {
	server := httptest.NewServer(handler)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(b, err)
	defer func() { _ = conn.Close() }()
	bytesOut, answer := []byte(request), make([]byte, 64<<10)
	_, err = conn.Write(bytesOut)
	require.NoError(b, err)
	length, err := conn.Read(answer)
	require.NoError(b, err)
	require.True(b, bytes.HasPrefix(answer, []byte("HTTP/1.1 200")), "%s", answer[:length])
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(bytesOut); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, answer[:length]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkServer is the hot routes and, beside them in the same run, the limits: a handler that does
// nothing, and one that answers with bytes it has and their type, which costs net/http a copy of the header.
func BenchmarkServer(b *testing.B) {
	empty := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	fixed := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = fixedType
		_, _ = w.Write(fixedBody)
	})
	store := newStore()
	store.entries["user/0000000001"] = bytes.Repeat([]byte("v"), 128)
	server := kvhttp.NewServer(store, kvhttp.Options{})
	get := "GET /v1/kv/user/0000000001 HTTP/1.1\r\nHost: test\r\n\r\n"
	body := putBody(128)
	put := fmt.Sprintf("PUT /v1/kv/user/0000000001 HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%s", len(body), body)

	b.Run("empty/GET", func(b *testing.B) { benchmarkConnection(b, empty, get) })
	b.Run("fixed/GET", func(b *testing.B) { benchmarkConnection(b, fixed, get) })
	b.Run("ours/GET", func(b *testing.B) { benchmarkConnection(b, server, get) })
	b.Run("empty/PUT", func(b *testing.B) { benchmarkConnection(b, empty, put) })
	b.Run("ours/PUT", func(b *testing.B) { benchmarkConnection(b, server, put) })
}

var (
	fixedType = []string{"application/json"}
	fixedBody = bytes.Repeat([]byte("x"), 233)
)

func putBody(size int) string {
	value := bytes.Repeat([]byte("v"), size)
	return `{"value":"` + base64.StdEncoding.EncodeToString(value) + `","encoding":"base64"}`
}

// BenchmarkHandler is what our part of a request costs: no connection, no parsing of HTTP, and answers that go nowhere. The
// bodies of "escaped" are the same to a reader of JSON, but not plain, so that encoding/json reads them.
func BenchmarkHandler(b *testing.B) {
	run := func(name, method, body string) {
		b.Run(name, func(b *testing.B) {
			store := nullStore{newStore()}
			store.entries["k"] = bytes.Repeat([]byte("v"), 128)
			server := kvhttp.NewServer(store, kvhttp.Options{})
			reader := strings.NewReader(body)
			request := httptest.NewRequest(method, "/v1/kv/k", reader)
			w := nullWriter{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				reader.Reset(body)
				server.ServeHTTP(w, request)
			}
		})
	}
	run("GET", "GET", "")
	run("DELETE", "DELETE", "")
	for _, size := range []int{16, 128, 4 << 10, 1 << 20} {
		plain := putBody(size)
		run(fmt.Sprintf("PUT/plain/%d", size), "PUT", plain)
		run(fmt.Sprintf("PUT/escaped/%d", size), "PUT", strings.Replace(plain, "value", `v\u0061lue`, 1))
	}
	b.Run("decode/json", func(b *testing.B) { // what encoding/json costs at its barest
		body := []byte(putBody(128))
		b.ReportAllocs()
		for b.Loop() {
			var fields struct{ Value, Encoding string }
			if err := json.Unmarshal(body, &fields); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// nullStore forgets what it is given.
type nullStore struct{ *memoryStore }

func (nullStore) Set(context.Context, []byte, []byte) (engine.Version, error) {
	return engine.Version{}, nil
}

type nullWriter struct{ header http.Header }

func (w nullWriter) Header() http.Header         { return w.header }
func (w nullWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w nullWriter) WriteHeader(int)             {}
