package http_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	kvhttp "github.com/tongpengdl/small-db/http"
)

// TestErrorsRepeatLittle: what a body says comes back cut, and is never written out whole on the way.
func TestErrorsRepeatLittle(t *testing.T) {
	const size = 8 << 20
	long := strings.Repeat("x", size)
	escaped := strings.Repeat(`\u00e9`, size/6)
	for _, row := range []struct {
		name, body, want string
		times            uint64 // the size of the body, that may be allocated
	}{
		{"encoding", `{"encoding":"` + long + `"}`, "unsupported encoding: " + long[:178] + "…", 4},
		{"encoding with escapes", `{"encoding":"` + escaped + `"}`, "unsupported encoding: " + strings.Repeat("é", 89) + "…", 10},
		{"field", `{"` + long + `":"x"}`, "invalid JSON body: unknown field of a long name", 4},
		{"field with escapes", `{"` + escaped + `":"x"}`, "invalid JSON body: unknown field of a long name", 4},
		{"field after others", `{"value":"a\"b","encoding":"","` + long + `":1}`, "invalid JSON body: unknown field of a long name", 4},
		{"field of a field", `{"value":{"` + long + `":1}}`, "invalid JSON body: unknown field of a long name", 4},
		{"string that does not end", `{"value":"` + long + `\`, "invalid JSON body: unexpected EOF", 10},
	} {
		t.Run(row.name, func(t *testing.T) {
			server := kvhttp.NewServer(newStore(), kvhttp.Options{})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := call(server, "PUT", "/v1/kv/k", row.body)
			runtime.ReadMemStats(&after)
			assert.Equal(t, answered{400, got.header, `{"error":"` + row.want + `"}` + "\n"}, got)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, row.times*uint64(len(row.body)))
		})
	}
}

// TestShortEchoIsWhole: what fits is repeated as it is.
func TestShortEchoIsWhole(t *testing.T) {
	server := kvhttp.NewServer(newStore(), kvhttp.Options{})
	name := strings.Repeat("é", 89) // 178 bytes, which with the words before are 200
	assert.Equal(t, `{"error":"unsupported encoding: `+name+`"}`+"\n", call(server, "PUT", "/v1/kv/k", `{"encoding":"`+name+`"}`).body)
	assert.Equal(t, `{"error":"unsupported encoding: `+name+`…"}`+"\n", call(server, "PUT", "/v1/kv/k", `{"encoding":"`+name+`!"}`).body)
	spaced := `{"encoding":"` + strings.Repeat(" ", 500) + `TEXT","value":"x"}`
	assert.Equal(t, okBody, call(server, "PUT", "/v1/kv/k", spaced).body)
}

// TestMissingKeyIsRepeated whole up to 1024 bytes, and not cut within a character beyond.
func TestMissingKeyIsRepeated(t *testing.T) {
	for key, want := range map[string]string{
		strings.Repeat("k", 1024):              strings.Repeat("k", 1024),
		strings.Repeat("k", 1025):              strings.Repeat("k", 1024) + "…",
		"k" + strings.Repeat("é", 512):         "k" + strings.Repeat("é", 511) + "…",
		"\xff" + strings.Repeat("k", 1023):     `\"\\xff` + strings.Repeat("k", 1023) + `\"`,
		"\xff" + strings.Repeat("k", 60<<10):   `\"\\xff` + strings.Repeat("k", 1023) + `\"…`,
		strings.Repeat("k", 60<<10) + "\u20ac": strings.Repeat("k", 1024) + "…",
	} {
		got := call(kvhttp.NewServer(newStore(), kvhttp.Options{}), "GET", "/v1/kv/"+escapeAll(key), "")
		assert.Equal(t, answered{404, got.header, `{"error":"key not found: ` + want + `"}` + "\n"}, got, "%d bytes", len(key))
	}
}
