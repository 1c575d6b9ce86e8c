package http_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	kvhttp "github.com/tongpengdl/small-db/http"
)

const okBody = `{"ok":true}` + "\n"

const noRoute = `{"error":"no such route; there are /v1/health, /v1/role, /v1/checkpoint, /v1/export, /v1/import, /v1/backup and /v1/kv/{key}"}` + "\n"

// TestContract holds every answer, byte for byte. In want, a body that ends with … stands for any that begins like
// it: the words after a colon are the JSON decoder's.
func TestContract(t *testing.T) {
	const notAllowed = `{"error":"method not allowed"}` + "\n"
	for _, row := range []struct {
		name, method, target, body string
		status                     int
		allow, want                string
	}{
		{"health", "GET", "/v1/health", "", 200, "", okBody},
		{"health by POST", "POST", "/v1/health", "", 405, "GET", notAllowed},
		{"health by HEAD", "HEAD", "/v1/health", "", 405, "GET", ""},
		{"health with a query", "GET", "/v1/health?x=1", "", 200, "", okBody},
		{"role", "GET", "/v1/role", "", 200, "", `{"role":"primary"}` + "\n"},
		{"role by PUT", "PUT", "/v1/role", "{}", 405, "GET", notAllowed},
		{"checkpoint", "POST", "/v1/checkpoint", "", 200, "", okBody},
		{"checkpoint with a body", "POST", "/v1/checkpoint", "ignored", 200, "", okBody},
		{"checkpoint by GET", "GET", "/v1/checkpoint", "", 405, "POST", notAllowed},

		{"get", "GET", "/v1/kv/a", "", 200, "", `{"key":"a","value":"aGVsbG8=","encoding":"base64"}` + "\n"},
		{"get an empty value", "GET", "/v1/kv/empty", "", 200, "", `{"key":"empty","value":"","encoding":"base64"}` + "\n"},
		{"get with a query", "GET", "/v1/kv/a?b=c", "", 200, "", `{"key":"a","value":"aGVsbG8=","encoding":"base64"}` + "\n"},
		{"get with a body", "GET", "/v1/kv/a", "ignored", 200, "", `{"key":"a","value":"aGVsbG8=","encoding":"base64"}` + "\n"},
		{"get a key that needs escapes", "GET", "/v1/kv/%3Ca&%22%3E%0A%E2%80%A8%C3%A9", "", 200, "",
			`{"key":"\u003ca\u0026\"\u003e\n\u2028é","value":"eA==","encoding":"base64"}` + "\n"},
		{"get a key that is not UTF-8", "GET", "/v1/kv/%FFa", "", 200, "",
			`{"key":"/2E=","value":"eA==","encoding":"base64","key_encoding":"base64"}` + "\n"},
		{"get what is not there", "GET", "/v1/kv/no/such", "", 404, "", `{"error":"key not found: no/such"}` + "\n"},
		{"get what is not there and needs escapes", "GET", "/v1/kv/%3C%26%3E", "", 404, "", `{"error":"key not found: \u003c\u0026\u003e"}` + "\n"},
		{"get what is not there and not UTF-8", "GET", "/v1/kv/%FFa", "gone", 404, "", `{"error":"key not found: \"\\xffa\""}` + "\n"},
		{"get no key", "GET", "/v1/kv/", "", 400, "", `{"error":"key is required"}` + "\n"},
		{"post no key", "POST", "/v1/kv/", "", 400, "", `{"error":"key is required"}` + "\n"},
		{"post a key", "POST", "/v1/kv/a", "{}", 405, "GET, PUT, DELETE", notAllowed},
		{"patch a key", "PATCH", "/v1/kv/a", "{}", 405, "GET, PUT, DELETE", notAllowed},
		{"head a key", "HEAD", "/v1/kv/a", "", 405, "GET, PUT, DELETE", ""},
		{"delete", "DELETE", "/v1/kv/a", "", 200, "", okBody},
		{"delete what is not there", "DELETE", "/v1/kv/no", "", 200, "", okBody},

		{"put base64", "PUT", "/v1/kv/p", `{"value":"eA==","encoding":"base64"}`, 200, "", okBody},
		{"put malformed", "PUT", "/v1/kv/p", `{"value":`, 400, "", `{"error":"invalid JSON body: …`},
		{"put nothing", "PUT", "/v1/kv/p", ``, 400, "", `{"error":"invalid JSON body: …`},
		{"put an array", "PUT", "/v1/kv/p", `[]`, 400, "", `{"error":"invalid JSON body: …`},
		{"put a number", "PUT", "/v1/kv/p", `{"value":1}`, 400, "", `{"error":"invalid JSON body: …`},
		{"put an unknown field", "PUT", "/v1/kv/p", `{"value":"eA==","ttl":"1s"}`, 400, "", `{"error":"invalid JSON body: …`},
		{"put a control character", "PUT", "/v1/kv/p", "{\"value\":\"a\nb\",\"encoding\":\"text\"}", 400, "", `{"error":"invalid JSON body: …`},
		{"put two objects", "PUT", "/v1/kv/p", `{"value":"eA=="} {}`, 400, "", `{"error":"unexpected data after JSON object"}` + "\n"},
		{"put a brace too many", "PUT", "/v1/kv/p", `{"value":"eA=="}}`, 400, "", `{"error":"unexpected data after JSON object"}` + "\n"},
		{"put bad base64", "PUT", "/v1/kv/p", `{"value":"!"}`, 400, "", `{"error":"invalid base64 value: …`},
		{"put base64 for URLs", "PUT", "/v1/kv/p", `{"value":"_-_-"}`, 400, "", `{"error":"invalid base64 value: …`},
		{"put base64 without padding", "PUT", "/v1/kv/p", `{"value":"eA"}`, 400, "", `{"error":"invalid base64 value: …`},
		{"put an unknown encoding", "PUT", "/v1/kv/p", `{"value":"","encoding":" Hex<"}`, 400, "", `{"error":"unsupported encoding:  Hex\u003c"}` + "\n"},

		{"no route", "GET", "/", "", 404, "", noRoute},
		{"no route below v1", "GET", "/v1/nothing", "", 404, "", noRoute},
		{"a route and a slash", "GET", "/v1/health/", "", 404, "", noRoute},
		{"keys without a slash", "GET", "/v1/kv", "", 404, "", noRoute},
		{"a second slash before", "GET", "//v1/kv/a", "", 404, "", noRoute},
		{"dots before", "GET", "/x/../v1/kv/a", "", 404, "", noRoute},
		{"an escaped slash in the prefix", "GET", "/v1%2Fkv/a", "", 404, "", noRoute},
		{"an escaped slash after the prefix", "GET", "/v1/kv%2Fa", "", 404, "", noRoute},
		{"the whole server", "OPTIONS", "*", "", 404, "", noRoute},
		{"no path", "OPTIONS", "http://test", "", 404, "", noRoute},
	} {
		t.Run(row.name, func(t *testing.T) {
			store := newStore()
			store.entries["a"] = []byte("hello")
			store.entries["empty"] = nil
			store.entries["<a&\">\n\u2028é"] = []byte("x")
			if row.body != "gone" {
				store.entries["\xffa"] = []byte("x")
			}
			got := send(t, start(t, store, kvhttp.Options{}), row.method, row.target, row.body)

			assert.Equal(t, row.status, got.status)
			assert.Equal(t, row.allow, got.header.Get("Allow"))
			assert.Equal(t, []string{"application/json"}, got.header.Values("Content-Type"))
			assert.NotContains(t, got.header, "Location")
			if front, any := strings.CutSuffix(row.want, "…"); any {
				assert.True(t, strings.HasPrefix(got.body, front) && strings.HasSuffix(got.body, "\"}\n"), got.body)
			} else {
				assert.Equal(t, row.want, got.body)
			}
		})
	}
}

// TestPutStores puts each way of writing a value and looks at what the store got.
func TestPutStores(t *testing.T) {
	for body, want := range map[string]string{
		`{"value":"aGk="}`:                                        "hi",
		`{"encoding":"base64","value":"aGk="}`:                    "hi",
		`{"value":"aGk=","encoding":""}`:                          "hi",
		`{"value":"aGk=","encoding":" \tBASE64 "}`:                "hi",
		`{"value":"a\nG\r\nk="}`:                                  "hi",
		`{"value":"hi","encoding":"utf-8"}`:                       "hi",
		`{"value":"hi","encoding":"utf8"}`:                        "hi",
		`{"value":"hi","encoding":"plain"}`:                       "hi",
		`{"value":"hi","encoding":"text"}`:                        "hi",
		`{"value":"hi","encoding":" Text "}`:                      "hi",
		`{"value":"\u0000\ud83d\ude00é\/","encoding":"text"}`:     "\x00😀é/",
		"{\"value\":\"é\xff\",\"encoding\":\"text\"}":             "é\ufffd",
		"\r\n\t {\t\"value\" : \"hi\" , \"encoding\":\"text\"}\n": "hi",
		`{"VALUE":"hi","Encoding":"text"}`:                        "hi",
		`{"value":"no","encoding":"text","value":"hi"}`:           "hi",
		`{"value":null,"encoding":null}`:                          "",
		`{}`:                                                      "",
		`null`:                                                    "",
		`{"encoding":"text"}`:                                     "",
	} {
		store := newStore()
		got := call(kvhttp.NewServer(store, kvhttp.Options{}), "PUT", "/v1/kv/k", body)
		assert.Equal(t, answered{200, got.header, okBody}, got, body)
		value, ok := store.value("k")
		assert.True(t, ok, body)
		assert.Equal(t, want, value, body)
	}
}

// TestRefusedPutStoresNothing: what is answered with 400 has changed nothing.
func TestRefusedPutStoresNothing(t *testing.T) {
	for _, body := range []string{``, `{`, `{"value":"eA=="}x`, `{"value":"eA==","x":1}`, `{"value":"?"}`, `{"value":"","encoding":"?"}`} {
		store := newStore()
		got := call(kvhttp.NewServer(store, kvhttp.Options{}), "PUT", "/v1/kv/k", body)
		assert.Equal(t, 400, got.status, body)
		assert.Empty(t, store.entries, body)
	}
}

func TestContentTypeOfTheRequestIsIgnored(t *testing.T) {
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"} {
		store := newStore()
		got := sendRaw(t, start(t, store, kvhttp.Options{}),
			"PUT /v1/kv/k HTTP/1.1\r\nHost: test\r\nContent-Type: "+contentType+"\r\nContent-Length: 16\r\n\r\n{\"value\":\"eA==\"}")
		assert.Equal(t, answered{200, got.header, okBody}, got, contentType)
		value, _ := store.value("k")
		assert.Equal(t, "x", value)
	}
}

func TestRoleIsWhatTheOptionSays(t *testing.T) {
	server := kvhttp.NewServer(newStore(), kvhttp.Options{Role: func() string { return "backup" }})
	assert.Equal(t, `{"role":"backup"}`+"\n", call(server, "GET", "/v1/role", "").body)
}

func TestCheckpointReachesTheStore(t *testing.T) {
	store := newStore()
	call(kvhttp.NewServer(store, kvhttp.Options{}), "POST", "/v1/checkpoint", "")
	assert.Equal(t, 1, store.checkpoints)
}
