package http

import (
	"bytes"
	"unicode/utf8"
)

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
