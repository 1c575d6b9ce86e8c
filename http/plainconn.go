package http

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"
)

const (
	// plainBytes is the size of the largest plain request, and of the buffer that a connection has for it.
	plainBytes = 8 << 10
	// plainPatience is how long the rest of a plain request may take. A slower one has the time that net/http gives it.
	plainPatience = 100 * time.Millisecond
	// plainSlack is how old deadlines are at most: they are set with the first request of each second.
	plainSlack = time.Second
)

// plainConn answers the plain requests of a connection, up to the first request that is none: from there on the connection is net/http's.
// One goroutine runs it; only leave, watch and conn.Close are for others.
type plainConn struct {
	server *Server
	conn   net.Conn

	buffer   [plainBytes]byte
	from, to int  // what has come and is not answered is buffer[from:to]
	partial  bool // the deadline for reading is that of the rest of a request

	answer  plainAnswer
	request *http.Request // for the handlers, which look at no more of it than is set here
	body    bytes.Reader  // of request
	second  int64         // of Unix time, for which the deadlines are set; 0: there was no request yet
	cancel  context.CancelFunc
	began   atomic.Int64 // when the write that is being answered came, as clock has it; 0: there is none
}

func newPlainConn(s *Server, conn net.Conn) *plainConn {
	c := &plainConn{server: s, conn: conn}
	c.answer = plainAnswer{conn: conn, header: make(http.Header, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	c.request, c.cancel = (&http.Request{Body: io.NopCloser(&c.body)}).WithContext(ctx), cancel
	return c
}

// serve answers until the connection ends, or is handed over.
func (c *plainConn) serve() {
	handed := false
	defer func() {
		c.cancel()
		if problem := recover(); problem != nil { // as net/http has it: the others go on
			c.server.server.ErrorLog.Printf("http: panic serving %v: %v\n%s", c.conn.RemoteAddr(), problem, debug.Stack())
		}
		if !handed {
			_ = c.conn.Close()
		}
	}()
	_ = c.conn.SetReadDeadline(time.Now().Add(headerTimeout))
	for !c.answer.last && !c.answer.failed && c.request.Context().Err() == nil {
		r, found := readPlain(c.buffer[c.from:c.to])
		switch {
		case found == plainAll && r.method != http.MethodGet && !c.answer.send():
			return // nothing is written for a client that is gone; and no answer waits for a write
		case found == plainAll:
			c.answerTo(&r)
		case found == notPlain || !c.read():
			handed = c.handOver()
			return
		}
	}
	c.answer.send()
}

// read sends what is answered, and waits for more of a request.
func (c *plainConn) read() bool {
	if !c.answer.send() {
		return false
	}
	c.to = copy(c.buffer[:], c.buffer[c.from:c.to])
	c.from = 0
	if c.to == len(c.buffer) || c.idle() && c.answer.leaving.Load() {
		return false
	}
	if !c.idle() && !c.partial {
		c.partial = true
		_ = c.conn.SetReadDeadline(time.Now().Add(plainPatience))
	}
	n, err := c.conn.Read(c.buffer[c.to:])
	if n == 0 && err != nil && !c.idle() && c.answer.leaving.Load() { // leave ended the wait: the rest may come yet
		_ = c.conn.SetReadDeadline(time.Now().Add(plainPatience))
		n, err = c.conn.Read(c.buffer[c.to:])
	}
	c.to += n
	return n > 0 || err == nil // an error comes again, here or in net/http
}

// idle reports whether no request has begun. As net/http has it, fewer than four bytes begin only the first.
func (c *plainConn) idle() bool { return c.from == c.to || c.second != 0 && c.to-c.from < 4 }

// answerTo appends the answer to r.
func (c *plainConn) answerTo(r *plainRequest) {
	now := time.Now()
	if now.Unix() != c.second || c.partial {
		c.renew(now)
	}
	if r.method != http.MethodGet {
		c.began.Store(int64(clock(now)))
	}
	c.answer.last = r.last
	c.request.Method, c.request.ContentLength = r.method, int64(len(r.body))
	c.body.Reset(r.body)
	sc := takeScratch()
	sc.key = r.appendKey(sc.key[:0])
	c.server.serveKey(&c.answer, c.request, sc)
	sc.giveBack()
	c.answer.end()
	c.began.Store(0)
	c.from += r.size
}

// renew sets what the requests of a second share.
func (c *plainConn) renew(now time.Time) {
	c.second, c.partial = now.Unix(), false
	_ = c.conn.SetReadDeadline(now.Add(plainSlack + idleTimeout))
	_ = c.conn.SetWriteDeadline(now.Add(plainSlack + writeTimeout))
}

// handOver gives the connection to net/http, if there is something to do.
func (c *plainConn) handOver() bool {
	if !c.answer.send() || c.idle() {
		return false
	}
	c.server.plain.remove(c) // whose leave is not for what net/http has
	_ = c.conn.SetDeadline(time.Time{})
	return c.server.gate.handOver(&handedConn{Conn: c.conn, rest: bytes.Clone(c.buffer[c.from:c.to])})
}

// leave ends the connection as soon as nothing is being answered. Any goroutine may call it.
func (c *plainConn) leave() {
	c.answer.leaving.Store(true)
	_ = c.conn.SetReadDeadline(time.Unix(1, 0))
}

// watch ends the context of a write that has waited for readTimeout, or whose client is gone, and with it the connection. Any
// goroutine may call it.
func (c *plainConn) watch(now time.Time) {
	began := time.Duration(c.began.Load())
	if began == 0 {
		return
	}
	if waited := clock(now) - began; waited >= readTimeout || waited >= watchInterval && isGone(c.conn) {
		c.answer.leaving.Store(true)
		c.cancel()
	}
}

// clock is the time of now on a clock that nobody sets.
func clock(now time.Time) time.Duration { return now.Sub(firstMoment) }

var firstMoment = time.Now()
