package fuzz_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
	kvhttp "github.com/tongpengdl/small-db/http"
)

// oneKeyStore is a store that remembers one key.
type oneKeyStore struct {
	kvhttp.Store
	set        bool
	key, value string
}

func (s *oneKeyStore) AppendGet(dst, key []byte) ([]byte, bool, error) {
	if !s.set || string(key) != s.key {
		return dst, false, nil
	}
	return append(dst, s.value...), true, nil
}

func (s *oneKeyStore) Set(_ context.Context, key, value []byte) (engine.Version, error) {
	s.set, s.key, s.value = true, string(key), string(value)
	return engine.Version{Epoch: 1, Seq: 1}, nil
}

// bodyByTheBook is what the body of a PUT means, by encoding/json alone, or how the error begins.
func bodyByTheBook(body []byte) (value, failure string) {
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

// answerByTheBook is the answer to a GET, by encoding/json.
func answerByTheBook(t *testing.T, key, value string) string {
	answer := struct {
		Key         string `json:"key"`
		Value       []byte `json:"value"`
		Encoding    string `json:"encoding"`
		KeyEncoding string `json:"key_encoding,omitempty"`
	}{key, []byte(value), "base64", ""}
	if !utf8.ValidString(key) {
		answer.Key, answer.KeyEncoding = base64.StdEncoding.EncodeToString([]byte(key)), "base64"
	}
	var b bytes.Buffer
	require.NoError(t, json.NewEncoder(&b).Encode(answer))
	return b.String()
}

// targets are request targets that name a key.
func targets(key string) []string {
	var every strings.Builder
	for i := range len(key) {
		fmt.Fprintf(&every, "%%%02x", key[i])
	}
	return []string{"/v1/kv/" + every.String(), "/v1/kv/" + url.PathEscape(key)}
}

// FuzzRequest sets a key to what a body says and gets it again: both are what encoding/json makes of them.
func FuzzRequest(f *testing.F) {
	long := func(s string, n int) string { return strings.Repeat(s, n) }
	for _, body := range []string{
		`{"value":"aGVsbG8=","encoding":"base64"}`, `{"encoding":"text","value":"é"}`, ` { "value" : "x" } `, `{"value":"a","value":"b"}`,
		`{"value":"\u0041"}`, `{"Value":"eA=="}`, `{"value":"eA==",}`, `{"value":"eA=="}]`, `{"value":"eA==","encoding":"hex"}`, `{}`, `null`,
		`{"value":null}`, `{"":""}`, `{,}`, `{"value" "eA=="}`, `{"value":"eA=="`, "{\"value\":\"\xff\",\"encoding\":\"utf8\"}", "{\"value\":\"e\nA==\"}",
		"{\"value\":\"\x7f\",\"encoding\":\" PLAIN\"}", `{"value":"a"}{"value":"b"}`, "\ufeff{}", `{"value":"` + long("A", 600) + `"}`,
		`{"encoding":"text","encoding":"base64","value":"!"}`, `{"` + long("n", 70) + `":1}`, `null {"` + long("n", 70) + `":1}`,
		`{"value":"eA=="} {"` + long("n", 70) + `":1}`, `{"encoding":"` + long("é", 300) + `"}`, `{"encoding":"` + long(" ", 300) + `plaİn"}`,
		`{"\u0065ncoding":"` + long("\\u00e9", 300) + `"}`, `{"\u0076\u0061\u006c\u0075\u0065":"eA=="}`, `{"value":"\ud800","encoding":"text"}`,
		`{"value":"\ud83d\ude00\/\b","encoding":"text"}`, long(`{"value":`, 40), long("[", 10001),
	} {
		f.Add("k", []byte(body))
	}
	for _, key := range []string{
		"", "/", "//", "..", "a/./../b", "%2F", "\x00", "\xff", "<&>", "\u2028", "\"\\", "é\n\b\f\x1f\x7f", "\ufffd", "?", "#", "+ ;:", "\xed\xa0\x80", long("k", 200),
	} {
		f.Add(key, []byte(`{"value":"eA=="}`))
	}
	f.Fuzz(func(t *testing.T, key string, body []byte) {
		if len(key) > format.MaxKeyLen {
			return
		}
		for _, target := range targets(key) {
			requestByTheBook(t, target, key, body)
		}
	})
}

func requestByTheBook(t *testing.T, target, key string, body []byte) {
	store := &oneKeyStore{}
	server := kvhttp.NewServer(store, kvhttp.Options{})
	put, get := httptest.NewRecorder(), httptest.NewRecorder()
	bounded(t, len(target)+len(body), func() {
		server.ServeHTTP(put, httptest.NewRequest("PUT", target, bytes.NewReader(body)))
		server.ServeHTTP(get, httptest.NewRequest("GET", target, nil))
	})
	if key == "" {
		require.False(t, store.set)
		require.Equal(t, 400, put.Code)
		require.Equal(t, 400, get.Code)
		return
	}
	value, failure := bodyByTheBook(body)
	require.Equal(t, failure == "", store.set)
	if failure == "" {
		require.Equal(t, 200, put.Code)
		require.Equal(t, "{\"ok\":true}\n", put.Body.String())
		require.Equal(t, key, store.key)
		require.Equal(t, value, store.value)
		require.Equal(t, 200, get.Code)
		require.Equal(t, answerByTheBook(t, key, value), get.Body.String())
		return
	}
	var answer struct{ Error string }
	require.Equal(t, 400, put.Code)
	require.Equal(t, 404, get.Code)
	require.NoError(t, json.Unmarshal(put.Body.Bytes(), &answer))
	const echoed = 190 // bytes that are repeated whatever is cut
	require.LessOrEqual(t, len(answer.Error), 210)
	require.Contains(t, answer.Error, strings.ToValidUTF8(failure[:min(len(failure), echoed)], ""))
}
