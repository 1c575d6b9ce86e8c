package http_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	kvhttp "github.com/tongpengdl/small-db/http"
)

// putByTheBook is what a PUT of body does, by encoding/json alone.
func putByTheBook(body []byte) (value, failure string) {
	var fields struct {
		Value    string `json:"value"`
		Encoding string `json:"encoding"`
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if decoder.Decode(&fields) != nil {
		return "", "invalid JSON body: "
	}
	if decoder.Decode(new(any)) != io.EOF {
		return "", "unexpected data after JSON object"
	}
	switch strings.TrimSpace(strings.ToLower(fields.Encoding)) {
	case "", "base64":
		decoded, err := base64.StdEncoding.DecodeString(fields.Value)
		if err != nil {
			return "", "invalid base64 value: " + err.Error()
		}
		return string(decoded), ""
	case "utf-8", "utf8", "plain", "text":
		return fields.Value, ""
	}
	return "", "unsupported encoding: " + fields.Encoding
}

// FuzzPutBody holds the parser of plain bodies against encoding/json, which reads all others.
func FuzzPutBody(f *testing.F) {
	for _, seed := range []string{
		`{"value":"aGVsbG8=","encoding":"base64"}`, `{"encoding":"text","value":"é"}`, ` { "value" : "x" } `,
		`{"value":"a","value":"b"}`, `{"value":"\u0041"}`, `{"Value":"eA=="}`, `{"value":"eA==",}`, `{"value":"eA=="}]`,
		`{"value":"eA==","encoding":"hex"}`, `{}`, `null`, `{"value":null}`, `{"":""}`, `{,}`, `{"value" "eA=="}`, `{"value":"eA=="`,
		"{\"value\":\"\xff\",\"encoding\":\"utf8\"}", "{\"value\":\"e\nA==\"}", "{\"value\":\"\x7f\",\"encoding\":\" PLAIN\"}",
		`{"value":"a"}{"value":"b"}`, "\ufeff{}", `{"value":"` + strings.Repeat("A", 600) + `"}`, `{"encoding":"text","encoding":"base64","value":"!"}`,
		`{"` + strings.Repeat("n", 70) + `":1}`, `null {"` + strings.Repeat("n", 70) + `":1}`, `{"value":"eA=="} {"` + strings.Repeat("n", 70) + `":1}`,
		`{"encoding":"` + strings.Repeat("é", 300) + `"}`, `{"encoding":"` + strings.Repeat(" ", 300) + `plaİn"}`,
		`{"\u0065ncoding":"` + strings.Repeat("\\u00e9", 300) + `"}`, `{"\u0076\u0061\u006c\u0075\u0065":"eA=="}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		store := newStore()
		recorder := httptest.NewRecorder()
		kvhttp.NewServer(store, kvhttp.Options{}).ServeHTTP(recorder, httptest.NewRequest("PUT", "/v1/kv/k", bytes.NewReader(body)))

		want, failure := putByTheBook(body)
		got, stored := store.value("k")
		require.Equal(t, failure == "", stored)
		require.Equal(t, want, got)
		if failure == "" {
			require.Equal(t, okBody, recorder.Body.String())
			return
		}
		var answer struct{ Error string }
		require.Equal(t, 400, recorder.Code)
		require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &answer))
		const echoed = 190 // bytes that are repeated whatever is cut
		require.LessOrEqual(t, len(answer.Error), 210)
		require.Contains(t, answer.Error, strings.ToValidUTF8(failure[:min(len(failure), echoed)], ""))
	})
}

// FuzzKey holds that any key comes back as it was sent, in an answer that is the one encoding/json gives.
func FuzzKey(f *testing.F) {
	for _, seed := range []string{"a", "/", "..", "%2F", "\x00", "\xff", "<&>", "\u2028", "\"\\", "é\n\b\f\x1f\x7f", "\ufffd"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if key == "" || len(key) > 1<<16-1 {
			return
		}
		store := newStore()
		store.entries[key] = []byte("stored")
		got := call(kvhttp.NewServer(store, kvhttp.Options{}), "GET", "/v1/kv/"+escapeAll(key), "")
		require.Equal(t, 200, got.status)
		require.Equal(t, key, keyOf(t, got.body))
		if !strings.Contains(got.body, "key_encoding") {
			var want bytes.Buffer
			require.NoError(t, json.NewEncoder(&want).Encode(struct {
				Key      string `json:"key"`
				Value    string `json:"value"`
				Encoding string `json:"encoding"`
			}{key, "c3RvcmVk", "base64"}))
			require.Equal(t, want.String(), got.body)
		}
	})
}
