package http

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// maxBodyBytes is the size of the largest body of a PUT whose value may have maxValue bytes: as
// text, JSON may write each byte in six. It leaves room for the names of the fields, and for base64
// with two of three of its characters written so.
func maxBodyBytes(maxValue int) int64 { return 6*int64(maxValue) + 4<<10 }

// readBody appends the body of r to dst. It takes memory for what has come, not for what is announced, beyond
// the first piece; and each piece that has come buys time for the next.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, dst []byte) ([]byte, error) {
	if r.ContentLength > s.maxBody {
		return dst, s.tooLarge()
	}
	limit := s.maxBody
	if r.ContentLength >= 0 {
		limit = r.ContentLength
	}
	start, piece := time.Now(), pieceBytes
	dst = slices.Grow(dst, bytes.MinRead+int(min(max(r.ContentLength, 0), pieceBytes)))
	for {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, min(len(dst), int(limit)+1-len(dst)))
		}
		n, err := r.Body.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case int64(len(dst)) > s.maxBody:
			return dst, s.tooLarge()
		case err == io.EOF:
			if len(dst) >= pieceBytes {
				renewDeadlines(w)
			}
			return dst, nil
		case err != nil:
			return dst, s.readFailed(w, err)
		}
		if len(dst) >= piece {
			piece = len(dst) + pieceBytes
			_ = http.NewResponseController(w).SetReadDeadline(start.Add(readTimeout + pieceTime(len(dst))))
		}
	}
}

func (s *Server) tooLarge() error {
	return &requestError{http.StatusRequestEntityTooLarge,
		fmt.Sprintf("value is too large: the body has more than %d bytes", s.maxBody)}
}

// readFailed says why the body did not come to its end.
func (s *Server) readFailed(w http.ResponseWriter, err error) error {
	renewDeadlines(w)
	var limit *http.MaxBytesError // of a handler around this one
	switch {
	case errors.As(err, &limit):
		return &requestError{http.StatusRequestEntityTooLarge,
			fmt.Sprintf("value is too large: the body has more than %d bytes", limit.Limit)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &requestError{http.StatusRequestTimeout, "the body came too slowly; nothing was written"}
	}
	return &requestError{http.StatusBadRequest, "invalid JSON body: " + err.Error()}
}

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
			return nil, &requestError{http.StatusBadRequest, err.Error()}
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
	return nil, &requestError{http.StatusBadRequest, "unsupported encoding: " + string(encoding)}
}

// normalEncoding is name without surrounding space, in lower case.
func normalEncoding(name []byte) string {
	switch string(name) { // the names that are in order already, without allocating
	case "":
		return ""
	case "base64":
		return "base64"
	case "utf-8":
		return "utf-8"
	}
	return strings.TrimSpace(strings.ToLower(string(name)))
}

// decodeJSON reads one JSON value into body, and nothing after it.
func decodeJSON(text []byte, body *setBody) error {
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

// plainBody reads the body that clients send: an object of the two fields under their own names, no escape
// in its strings. It returns parts of text. Anything else is not ok, and is left to encoding/json; a fuzz
// test holds that the two agree.
func plainBody(text []byte) (value, encoding []byte, ok bool) {
	rest, ok := skipSymbol(text, '{')
	for ok {
		var name, content []byte
		if name, rest, ok = plainString(rest); !ok {
			break
		}
		if rest, ok = skipSymbol(rest, ':'); !ok {
			break
		}
		if content, rest, ok = plainString(rest); !ok {
			break
		}
		switch string(name) {
		case "value":
			value = content
		case "encoding":
			encoding = content
		default:
			return nil, nil, false
		}
		if end, closed := skipSymbol(rest, '}'); closed {
			return value, encoding, len(skipSpace(end)) == 0
		}
		rest, ok = skipSymbol(rest, ',')
	}
	return nil, nil, false
}

// plainString reads a string without escapes from the front of text.
func plainString(text []byte) (content, rest []byte, ok bool) {
	text, ok = skipSymbol(text, '"')
	if !ok {
		return nil, nil, false
	}
	end := bytes.IndexByte(text, '"')
	if end < 0 {
		return nil, nil, false
	}
	content, ascii := text[:end], true
	for _, c := range content {
		if c < ' ' || c == '\\' {
			return nil, nil, false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	return content, text[end+1:], ascii || utf8.Valid(content)
}

// skipSymbol skips space and one symbol.
func skipSymbol(text []byte, symbol byte) (rest []byte, ok bool) {
	text = skipSpace(text)
	if len(text) == 0 || text[0] != symbol {
		return nil, false
	}
	return text[1:], true
}

func skipSpace(text []byte) []byte {
	for len(text) > 0 && (text[0] == ' ' || text[0] == '\t' || text[0] == '\r' || text[0] == '\n') {
		text = text[1:]
	}
	return text
}
