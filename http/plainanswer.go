package http

import (
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// plainAnswer is the http.ResponseWriter of a plainConn, for the answers that the handlers of a key make: each of one
// Write, or with its Content-Length. What it writes is, byte for byte, what net/http does.
type plainAnswer struct {
	conn    net.Conn
	header  http.Header
	status  int      // 0: 200
	begun   bool     // the header is pending, or sent
	last    bool     // nothing comes after this answer
	failed  bool     // the connection takes no more
	date    []byte   // for the header
	second  int64    // of Unix time, which date is
	pending *scratch // its text is to be sent; nil: nothing is

	leaving atomic.Bool // the next answer that begins is the last; any goroutine may set it
}

func (a *plainAnswer) Header() http.Header { return a.header }

func (a *plainAnswer) WriteHeader(status int) { a.status = status }

// Write appends p to the answer. The first one ends the header; if that has no Content-Length, p is the whole body.
func (a *plainAnswer) Write(p []byte) (int, error) {
	a.begin(len(p))
	if len(p) < sendBytes {
		a.text(p)
	} else if a.send() { // a large piece is not copied
		_, err := a.conn.Write(p)
		a.failed = err != nil
	}
	if a.failed {
		return 0, net.ErrClosed
	}
	return len(p), nil
}

// SetReadDeadline is what http.ResponseController looks for. Of a plain request nothing is left to be read.
func (a *plainAnswer) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline is what http.ResponseController looks for.
func (a *plainAnswer) SetWriteDeadline(at time.Time) error { return a.conn.SetWriteDeadline(at) }

// begin appends the header, if that has not been done. The body has length bytes, unless the header says otherwise.
func (a *plainAnswer) begin(length int) {
	if a.begun {
		return
	}
	a.begun = true
	out := append(a.out(), "HTTP/1.1 "...)
	if a.status == 0 || a.status == http.StatusOK {
		out = append(out, "200 OK\r\n"...)
	} else {
		out = append(strconv.AppendInt(out, int64(a.status), 10), ' ')
		out = append(append(out, http.StatusText(a.status)...), "\r\n"...)
	}
	if len(a.header) == 1 { // which most have, and there is nothing to sort and to allocate
		for name, values := range a.header {
			out = appendHeader(out, name, values[0])
		}
	} else {
		for _, name := range slices.Sorted(maps.Keys(a.header)) {
			out = appendHeader(out, name, a.header[name][0])
		}
	}
	out = append(append(append(out, "Date: "...), a.now()...), "\r\n"...)
	if a.header["Content-Length"] == nil {
		out = append(strconv.AppendInt(append(out, "Content-Length: "...), int64(length), 10), "\r\n"...)
	}
	if a.header["Connection"] != nil {
		a.last = true
	} else if a.last = a.last || a.leaving.Load(); a.last {
		out = appendHeader(out, "Connection", "close")
	}
	a.pending.text = append(out, "\r\n"...)
}

// out is the text that is pending.
func (a *plainAnswer) out() []byte {
	if a.pending == nil {
		a.pending = takeScratch()
		a.pending.text = a.pending.text[:0]
	}
	return a.pending.text
}

func appendHeader(dst []byte, name, value string) []byte {
	dst = append(append(append(dst, name...), ": "...), value...)
	return append(dst, "\r\n"...)
}

// now is the present time for the header.
func (a *plainAnswer) now() []byte {
	if now := time.Now(); now.Unix() != a.second {
		a.second, a.date = now.Unix(), now.UTC().AppendFormat(a.date[:0], http.TimeFormat)
	}
	return a.date
}

// text appends p, and sends it with what is pending once that is enough.
func (a *plainAnswer) text(p []byte) {
	if a.pending.text = append(a.out(), p...); len(a.pending.text) >= sendBytes {
		a.send()
	}
}

// end ends the answer.
func (a *plainAnswer) end() {
	a.begin(0)
	clear(a.header)
	a.status, a.begun = 0, false
}

// send sends what is pending, and reports whether the connection takes more. A connection that idles holds no buffer.
func (a *plainAnswer) send() bool {
	if a.pending == nil {
		return !a.failed
	}
	if !a.failed {
		_, err := a.conn.Write(a.pending.text)
		a.failed = err != nil
	}
	a.pending.giveBack()
	a.pending = nil
	return !a.failed
}
