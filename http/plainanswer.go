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
	conn   net.Conn
	header http.Header
	date   []byte // for the header
	status int    // 0: 200
	begun  bool   // the header is in out, or sent
	last   bool   // nothing comes after this answer
	failed bool   // the connection takes no more
	out    []byte // what is to be sent

	leaving atomic.Bool // the next answer that begins is the last; any goroutine may set it
}

func (a *plainAnswer) Header() http.Header { return a.header }

func (a *plainAnswer) WriteHeader(status int) { a.status = status }

// Write appends p to the answer. The first one ends the header; if that has no Content-Length, p is the whole body.
func (a *plainAnswer) Write(p []byte) (int, error) {
	a.begin(len(p))
	a.out = append(a.out, p...)
	if len(a.out) >= sendBytes && !a.send() {
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
	a.out = append(a.out, "HTTP/1.1 "...)
	if a.status == 0 || a.status == http.StatusOK {
		a.out = append(a.out, "200 OK\r\n"...)
	} else {
		a.out = append(strconv.AppendInt(a.out, int64(a.status), 10), ' ')
		a.out = append(append(a.out, http.StatusText(a.status)...), "\r\n"...)
	}
	a.last = a.last || a.leaving.Load() || a.header.Get("Connection") == "close"
	delete(a.header, "Connection")
	if len(a.header) == 1 {
		for name, values := range a.header {
			a.field(name, values[0])
		}
	} else {
		for _, name := range slices.Sorted(maps.Keys(a.header)) {
			a.field(name, a.header[name][0])
		}
	}
	a.out = append(append(append(a.out, "Date: "...), a.date...), "\r\n"...)
	if a.header["Content-Length"] == nil {
		a.out = append(strconv.AppendInt(append(a.out, "Content-Length: "...), int64(length), 10), "\r\n"...)
	}
	if a.last {
		a.field("Connection", "close")
	}
	a.out = append(a.out, "\r\n"...)
}

func (a *plainAnswer) field(name, value string) {
	a.out = append(append(append(a.out, name...), ": "...), value...)
	a.out = append(a.out, "\r\n"...)
}

// end ends the answer.
func (a *plainAnswer) end() {
	a.begin(0)
	clear(a.header)
	a.status, a.begun = 0, false
}

// send sends what is to be sent, and reports whether the connection takes more.
func (a *plainAnswer) send() bool {
	if len(a.out) > 0 && !a.failed {
		_, err := a.conn.Write(a.out)
		a.failed = err != nil
	}
	if a.out = a.out[:0]; cap(a.out) > maxScratchBytes {
		a.out = nil
	}
	return !a.failed
}
