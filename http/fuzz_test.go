package http_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	kvhttp "github.com/tongpengdl/small-db/http"
)

// lineFieldsByTheBook are the fields of a line by encoding/json alone, or nil if it is to be refused. It looks at the
// escapes by itself: encoding/json replaces half a character.
func lineFieldsByTheBook(line []byte) map[string]string {
	if !utf8.Valid(line) || !json.Valid(line) {
		return nil
	}
	escapes := strings.ReplaceAll(string(line), `\\`, "")
	if halfCharacter.MatchString(wholeCharacter.ReplaceAllString(escapes, "")) {
		return nil
	}
	fields := map[string]string{}
	decoder := json.NewDecoder(bytes.NewReader(line))
	if token, _ := decoder.Token(); token != json.Delim('{') {
		return nil
	}
	for decoder.More() {
		name, _ := decoder.Token()
		value, _ := decoder.Token()
		text, isText := value.(string)
		_, twice := fields[name.(string)]
		if !isText || twice || !slices.Contains([]string{"key", "key_encoding", "value", "encoding", "expires_at"}, name.(string)) {
			return nil
		}
		fields[name.(string)] = text
	}
	return fields
}

var (
	wholeCharacter = regexp.MustCompile(`\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}`)
	formOfTime     = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)
	halfCharacter  = regexp.MustCompile(`\\u[dD][89a-fA-F]`)
)

// lineEntryByTheBook is the entry of a line, if it has one.
func lineEntryByTheBook(line []byte) (e engine.Entry, ok bool) {
	fields := lineFieldsByTheBook(line)
	decode := func(name, encodingName string) (b []byte) {
		text, there := fields[name]
		encoding, encoded := fields[encodingName]
		switch {
		case !encoded && encodingName == "key_encoding", encoding == "utf-8":
			b = []byte(text)
		case encoding == "base64":
			var err error
			b, err = base64.StdEncoding.Strict().DecodeString(text)
			there = there && err == nil
		default:
			there = false
		}
		ok = ok && there
		return b
	}
	ok = fields != nil
	e.Key, e.Value = decode("key", "key_encoding"), decode("value", "encoding")
	if text, expires := fields["expires_at"]; expires {
		deadline, err := time.Parse(time.RFC3339Nano, text)
		ns := new(big.Int).Add(new(big.Int).Mul(big.NewInt(deadline.Unix()), big.NewInt(1e9)), big.NewInt(int64(deadline.Nanosecond())))
		ok = ok && err == nil && formOfTime.MatchString(text) && ns.IsInt64() && ns.Sign() > 0
		e.Deadline = deadline.UTC()
	}
	return e, ok && len(e.Key) > 0 && len(e.Key) <= 1<<16-1
}

// FuzzDecodeLine holds the decoder of lines against encoding/json, and that what it reads is written and read again as
// it is.
func FuzzDecodeLine(f *testing.F) {
	for _, seed := range []string{
		`{"key":"k","value":"v","encoding":"utf-8"}`, `{"key":"/w==","key_encoding":"base64","value":"AP4=","encoding":"base64"}`,
		`{"key":"k","value":"v","encoding":"utf-8","expires_at":"2030-01-01T00:00:00.000000001Z"}`, ` { "value" : "\ud83d\ude00" , "key":"\\" ,"encoding" : "utf-8"} `,
		`{"key":"\\ud800","value":"","encoding":"utf-8"}`, `{"key":"\ud800","value":"","encoding":"utf-8"}`, `{"key":"\ud800\u0041","value":"","encoding":"utf-8"}`,
		`{"key":"k","value":"","encoding":"utf-8","expires_at":"2262-04-11T23:47:16.854775807+00:00"}`, `{"key":"k","value":"\/","encoding":"utf-8"}{}`,
		`{"key":"k","value":null,"encoding":"utf-8"}`, `{"key":"k","key":"k","value":"","encoding":"utf-8"}`, `{"k\u0065y":"k","value":"AA==","encoding":"base64"}`,
		"{\"key\":\"\xff\",\"value\":\"\u2028\",\"encoding\":\"utf-8\"}", `{}`, `[]`, ``, `{"key":"k","value":"A\nA==","encoding":"base64"}`,
		`{"key":"k","value":"","encoding":"utf-8","expires_at":"1969-12-31T23:59:59.9999999999Z"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var got engine.Entry
		err := kvhttp.DecodeLine(line, &got)
		want, ok := lineEntryByTheBook(line)
		require.Equal(t, ok, err == nil, "%v", err)
		if !ok {
			require.Less(t, len(err.Error()), 1000)
			return
		}
		require.True(t, bytes.Equal(want.Key, got.Key) && bytes.Equal(want.Value, got.Value) && want.Deadline.Equal(got.Deadline), "%v, %v", want, got)

		again := kvhttp.AppendLine(nil, &got)
		require.Equal(t, lineByTheBook(t, &got), string(again))
		require.Equal(t, 1, bytes.Count(again, []byte("\n")))
		var second engine.Entry
		require.NoError(t, kvhttp.DecodeLine(again, &second))
		require.True(t, bytes.Equal(got.Key, second.Key) && bytes.Equal(got.Value, second.Value) && got.Deadline == second.Deadline)
	})
}

// FuzzLine holds that any entry comes back from its line.
func FuzzLine(f *testing.F) {
	f.Add([]byte("k"), []byte("v"), int64(0))
	f.Add([]byte("\xff\x00"), []byte("\u2028\"\\\xe2\x80"), int64(1))
	f.Add([]byte("\xe2\x80\xa8"), []byte{}, int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, key, value []byte, deadline int64) {
		if len(key) == 0 || len(key) > 1<<16-1 || deadline < 0 {
			return
		}
		e := engine.Entry{Key: key, Value: value}
		if deadline > 0 {
			e.Deadline = time.Unix(0, deadline).UTC()
		}
		line := kvhttp.AppendLine(nil, &e)
		require.Equal(t, lineByTheBook(t, &e), string(line))
		var got engine.Entry
		require.NoError(t, kvhttp.DecodeLine(line, &got))
		require.True(t, bytes.Equal(key, got.Key) && bytes.Equal(value, got.Value) && e.Deadline == got.Deadline)
	})
}
