package http_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	kvhttp "github.com/tongpengdl/small-db/http"
)

// deadlines is an answer that records which deadlines were set, as the time that was left.
type deadlines struct {
	*httptest.ResponseRecorder
	read, write []time.Duration
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.read = append(d.read, left(at))
	return nil
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.write = append(d.write, left(at))
	return nil
}

// left is the time until at; 0 if there is no deadline.
func left(at time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return time.Until(at)
}

func callWithDeadlines(server *kvhttp.Server, method, target string, body io.Reader) *deadlines {
	d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	server.ServeHTTP(d, httptest.NewRequest(method, target, body))
	return d
}

const sec = time.Second

// TestDeadlines: small requests live with those that net/http sets. Each MiB of a large body buys 4 s, and
// what took long has the time of a new request to be answered.
func TestDeadlines(t *testing.T) { synctest.Test(t, testDeadlines) } // where time stands still

func testDeadlines(t *testing.T) {
	store := newStore()
	server := kvhttp.NewServer(store, kvhttp.Options{})
	large := strings.Repeat("x", 6<<20)

	d := callWithDeadlines(server, "PUT", "/v1/kv/small", strings.NewReader(`{"value":"eA=="}`))
	assert.Equal(t, 200, d.Code)
	assert.Empty(t, d.read)
	assert.Empty(t, d.write)

	d = callWithDeadlines(server, "PUT", "/v1/kv/large", io.LimitReader(strings.NewReader(`{"encoding":"text","value":"`+large+`"}`), 7<<20))
	assert.Equal(t, 200, d.Code)
	if assert.NotEmpty(t, d.read) {
		grown, last := d.read[:len(d.read)-1], d.read[len(d.read)-1]
		assert.IsIncreasing(t, append([]time.Duration{30 * sec}, grown...))
		assert.LessOrEqual(t, grown[len(grown)-1], 54*sec, "30 s and 6 whole MiB")
		assert.Equal(t, 30*sec, last, "as new")
	}
	assert.Equal(t, []time.Duration{60 * sec}, d.write)

	d = callWithDeadlines(server, "GET", "/v1/kv/large", nil)
	assert.Equal(t, 200, d.Code)
	assert.Empty(t, d.read)
	assert.Equal(t, []time.Duration{92 * sec}, d.write, "60 s and 8 whole MiB of base64")

	d = callWithDeadlines(server, "GET", "/v1/kv/small", nil)
	assert.Empty(t, append(d.read, d.write...))

	d = callWithDeadlines(server, "POST", "/v1/checkpoint", nil)
	assert.Equal(t, []time.Duration{0, 30 * sec}, d.read, "none while it runs")
	assert.Equal(t, []time.Duration{60 * sec}, d.write)
}

func TestSlowBody(t *testing.T) { synctest.Test(t, testSlowBody) }

func testSlowBody(t *testing.T) {
	store := newStore()
	body := io.MultiReader(strings.NewReader(`{"value":`), iotest.ErrReader(os.ErrDeadlineExceeded))
	d := callWithDeadlines(kvhttp.NewServer(store, kvhttp.Options{}), "PUT", "/v1/kv/k", body)
	assert.Equal(t, 408, d.Code)
	assert.Equal(t, `{"error":"the body came too slowly; nothing was written"}`+"\n", d.Body.String())
	assert.Equal(t, []time.Duration{60 * sec}, d.write)
	assert.Empty(t, d.read, "the rest of the body gets no time")
	assert.Equal(t, []string{"close"}, d.Header().Values("Connection"))
	assert.Empty(t, store.entries)
}

// TestLimitOfAHandlerAround: as a handler inside another, the server takes its limit for its own.
func TestLimitOfAHandlerAround(t *testing.T) {
	handler := http.MaxBytesHandler(kvhttp.NewServer(newStore(), kvhttp.Options{}), 10)
	got := call(handler, "PUT", "/v1/kv/k", `{"value":"eA=="}`)
	assert.Equal(t, answered{413, got.header, `{"error":"value is too large: the body has more than 10 bytes"}` + "\n"}, got)
}
