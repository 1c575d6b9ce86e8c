package http_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
	kvhttp "github.com/tongpengdl/small-db/http"
)

// TestLineGolden holds lines byte for byte, both ways.
func TestLineGolden(t *testing.T) {
	for _, row := range []struct {
		key, value string
		deadline   time.Time
		want       string
	}{
		{"a", "hello", time.Time{}, `{"key":"a","value":"hello","encoding":"utf-8"}`},
		{"a", "", time.Time{}, `{"key":"a","value":"","encoding":"utf-8"}`},
		{"\xff", "\x00\xfe", time.Time{}, `{"key":"/w==","key_encoding":"base64","value":"AP4=","encoding":"base64"}`},
		{"\x00", "\x00\x1f\x7f", time.Time{}, `{"key":"AA==","key_encoding":"base64","value":"AB9/","encoding":"base64"}`},
		{"\x00 as text", "\x00 as text, \x1f\x7f", time.Time{}, `{"key":"\u0000 as text","value":"\u0000 as text, \u001f` + "\x7f" + `","encoding":"utf-8"}`},
		{"\x1f takes five more", "16 bytes or more\x1f", time.Time{}, `{"key":"\u001f takes five more","value":"16 bytes or more\u001f","encoding":"utf-8"}`},
		{"5, 10\x1f", "5 11\x1f\"", time.Time{}, `{"key":"5, 10\u001f","value":"5 11\u001f\"","encoding":"utf-8"}`},
		{"4 9\x1f", "3 8\x1f", time.Time{}, `{"key":"NCA5Hw==","key_encoding":"base64","value":"MyA4Hw==","encoding":"base64"}`},
		{`"`, `{"id":"a","n":"b"}`, time.Time{}, `{"key":"\"","value":"{\"id\":\"a\",\"n\":\"b\"}","encoding":"utf-8"}`},
		{"\u2028", "\u2028é😀 text", time.Time{}, `{"key":"\u2028","value":"\u2028é😀 text","encoding":"utf-8"}`},
		{"<&>", "\u2027\u2028\u2029\u202a é😀\ufffd", time.Time{}, `{"key":"<&>","value":"` + "\u2027" + `\u2028\u2029` + "\u202a é😀\ufffd" + `","encoding":"utf-8"}`},
		{`"\/text`, "\b\f\n\r\t and much more", time.Time{}, `{"key":"\"\\/text","value":"\b\f\n\r\t and much more","encoding":"utf-8"}`},
		{"k", "v", time.Unix(1893456000, 0).UTC(), `{"key":"k","value":"v","encoding":"utf-8","expires_at":"2030-01-01T00:00:00Z"}`},
		{"k", "v", time.Unix(0, 1).UTC(), `{"key":"k","value":"v","encoding":"utf-8","expires_at":"1970-01-01T00:00:00.000000001Z"}`},
		{"k", "v", time.Unix(0, math.MaxInt64).UTC(), `{"key":"k","value":"v","encoding":"utf-8","expires_at":"2262-04-11T23:47:16.854775807Z"}`},
	} {
		e := engine.Entry{Key: []byte(row.key), Value: []byte(row.value), Deadline: row.deadline}
		assert.Equal(t, row.want+"\n", string(kvhttp.AppendLine(nil, &e)))
		var got engine.Entry
		if assert.NoError(t, kvhttp.DecodeLine([]byte(row.want), &got), row.want) {
			assert.Equal(t, []string{row.key, row.value}, []string{string(got.Key), string(got.Value)})
			assert.Equal(t, row.deadline, got.Deadline)
		}
	}
	local := engine.Entry{Key: []byte("k"), Deadline: time.Unix(0, 1).In(time.FixedZone("", 3600)), Version: engine.Version{Epoch: 1, Seq: 2}}
	assert.Equal(t, `x{"key":"k","value":"","encoding":"utf-8","expires_at":"1970-01-01T00:00:00.000000001Z"}`+"\n",
		string(kvhttp.AppendLine([]byte("x"), &local)), "in UTC, and after what is there")
}

// TestDecodeLine: the ways to write an entry that AppendLine does not use.
func TestDecodeLine(t *testing.T) {
	for line, want := range map[string]string{
		" \t{ \"value\" : \"v\" ,\r\n\"encoding\":\"utf-8\", \"key\":\"k\" } \r\n":              "k=v",
		`{"key":"k","key_encoding":"utf-8","value":"v","encoding":"utf-8"}`:                     "k=v",
		`{"\u006bey":"\u006B","value":"\u0000\/\u00e9\uD83d\uDe00","encoding":"u\u0074f-8"}`:    "k=\x00/é😀",
		`{"key":"\/w=\u003D","key_encoding":"b\u0061se64","value":"\/w==","encoding":"base64"}`: "\xff=\xff",
		`{"key":"k","value":"\ufffd","encoding":"utf-8"}`:                                       "k=\ufffd",
		`{"key":"k","value":"","encoding":"base64"}`:                                            "k=",
		`{"key":"k","value":"dg==","encoding":"base64"}`:                                        "k=v",
		`{"key":"k","value":"d\ng==","encoding":"base64"}`:                                      "k=v",
	} {
		var got engine.Entry
		if assert.NoError(t, kvhttp.DecodeLine([]byte(line), &got), line) {
			assert.Equal(t, want, string(got.Key)+"="+string(got.Value), line)
		}
	}
	for text, want := range map[string]int64{
		"1970-01-01T00:00:00.000000001Z":      1,
		"1970-01-01T00:00:00.1Z":              1e8,
		"1970-01-01T01:00:01+01:00":           1e9,
		"1969-12-31T23:00:00.000000002-01:00": 2,
		`1970-01-01T00:00:0\u0031Z`:           1e9,
		"2262-04-11T23:47:16.854775807Z":      math.MaxInt64,
	} {
		var got engine.Entry
		if assert.NoError(t, kvhttp.DecodeLine([]byte(`{"key":"k","value":"","encoding":"utf-8","expires_at":"`+text+`"}`), &got), text) {
			assert.Equal(t, time.Unix(0, want).UTC(), got.Deadline, text)
		}
	}
}

// TestRefusedLines holds what is refused, and what is said of it.
func TestRefusedLines(t *testing.T) {
	const rest = `,"value":"v","encoding":"utf-8"}`
	long := strings.Repeat("n", 5000)
	for line, want := range map[string]string{
		``:                                 "invalid JSON: it ends where '{' is expected",
		"\n":                               "invalid JSON: it ends where '{' is expected",
		`null`:                             "invalid JSON: '{' is expected at byte 0",
		`[]`:                               "invalid JSON: '{' is expected at byte 0",
		`{`:                                "invalid JSON: it ends where a string is expected",
		`{}`:                               "key is empty",
		`{"key"`:                           "invalid JSON: it ends where ':' is expected",
		`{"key":`:                          "invalid JSON: it ends where a string is expected",
		`{"key":"k`:                        "invalid JSON: it ends within a string",
		`{"key":"k\`:                       "invalid JSON: it ends within a string",
		`{"key":"k\"`:                      "invalid JSON: it ends within a string",
		`{"key":"k",}`:                     "invalid JSON: a string is expected at byte 11",
		`{,"key":"k"}`:                     "invalid JSON: a string is expected at byte 1",
		`{"key":"k" "value":"v"}`:          "invalid JSON: '}' is expected at byte 11",
		`{"key":null` + rest:               "invalid JSON: a string is expected at byte 7",
		`{"key":1` + rest:                  "invalid JSON: a string is expected at byte 7",
		`{"key":["k"]` + rest:              "invalid JSON: a string is expected at byte 7",
		`{"key":"k"` + rest + `x`:          "unexpected data after the JSON object, from byte 42 on",
		`{"key":"k"` + rest + `{}`:         "unexpected data after the JSON object, from byte 42 on",
		`{"key":"k","x":"y"` + rest:        `unknown field "x"`,
		`{"Key":"k"` + rest:                `unknown field "Key"`,
		`{"` + long + `":"k"` + rest:       `unknown field "` + long[:200] + `…"`,
		`{"key":"k","key":"k"` + rest:      `field "key" occurs twice`,
		`{"key":"k","k\u0065y":"k"` + rest: `field "key" occurs twice`,
		`{"key":"k","value":"v","encoding":"utf-8","encoding":"utf-8"}`: `field "encoding" occurs twice`,
		`{"key":""` + rest:                               "key is empty",
		`{"value":"v","encoding":"utf-8"}`:               "key is empty",
		`{"key":"","key_encoding":"base64"` + rest:       "key is empty",
		`{"key":"k","encoding":"utf-8"}`:                 `field "value" is missing`,
		`{"key":"k","value":"v"}`:                        `field "encoding" is missing`,
		`{"key":"k","value":"v","encoding":""}`:          `field "encoding": neither utf-8 nor base64: ""`,
		`{"key":"k","value":"v","encoding":"text"}`:      `field "encoding": neither utf-8 nor base64: "text"`,
		`{"key":"k","value":"v","encoding":"BASE64"}`:    `field "encoding": neither utf-8 nor base64: "BASE64"`,
		`{"key":"k","key_encoding":"hex"` + rest:         `field "key_encoding": neither utf-8 nor base64: "hex"`,
		`{"key":"k","key_encoding":"base64"` + rest:      `field "key": illegal base64 data at input byte 0`,
		`{"key":"k","value":"eA","encoding":"base64"}`:   `field "value": illegal base64 data at input byte 0`,
		`{"key":"k","value":"eB==","encoding":"base64"}`: `field "value": illegal base64 data at input byte 2`,
		`{"key":"k","value":"_-_-","encoding":"base64"}`: `field "value": illegal base64 data at input byte 0`,
		"{\"key\":\"k\xff\"" + rest:                      "a string that is not UTF-8, at byte 7: bytes go as base64",
		"{\"key\":\"\xed\xa0\x80\"" + rest:               "a string that is not UTF-8, at byte 7: bytes go as base64",
		"{\"key\":\"\\\xff\"" + rest:                     `field "key": unknown escape in a JSON string`,
		"{\"key\":\"\\\n\"" + rest:                       `field "key": unknown escape in a JSON string`,
		`{"key":"\x"` + rest:                             `field "key": unknown escape in a JSON string`,
		`{"k\x":"k"` + rest:                              `unknown escape in a JSON string`,
		"{\"key\":\"a\nb\"" + rest:                       "invalid JSON: control character in a string, at byte 9",
		"{\"key\":\"a\x00b\"" + rest:                     "invalid JSON: control character in a string, at byte 9",
		`{"key":"\ud800"` + rest:                         `field "key": \u escape without four digits, or of half a character`,
		`{"key":"\udc00\ud800"` + rest:                   `field "key": \u escape without four digits, or of half a character`,
		`{"key":"\ud800\ud800"` + rest:                   `field "key": \u escape without four digits, or of half a character`,
		`{"key":"\ud800\u0041"` + rest:                   `field "key": \u escape without four digits, or of half a character`,
		`{"key":"\ud800x\udc00"` + rest:                  `field "key": \u escape without four digits, or of half a character`,
		`{"key":"\ud83d\ude0"` + rest:                    `field "key": \u escape without four digits, or of half a character`,
		`{"key":"\u12"` + rest:                           `field "key": \u escape without four digits, or of half a character`,
		`{"key":"\u 041"` + rest:                         `field "key": \u escape without four digits, or of half a character`,
		"\ufeff{\"key\":\"k\"" + rest:                    "invalid JSON: '{' is expected at byte 0",
	} {
		assert.EqualError(t, kvhttp.DecodeLine([]byte(line), new(engine.Entry)), want, "%.100s", line)
	}
}

// TestRefusedTimes: a time that is not exactly one deadline.
func TestRefusedTimes(t *testing.T) {
	for text, want := range map[string]error{
		"1970-01-01T00:00:00Z":            engine.ErrDeadline,
		"1969-12-31T23:59:59Z":            engine.ErrDeadline,
		"2262-04-11T23:47:16.854775808Z":  engine.ErrDeadline,
		"0001-01-01T00:00:00Z":            engine.ErrDeadline,
		"9999-12-31T23:59:59Z":            engine.ErrDeadline,
		"":                                nil,
		"2030-01-01":                      nil,
		"2030-01-01 00:00:00Z":            nil,
		"2030-01-01T00:00:00":             nil,
		"2030-01-01T0:00:00Z":             nil,
		"2030-01-01T00:00:00.Z":           nil,
		"2030-01-01T00:00:00z":            nil,
		"2030-01-01t00:00:00Z":            nil,
		"2030-01-01T24:00:00Z":            nil,
		"2030-01-01T00:00:00+0100":        nil,
		"2030-01-01T00:00:00+00:60":       nil,
		"+2030-01-01T00:00:00Z":           nil,
		"2030-01-01T00:00:00,5Z":          nil,
		"2030-01-01T00:00:60Z":            nil,
		"2030-02-30T00:00:00Z":            nil,
		"2030-01-01T00:00:00+24:00":       nil,
		"2030-01-01T00:00:00.0000000001Z": nil,
		"2030-01-01T00:00:00." + strings.Repeat("0", 5000) + "Z": nil,
	} {
		err := kvhttp.DecodeLine([]byte(`{"key":"k","value":"","encoding":"utf-8","expires_at":"`+text+`"}`), new(engine.Entry))
		if !assert.Error(t, err, text) {
			continue
		}
		if want != nil {
			assert.ErrorIs(t, err, want, text)
		} else {
			assert.ErrorContains(t, err, "not a time as in RFC 3339", text)
		}
		assert.Less(t, len(err.Error()), 400)
	}
	assert.ErrorContains(t, kvhttp.DecodeLine([]byte(`{"key":"k","value":"","encoding":"utf-8","expires_at":1}`), new(engine.Entry)), "a string is expected")
}

// TestLineSizes: the largest key and value pass, one byte more does not.
func TestLineSizes(t *testing.T) {
	var got engine.Entry
	key := bytes.Repeat([]byte{0xff}, format.MaxKeyLen+1)
	require.NoError(t, kvhttp.DecodeLine(kvhttp.AppendLine(nil, &engine.Entry{Key: key[1:]}), &got))
	require.Equal(t, key[1:], got.Key)
	require.ErrorIs(t, kvhttp.DecodeLine(kvhttp.AppendLine(nil, &engine.Entry{Key: key}), &got), engine.ErrKeyTooLarge)
	value := make([]byte, format.MaxValueLen+1)
	for i := range value {
		value[i] = 'v'
	}
	line := kvhttp.AppendLine(make([]byte, 0, len(value)+100), &engine.Entry{Key: []byte("k"), Value: value})
	got.Value = value
	require.ErrorIs(t, kvhttp.DecodeLine(line, &got), engine.ErrValueTooLarge)
	line = append(line[:len(line)-len(`v","encoding":"utf-8"}`+"\n")], `","encoding":"utf-8"}`...)
	require.NoError(t, kvhttp.DecodeLine(line, &got))
	require.Len(t, got.Value, format.MaxValueLen)
}

// anyEntry draws an entry of few bytes, with what is special in JSON and UTF-8 among them.
func anyEntry(r *rand.Rand) *engine.Entry {
	parts := []string{"a", "é", "😀", "\u2028", "\u2029", "\ufffd", "\x00", "\x1f", "\x7f", "\"", "\\", "/", "\n", "\xff", "\xe2\x80", "\xed\xa0\x80", "=", "<&>"}
	draw := func(n int) (b []byte) {
		for range n {
			b = append(b, parts[r.IntN(len(parts))]...)
		}
		return b
	}
	e := &engine.Entry{Key: draw(1 + r.IntN(4)), Value: draw(r.IntN(6))}
	if r.IntN(3) == 0 {
		e.Deadline = time.Unix(0, 1+r.Int64N(math.MaxInt64)>>r.IntN(63)).UTC()
	}
	return e
}

// TestLinesComeBack: any entry, through one buffer and into one entry; as text its line is what encoding/json makes of it.
func TestLinesComeBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var line []byte
	got := engine.Entry{Version: engine.Version{Seq: 7}}
	for range 20_000 {
		want := anyEntry(r)
		line = kvhttp.AppendLine(line[:0], want)
		require.NoError(t, kvhttp.DecodeLine(line, &got), "%q", line)
		require.True(t, bytes.Equal(want.Key, got.Key) && bytes.Equal(want.Value, got.Value), "%q", line)
		require.Equal(t, want.Deadline, got.Deadline, "%q", line)
		require.Zero(t, got.Version)
		require.Equal(t, lineByTheBook(t, want), string(line))
	}
}

// lineByTheBook is the line of e by encoding/json.
func lineByTheBook(t testing.TB, e *engine.Entry) string {
	var fields struct {
		Key         string     `json:"key"`
		KeyEncoding string     `json:"key_encoding,omitempty"`
		Value       string     `json:"value"`
		Encoding    string     `json:"encoding"`
		ExpiresAt   *time.Time `json:"expires_at,omitempty"`
	}
	fields.Key, fields.Value, fields.Encoding = string(e.Key), string(e.Value), "utf-8"
	if !isTextByTheBook(t, e.Key) {
		fields.Key, fields.KeyEncoding = base64.StdEncoding.EncodeToString(e.Key), "base64"
	}
	if !isTextByTheBook(t, e.Value) {
		fields.Value, fields.Encoding = base64.StdEncoding.EncodeToString(e.Value), "base64"
	}
	if !e.Deadline.IsZero() {
		fields.ExpiresAt = &e.Deadline
	}
	return jsonByTheBook(t, fields)
}

func jsonByTheBook(t testing.TB, v any) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	require.NoError(t, encoder.Encode(v))
	return out.String()
}

// isTextByTheBook reports whether b is UTF-8 that has at most twice its bytes in JSON.
func isTextByTheBook(t testing.TB, b []byte) bool {
	const around = len("\"\"\n")
	return utf8.Valid(b) && len(jsonByTheBook(t, string(b)))-around <= 2*len(b)
}

// TestLongLines: parts of a value are not seen in its line, whatever lies where they meet, and the choice between text and base64 is
// that of short lines to the byte. A line has at most twice the bytes of the entry, and 150 more.
func TestLongLines(t *testing.T) {
	db := enginetest.Open(t, quick())
	r := rand.New(rand.NewPCG(5, 6))
	const part = 2304
	for _, unit := range []string{"a", "é", "€", "😀", "\u2028", "\x01", "\"", "\xff", "plain text, and \n", strings.Repeat("a", part-1) + "\u2028", strings.Repeat("a", part-2) + "\u2029"} {
		for _, size := range []int{part - 1, part, part + 1, 2*part + 2, 3 * part, 60_000 + r.IntN(100_000)} {
			for escapes := range 3 { // about as many as make the text twice as long
				value := bytes.Repeat([]byte(unit), size/len(unit)+1)
				if unit == "a" {
					value = append(bytes.Repeat([]byte{1}, size/5-1+escapes), value[size/5-1+escapes:]...)
				}
				e := &engine.Entry{Key: fmt.Appendf(nil, "%.10q %d", unit, 3*size+escapes), Value: value[:max(size, len(value)-escapes)]}
				line := string(kvhttp.AppendLine(nil, e))
				require.True(t, lineByTheBook(t, e) == line, "%q, %d bytes, %.60s", unit, size, line)
				require.LessOrEqual(t, len(line), (len(e.Key)+len(e.Value))*2+150)
				apply(t, db, e)
			}
		}
	}
	want := contentsOf(t, db)
	require.Contains(t, want, `\u0001\u0001`)
	got := call(kvhttp.NewServer(db, kvhttp.Options{}), "GET", "/v1/export", "").body
	require.True(t, want == got, "%d bytes, want %d", len(got), len(want))
}

// TestLinesAllocateNothing, once the entry has room.
func TestLinesAllocateNothing(t *testing.T) {
	for _, e := range benchEntries() {
		line := kvhttp.AppendLine(nil, e)
		var into engine.Entry
		assert.Zero(t, testing.AllocsPerRun(100, func() {
			line = kvhttp.AppendLine(line[:0], e)
			if err := kvhttp.DecodeLine(line, &into); err != nil {
				t.Error(err)
			}
		}))
	}
}

// TestDecodingIsBoundedByTheLine: what a line makes it allocate is less than twice its size.
func TestDecodingIsBoundedByTheLine(t *testing.T) {
	escaped := strings.Repeat(`\u0041`, 100_000)
	for _, line := range []string{
		`{"key":"k","value":"` + escaped + `","encoding":"utf-8"}`,
		`{"key":"k","value":"` + escaped + `","encoding":"base64"}`,
		`{"key":"k","value":"` + strings.Repeat("A", 600_000) + `","encoding":"base64"}`,
		`{"key":"k","value":"","encoding":"` + escaped + `"}`,
		`{"key":"k","value":"","encoding":"utf-8","expires_at":"` + escaped + `"}`,
		`{"` + escaped + `":""}`,
		strings.Repeat("{", 600_000),
	} {
		text := []byte(line)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_ = kvhttp.DecodeLine(text, new(engine.Entry))
		runtime.ReadMemStats(&after)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2*len(line)), "%.60s", line)
	}
}

// benchEntries are of the sizes that the design speaks of: 16 bytes of key, 128 of value.
func benchEntries() map[string]*engine.Entry {
	key := []byte("user/00000000001")
	binary := make([]byte, 128)
	for i := range binary {
		binary[i] = byte(i * 37)
	}
	return map[string]*engine.Entry{
		"text":    {Key: key, Value: bytes.Repeat([]byte("plain text value"), 8)},
		"unicode": {Key: key, Value: bytes.Repeat([]byte("žluťoučký kůň "), 6)},
		"json":    {Key: key, Value: []byte(`{"id":1234567,"name":"Some Body","mail":"some@body.example","tags":["a","b","c"],"active":true,"score":12.5,"city":"Somewhere"}`)},
		"binary":  {Key: key, Value: binary, Deadline: time.Unix(1893456000, 123456789)},
	}
}

// BenchmarkLine is what a line costs, and what encoding/json takes for the same.
func BenchmarkLine(b *testing.B) {
	entries := benchEntries()
	for _, name := range []string{"text", "unicode", "json", "binary"} {
		e := entries[name]
		line := kvhttp.AppendLine(nil, e)
		b.Run("append/"+name, func(b *testing.B) {
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst = kvhttp.AppendLine(dst[:0], e)
			}
		})
		b.Run("decode/"+name, func(b *testing.B) {
			b.ReportAllocs()
			var into engine.Entry
			for b.Loop() {
				if err := kvhttp.DecodeLine(line, &into); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("encoding-json/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var fields struct{ Key, Value, Encoding, Expires_at string }
				if err := json.Unmarshal(line, &fields); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
