package http

import (
	"encoding/base64"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// quoted is a JSON string as it is written, between its quotes: UTF-8 without control characters, and with something after
// every backslash.
type quoted struct {
	text    []byte
	escaped bool // it has a backslash
	there   bool
}

// content returns what the string says: text itself, if that needs no change.
func (q *quoted) content() ([]byte, error) {
	if !q.escaped {
		return q.text, nil
	}
	return appendUnquoted(make([]byte, 0, len(q.text)), q.text)
}

// appendText appends what the string says.
func (q *quoted) appendText(dst []byte) ([]byte, error) {
	if !q.escaped {
		return append(dst, q.text...), nil
	}
	return appendUnquoted(dst, q.text)
}

// oneBase64 refuses what decodes to the same bytes as something else, but for the line ends that it skips.
var oneBase64 = base64.StdEncoding.Strict()

// appendDecoded appends what the string says in base64.
func (q *quoted) appendDecoded(dst []byte) ([]byte, error) {
	text, err := q.content()
	if err != nil {
		return dst, err
	}
	return oneBase64.AppendDecode(dst, text)
}

// verbatimText are the bytes of UTF-8 that a JSON string holds as they are and that are characters by themselves.
var verbatimText = func() (set [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		set[c] = c != '"' && c != '\\'
	}
	return set
}()

// unescapes are the characters after a backslash, but for u, and what they stand for.
var unescapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

var (
	errEscape    = errors.New("unknown escape in a JSON string")
	errSurrogate = errors.New("\\u escape without four digits, or of half a character")
)

// appendUnquoted appends what a quoted text says.
func appendUnquoted(dst, text []byte) ([]byte, error) {
	start := 0
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		dst = append(dst, text[start:i]...)
		i++
		if text[i] == 'u' {
			r, size := unquoteRune(text[i+1:])
			if size == 0 {
				return dst, errSurrogate
			}
			dst = utf8.AppendRune(dst, r)
			i += size
		} else {
			c := unescapes[text[i]]
			if c == 0 {
				return dst, errEscape
			}
			dst = append(dst, c)
		}
		start = i + 1
	}
	return append(dst, text[start:]...), nil
}

// unquoteRune reads the four digits after \u and, if they are the first half of a character, the escape of
// the second. size is how far that goes, 0 if it is no character.
func unquoteRune(text []byte) (r rune, size int) {
	r, ok := hexDigits(text)
	switch {
	case !ok:
		return 0, 0
	case !utf16.IsSurrogate(r):
		return r, 4
	case len(text) < 6 || text[4] != '\\' || text[5] != 'u':
		return 0, 0
	}
	second, ok := hexDigits(text[6:])
	if r = utf16.DecodeRune(r, second); !ok || r == utf8.RuneError {
		return 0, 0
	}
	return r, 10
}

// hexDigits reads four digits.
func hexDigits(text []byte) (r rune, ok bool) {
	if len(text) < 4 {
		return 0, false
	}
	for _, c := range text[:4] {
		switch letter := c | 0x20; {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= letter && letter <= 'f':
			c = letter - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

const hexLetters = "0123456789abcdef"

// appendEscaped appends text, which is UTF-8, as encoding/json writes it between the quotes without SetEscapeHTML, and ten
// times as fast.
func appendEscaped(dst, text []byte) []byte {
	start := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if verbatimText[c] || c >= utf8.RuneSelf && !isLineEnd(text[i:]) {
			continue
		}
		dst = append(dst, text[start:i]...)
		switch {
		case c >= utf8.RuneSelf:
			i += 2
			dst = append(dst, `\u202`...)
			dst = append(dst, hexLetters[text[i]&0xf])
		case escapes[c] != 0:
			dst = append(dst, '\\', escapes[c])
		default:
			dst = append(dst, `\u00`...)
			dst = append(dst, hexLetters[c>>4], hexLetters[c&0xf])
		}
		start = i + 1
	}
	return append(dst, text[start:]...)
}

// appendEncoded appends b as text if isShortText, and as base64 otherwise. Of few bytes it takes the one to see whether it is to be the
// other: that is faster than to count first.
func appendEncoded(dst, b []byte) (out []byte, text bool) {
	if len(b) > encodeBytes {
		if isShortText(b) {
			return appendEscaped(dst, b), true
		}
	} else if utf8.Valid(b) {
		if out = appendEscaped(dst, b); len(out)-len(dst) <= longestText*len(b) {
			return out, true
		}
	}
	return base64.StdEncoding.AppendEncode(dst, b), false
}

// longestText bounds what a person can read and a stream must bear: text in JSON takes at most this many times its bytes.
const longestText = 2

// isShortText reports whether b is UTF-8 that appendEscaped writes in at most longestText times its bytes.
func isShortText(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	left := (longestText - 1) * len(b)
	for i, c := range b {
		if more := longer[c]; more != 0 && (c < utf8.RuneSelf || isLineEnd(b[i:])) {
			if left -= int(more); left < 0 {
				return false
			}
		}
	}
	return true
}

// longer is how many bytes more a character may take when it is escaped, by its first byte.
var longer = func() (set [256]uint8) {
	for c := range utf8.RuneSelf {
		switch {
		case escapes[c] != 0:
			set[c] = 1
		case !verbatimText[c]:
			set[c] = 5
		}
	}
	set[0xe2] = 3
	return set
}()

// isLineEnd reports whether text begins with U+2028 or U+2029.
func isLineEnd(text []byte) bool {
	return text[0] == 0xe2 && text[1] == 0x80 && text[2]&^1 == 0xa8
}

// escapes are the characters that have an escape of two characters, and its second.
var escapes = [256]byte{'"': '"', '\\': '\\', '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}

// jsonReader reads symbols and strings from JSON.
type jsonReader struct {
	text []byte
	at   int // what is before was read
}

// peek skips space and returns the next byte, 0 at the end.
func (r *jsonReader) peek() byte {
	for ; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// symbol reads one symbol, after space.
func (r *jsonReader) symbol(c byte) error {
	if r.peek() != c {
		return r.expected(fmt.Sprintf("%q", c))
	}
	r.at++
	return nil
}

// end makes sure that there is nothing more but space.
func (r *jsonReader) end() error {
	if r.peek(); r.at < len(r.text) {
		return fmt.Errorf("unexpected data after the JSON object, from byte %d on", r.at)
	}
	return nil
}

func (r *jsonReader) expected(what string) error {
	if r.at == len(r.text) {
		return fmt.Errorf("invalid JSON: it ends where %s is expected", what)
	}
	return fmt.Errorf("invalid JSON: %s is expected at byte %d", what, r.at)
}

// string reads a string, after space. It checks all but the letters of the escapes.
func (r *jsonReader) string() (q quoted, err error) {
	if r.peek() != '"' {
		return q, r.expected("a string")
	}
	rest, end, ascii := r.text[r.at+1:], 0, true
scan:
	for ; end < len(rest); end++ {
		switch c := rest[end]; {
		case verbatimText[c]:
		case c == '"':
			break scan
		case c == '\\':
			q.escaped = true
			end++
		case c < ' ':
			return q, fmt.Errorf("invalid JSON: control character in a string, at byte %d", r.at+1+end)
		default:
			ascii = false
		}
	}
	if end >= len(rest) {
		return q, errors.New("invalid JSON: it ends within a string")
	}
	q.text, q.there = rest[:end], true
	if !ascii && !utf8.Valid(q.text) {
		return q, fmt.Errorf("a string that is not UTF-8, at byte %d: bytes go as base64", r.at)
	}
	r.at += end + 2
	return q, nil
}
