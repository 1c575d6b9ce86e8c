package http

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"unicode/utf8"
)

var bodyOK = []byte("{\"ok\":true}\n")

// lengthByHandler is the size from which an answer states its length. Below, net/http holds it
// back in its buffer of 2048 bytes and counts, which allocates nothing.
const lengthByHandler = 2000

// answer sends a whole answer with one Write.
func answer(w http.ResponseWriter, status int, body []byte) {
	header := w.Header()
	header["Content-Type"] = contentTypeJSON
	if len(body) >= lengthByHandler {
		header["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	if status != http.StatusOK {
		w.WriteHeader(status)
	}
	_, _ = w.Write(body) // if it fails the client is gone
}

// answerText sends a failure.
func answerText(w http.ResponseWriter, status int, text string) {
	answer(w, status, appendField(nil, `{"error":`, text))
}

// answerError sends a failure with the status that err calls for. The text is waited if err is
// that of a context that ended before the store took the operation.
func answerError(w http.ResponseWriter, err error, waited string) {
	status, text := statusOf(err, waited)
	sayWhen(w, err)
	answerText(w, status, text)
}

// answerUnread says why the body of a PUT was not read to its end. The connection ends with that:
// net/http would wait for the rest of the body before it sends the answer.
func answerUnread(w http.ResponseWriter, err error) {
	w.Header()["Connection"] = connectionClose
	answerError(w, err, "")
}

// sayWhen says when to try again, if too much is going on.
func sayWhen(w http.ResponseWriter, err error) {
	if errors.Is(err, errBodies) || errors.Is(err, errStreams) {
		w.Header()["Retry-After"] = retryAfter
	}
}

func answerNotAllowed(w http.ResponseWriter, allow []string) {
	w.Header()["Allow"] = allow
	answerText(w, http.StatusMethodNotAllowed, "method not allowed")
}

// appendField appends a JSON object that ends with text: its front, up to that text, is given.
func appendField(dst []byte, front, text string) []byte {
	dst = append(dst, front...)
	dst = appendString(dst, []byte(text))
	return append(dst, "}\n"...)
}

// appendEntry appends the answer to a GET.
func appendEntry(dst, key, value []byte) []byte {
	dst, end := appendEntryFront(dst, key)
	dst = base64.StdEncoding.AppendEncode(dst, value)
	return append(dst, end...)
}

// appendEntryFront appends what comes before the value, with its first quote, and returns what comes after it.
func appendEntryFront(dst, key []byte) (front []byte, end string) {
	dst, end = append(dst, `{"key":`...), `","encoding":"base64"}`+"\n"
	if utf8.Valid(key) {
		dst = appendString(dst, key)
	} else {
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, key)
		dst, end = append(dst, '"'), `","encoding":"base64","key_encoding":"base64"}`+"\n"
	}
	return append(dst, `,"value":"`...), end
}

// keyText is key for the text of an error: itself, or quoted if it is not UTF-8. Of a key that is longer
// than maxKeyEchoBytes it is the front.
func keyText(key []byte) string {
	if utf8.Valid(key) {
		return cut(key, maxKeyEchoBytes)
	}
	if len(key) > maxKeyEchoBytes {
		return strconv.Quote(string(key[:maxKeyEchoBytes])) + ellipsis
	}
	return strconv.Quote(string(key))
}

// appendString appends s as encoding/json writes it: by itself, if that needs no escape.
func appendString(dst, s []byte) []byte {
	for _, c := range s {
		if !verbatim[c] {
			quoted, _ := json.Marshal(string(s)) // a string cannot fail
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// verbatim are the ASCII characters that encoding/json does not escape.
var verbatim = func() (set [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		set[c] = true
	}
	for _, c := range `"\<>&` {
		set[c] = false
	}
	return set
}()
