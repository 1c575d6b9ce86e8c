package http_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
	kvhttp "github.com/tongpengdl/small-db/http"
)

// sendRaw sends request as it stands.
func sendRaw(t testing.TB, server *kvhttp.Server, request string) answered {
	t.Helper()
	conn := dial(t, server)
	go func() { _, _ = conn.Write([]byte(request)) }()
	method, _, _ := strings.Cut(request, " ")
	return receive(t, bufio.NewReader(conn), method)
}

// escapeAll percent-encodes every byte.
func escapeAll(key string) string {
	var b strings.Builder
	for i := range len(key) {
		fmt.Fprintf(&b, "%%%02x", key[i])
	}
	return b.String()
}

// TestAnyBytesAreAKey stores under each key, looks at what the store was asked for, reads it back and deletes
// it. The targets are what travels: no client tidies them.
func TestAnyBytesAreAKey(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for target, key := range map[string]string{
		"a":                        "a",
		"/":                        "/",
		"//":                       "//",
		"a//b":                     "a//b",
		"/a/":                      "/a/",
		".":                        ".",
		"..":                       "..",
		"./":                       "./",
		"../../etc/passwd":         "../../etc/passwd",
		"a/./b/../c":               "a/./b/../c",
		"%2e":                      ".",
		"%2e%2e":                   "..",
		"%2E%2e%2Fx":               "../x",
		"%2F":                      "/",
		"%2f%2F":                   "//",
		"a%2Fb/c":                  "a/b/c",
		"%252F":                    "%2F",
		"%25":                      "%",
		"%00":                      "\x00",
		"%0d%0a":                   "\r\n",
		"%7f":                      "\x7f",
		"+":                        "+",
		"a+b%20c":                  "a+b c",
		";":                        ";",
		"a;b=c,d":                  "a;b=c,d",
		":@!$&'()*,=~-_":           ":@!$&'()*,=~-_",
		"%3f":                      "?",
		"a?b":                      "a",
		"a%3Fb?c?d":                "a?b",
		"?":                        "",
		"#":                        "#",
		"a#b":                      "a#b",
		"%23":                      "#",
		"\"<>\\^`{|}":              "\"<>\\^`{|}",
		"http://host/path":         "http://host/path",
		"é":                        "é",
		"\xff\xfe":                 "\xff\xfe",
		"%c3%a9":                   "é",
		"%FF":                      "\xff",
		"%c3":                      "\xc3",
		"a%ffb/%00%fe":             "a\xffb/\x00\xfe",
		"%ef%bf%bd":                "\ufffd",
		"%ed%a0%80":                "\xed\xa0\x80",
		"%e2%80%a8":                "\u2028",
		"*":                        "*",
		escapeAll(string(all)):     string(all),
		strings.Repeat("k", 65535): strings.Repeat("k", 65535),
	} {
		label := target[:min(len(target), 40)]
		for _, front := range []string{"/v1/kv/", "http://test/v1/kv/"} { // origin form and absolute form
			store := newStore()
			server := start(t, store, kvhttp.Options{})
			if key == "" {
				assert.Equal(t, 400, send(t, server, "GET", front+target, "").status, label)
				continue
			}
			got := send(t, server, "PUT", front+target, `{"value":"stored","encoding":"text"}`)
			require.Equal(t, answered{200, got.header, okBody}, got, label)
			value, ok := store.value(key)
			require.True(t, ok, label)
			require.Equal(t, "stored", value, label)
			require.Len(t, store.entries, 1, label)
			// What is sent as it is and what is encoded whole are the same key.
			for _, form := range []string{target, escapeAll(key)} {
				got = send(t, server, "GET", front+form, "")
				require.Equal(t, 200, got.status, label)
				require.Equal(t, key, keyOf(t, got.body), label)
			}
			require.Equal(t, 200, send(t, server, "DELETE", front+target, "").status, label)
			require.Empty(t, store.entries, label)
		}
	}
}

// keyOf reads the key from the answer to a GET.
func keyOf(t testing.TB, body string) string {
	t.Helper()
	var entry struct {
		Key         string `json:"key"`
		Value       string `json:"value"`
		Encoding    string `json:"encoding"`
		KeyEncoding string `json:"key_encoding"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &entry))
	require.Equal(t, "c3RvcmVk", entry.Value)
	require.Equal(t, "base64", entry.Encoding)
	if entry.KeyEncoding == "" {
		return entry.Key
	}
	require.Equal(t, "base64", entry.KeyEncoding)
	key, err := base64.StdEncoding.DecodeString(entry.Key)
	require.NoError(t, err)
	require.False(t, utf8.Valid(key), "a key that is UTF-8 has the three fields of old")
	return string(key)
}

// TestRandomKeys sends random bytes, each encoded or not at random, over one connection.
func TestRandomKeys(t *testing.T) {
	store := newStore()
	conn := dial(t, start(t, store, kvhttp.Options{}))
	reader := bufio.NewReader(conn)
	random := rand.New(rand.NewPCG(1, 2))
	want := map[string]string{}
	for i := range 500 {
		var key, target strings.Builder
		for range 1 + random.IntN(12) {
			c := byte(random.Uint32())
			if random.IntN(3) == 0 {
				c = "/.%+ "[random.IntN(5)]
			}
			key.WriteByte(c)
			if c > ' ' && c != 0x7f && c != '%' && c != '?' && random.IntN(2) == 0 {
				target.WriteByte(c)
			} else {
				fmt.Fprintf(&target, "%%%02X", c)
			}
		}
		body := fmt.Sprintf(`{"value":"%d","encoding":"text"}`, i)
		fmt.Fprintf(conn, "PUT /v1/kv/%s HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%s", target.String(), len(body), body)
		require.Equal(t, 200, receive(t, reader, "PUT").status, "%q", target.String())
		want[key.String()] = fmt.Sprint(i)
	}
	require.Len(t, store.entries, len(want))
	for key, value := range want {
		got, _ := store.value(key)
		require.Equal(t, value, got, "%q", key)
	}
}

func TestKeyTooLarge(t *testing.T) {
	server := start(t, newStore(), kvhttp.Options{})
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		got := send(t, server, method, "/v1/kv/"+strings.Repeat("k", format.MaxKeyLen+1), `{"value":""}`)
		assert.Equal(t, answered{414, got.header, `{"error":"key is too large: 65536 bytes, at most 65535"}` + "\n"}, got, method)
	}
}

// TestMalformedTargets: net/http refuses these before a route is chosen.
func TestMalformedTargets(t *testing.T) {
	store := newStore()
	server := start(t, store, kvhttp.Options{})
	for _, target := range []string{"/v1/kv/%", "/v1/kv/%4", "/v1/kv/%zz", "/v1/kv/a\x00b", "/v1/kv/a\tb", "/v1/kv/a b", "v1/kv/a"} {
		// Without a body: one that arrives after net/http has closed resets the connection, and the answer with it.
		assert.Equal(t, 400, send(t, server, "PUT", target, "").status, "%q", target)
	}
	assert.Empty(t, store.entries)
}
