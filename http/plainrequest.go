package http

import (
	"bytes"
)

// plainRequest is a request for a key in the form that nearly all clients send: it says nothing but a method, a key, a body, and what
// no answer depends on. Its slices are parts of the bytes that it was read from.
type plainRequest struct {
	method string
	key    []byte // still percent-encoded
	body   []byte
	size   int  // in bytes, with its header
	last   bool // the client asks for the end of the connection
}

// verdict is what readPlain finds.
type verdict int

const (
	notPlain  verdict = iota // or no request at all: for net/http to say
	plainPart                // the front of a plain request, as far as one can see
	plainAll
)

// readPlain reads the request at the front of in. Whatever is not exactly as expected here is notPlain, and left to
// net/http; a fuzz test holds that net/http reads the others alike.
func readPlain(in []byte) (r plainRequest, found verdict) {
	line, rest, ok := cutLine(in)
	if !ok {
		return r, plainPart
	}
	if !r.readLine(line) {
		return r, notPlain
	}
	var fields plainFields
	for {
		if line, rest, ok = cutLine(rest); !ok {
			return r, plainPart
		}
		if len(line) == 0 {
			break
		}
		if !fields.read(line) {
			return r, notPlain
		}
	}
	if !fields.host || r.method == "PUT" && !fields.sized || r.method != "PUT" && fields.length > 0 {
		return r, notPlain
	}
	r.last = fields.last
	r.size = len(in) - len(rest) + fields.length
	switch {
	case r.size > plainBytes:
		return r, notPlain
	case r.size > len(in):
		return r, plainPart
	}
	r.body = rest[:fields.length]
	return r, plainAll
}

// cutLine cuts the first line from text, without the CR LF that ends it. It is not ok if no line is whole. A CR that is left in a line
// makes no plain request of it.
func cutLine(text []byte) (line, rest []byte, ok bool) {
	end := bytes.IndexByte(text, '\n')
	if end < 0 {
		return nil, text, false
	}
	line, rest = text[:end], text[end+1:]
	if end > 0 && line[end-1] == '\r' {
		return line[:end-1], rest, true
	}
	return loneNewline, rest, true
}

// loneNewline stands for a line that ends without CR, which net/http may read or refuse.
var loneNewline = []byte{'\r'}

// readLine reads the request line.
func (r *plainRequest) readLine(line []byte) bool {
	for _, method := range [...]string{"GET", "PUT", "DELETE"} {
		if target, ok := bytes.CutPrefix(line, []byte(method)); ok {
			r.method, line = method, target
			break
		}
	}
	line, begins := bytes.CutPrefix(line, []byte(" "+keyPrefix))
	line, ends := bytes.CutSuffix(line, []byte(" HTTP/1.1"))
	if r.method == "" || !begins || !ends || len(line) == 0 {
		return false
	}
	for i, c := range line {
		if !inKey[c] || c == '%' && (len(line) < i+3 || hexDigit[line[i+1]] == 0 || hexDigit[line[i+2]] == 0) {
			return false
		}
	}
	r.key = line
	return true
}

// appendKey appends the key, percent-decoded once.
func (r *plainRequest) appendKey(dst []byte) []byte {
	escaped := r.key
	for {
		at := bytes.IndexByte(escaped, '%')
		if at < 0 {
			return append(dst, escaped...)
		}
		dst = append(dst, escaped[:at]...)
		dst = append(dst, (hexDigit[escaped[at+1]]-1)<<4|(hexDigit[escaped[at+2]]-1))
		escaped = escaped[at+3:]
	}
}

// plainFields is what the header of a plain request says.
type plainFields struct {
	host, sized bool // Host and Content-Length are there
	length      int  // of the body, in bytes
	last        bool // Connection: close
}

// ignoredFields are those that do not change what a request for a key means, nor how it is answered. All others make it notPlain: a
// handler that comes to look at one must be given it.
var ignoredFields = [...]string{
	"user-agent", "accept", "accept-encoding", "accept-language", "content-type", "x-request-id",
	"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "traceparent", "tracestate",
}

// read reads one field.
func (f *plainFields) read(line []byte) bool {
	name, value, ok := bytes.Cut(line, []byte{':'})
	if !ok {
		return false
	}
	for _, c := range value {
		if (c < ' ' || c > '~') && c != '\t' {
			return false
		}
	}
	value = bytes.Trim(value, " \t")
	switch {
	case isField(name, "host"):
		return f.readHost(value)
	case isField(name, "content-length"):
		return f.readLength(value)
	case isField(name, "connection"):
		f.last = f.last || isField(value, "close")
		return f.last || isField(value, "keep-alive")
	}
	for _, ignored := range ignoredFields {
		if isField(name, ignored) {
			return true
		}
	}
	return false
}

// isField reports whether text is name, which is in lower case, in whatever letter case.
func isField(text []byte, name string) bool {
	if len(text) != len(name) {
		return false
	}
	for i, c := range text {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != name[i] {
			return false
		}
	}
	return true
}

// readHost reads the one Host that there must be. Nobody asks what it is.
func (f *plainFields) readHost(value []byte) bool {
	for _, c := range value {
		if !inHost[c] {
			return false
		}
	}
	first := !f.host
	f.host = true
	return first
}

// readLength reads the one Content-Length, of at most six digits.
func (f *plainFields) readLength(value []byte) bool {
	if f.sized || len(value) == 0 || len(value) > 6 {
		return false
	}
	f.sized = true
	for _, c := range value {
		if c < '0' || c > '9' {
			return false
		}
		f.length = 10*f.length + int(c-'0')
	}
	return true
}

// setOf is the set of the bytes of text, and of letters and digits.
func setOf(text string) (set [256]bool) {
	for _, c := range []byte(text + "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		set[c] = true
	}
	return set
}

var (
	inKey  = setOf("-._~!$&'()*+,;=:@/%") // what a path may have, by RFC 3986
	inHost = setOf("-._:[]")
)

// hexDigit is one more than the value of each hexadecimal digit, and 0 for other bytes.
var hexDigit = func() (values [256]byte) {
	for i, c := range []byte("0123456789abcdef") {
		values[c] = byte(i + 1)
	}
	for i, c := range []byte("ABCDEF") {
		values[c] = byte(i + 11)
	}
	return values
}()
