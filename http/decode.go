package http

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// setBody is the body of a PUT.
type setBody struct {
	Value    string `json:"value"`
	Encoding string `json:"encoding"`
}

// decodeBody returns the value that the body in sc.text asks for. It lies in sc or is new.
func (sc *scratch) decodeBody() ([]byte, error) {
	value, encoding, ok := plainBody(sc.text)
	if !ok {
		var body setBody
		if err := decodeJSON(sc.text, &body); err != nil {
			return nil, &requestError{http.StatusBadRequest, cut(err.Error(), maxEchoBytes)}
		}
		value, encoding = []byte(body.Value), []byte(body.Encoding)
	}
	switch normalEncoding(encoding) {
	case "", "base64":
		var err error
		sc.value, err = base64.StdEncoding.AppendDecode(sc.value[:0], value)
		if err != nil {
			return nil, &requestError{http.StatusBadRequest, "invalid base64 value: " + err.Error()}
		}
		return sc.value, nil
	case "utf-8", "utf8", "plain", "text":
		return value, nil
	}
	const front = "unsupported encoding: "
	return nil, &requestError{http.StatusBadRequest, front + cut(encoding, maxEchoBytes-len(front))}
}

// maxEncodingBytes is more than any name of an encoding takes, in whatever letters.
const maxEncodingBytes = 32

// normalEncoding is name without surrounding space, in lower case; or, of one that is too long to be the name of an
// encoding, something that is none.
func normalEncoding(name []byte) string {
	switch string(name) { // the names that are in order already, without allocating
	case "":
		return ""
	case "base64":
		return "base64"
	case "utf-8":
		return "utf-8"
	}
	name = bytes.TrimSpace(name)
	if len(name) > maxEncodingBytes {
		return "too long"
	}
	return strings.ToLower(string(name))
}

// decodeJSON reads one JSON value into body, and nothing after it.
func decodeJSON(text []byte, body *setBody) error {
	if hasLongName(text) {
		return errors.New("invalid JSON body: unknown field of a long name")
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(body); err != nil {
		return fmt.Errorf("invalid JSON body: %w", err)
	}
	if len(bytes.Trim(text[decoder.InputOffset():], jsonSpace)) > 0 {
		return errors.New("unexpected data after JSON object")
	}
	return nil
}

const jsonSpace = " \t\r\n"

// maxNameBytes is more than the name of a field of a body takes, every character of it as \uXXXX.
const maxNameBytes = 64

// hasLongName reports whether the first JSON value in text, as far as it is one, has a field with a name
// that is too long to be known, at whatever depth; encoding/json would repeat it in its error, at several times its size.
func hasLongName(text []byte) bool {
	if _, object := skipSymbol(text, '{'); !object {
		return false // its names are not read
	}
	depth, length := 0, 0 // length of the last string, in bytes of text
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			end := stringEnd(text, i+1)
			i, length = end, end-i-1
		case ':':
			if length > maxNameBytes {
				return true
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth <= 0 {
				return false
			}
		}
	}
	return false
}

// stringEnd is the offset of the quote that ends the string whose content begins at i; len(text) if none does.
func stringEnd(text []byte, i int) int {
	for ; i < len(text) && text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return min(i, len(text))
}
