package http

import (
	"errors"
	"net"
	"sync"
	"time"
)

// gate is the listener of net/http: what it accepts are connections whose plain requests are answered.
type gate struct {
	net.Listener
	server *Server
	handed chan net.Conn
	failed chan error
	closed chan struct{}
	once   sync.Once
}

func newGate(s *Server, listener net.Listener) *gate {
	return &gate{Listener: listener, server: s, handed: make(chan net.Conn), failed: make(chan error, 1), closed: make(chan struct{})}
}

// What passes between two calls of the listener that fail for now.
const (
	acceptPause    = 5 * time.Millisecond // at first
	maxAcceptPause = time.Second
)

// run takes what connects, until the gate is closed or the listener fails for good. Where it fails for now (no file descriptor is
// left), run waits: net/http, which would do that in its place, would not take what is handed over meanwhile.
func (g *gate) run() {
	for pause := acceptPause; ; {
		conn, err := g.Listener.Accept()
		if err == nil {
			g.server.plain.start(newPlainConn(g.server, conn))
			pause = acceptPause
			continue
		}
		if temporary, ok := errors.AsType[interface {
			error
			Temporary() bool
		}](err); !ok || !temporary.Temporary() {
			g.failed <- err
			return
		}
		g.server.server.ErrorLog.Printf("http: Accept error: %v; retrying in %v", err, pause)
		select {
		case <-time.After(pause):
		case <-g.closed:
			return
		}
		pause = min(2*pause, maxAcceptPause)
	}
}

// Accept returns a connection that was handed over.
func (g *gate) Accept() (net.Conn, error) {
	select {
	case conn := <-g.handed:
		return conn, nil
	case err := <-g.failed:
		return nil, err
	case <-g.closed:
		return nil, net.ErrClosed
	}
}

// handOver gives conn to net/http, or reports that it is too late.
func (g *gate) handOver(conn net.Conn) bool {
	select {
	case g.handed <- conn:
		return true
	case <-g.closed:
		return false
	}
}

// Close ends all of that, and the plain connections as soon as they are idle: net/http takes nothing from them any more. Once is enough.
func (g *gate) Close() error {
	g.once.Do(func() { close(g.closed) })
	g.server.plain.leave()
	return g.Listener.Close()
}

// handedConn is a connection of which the front was read already.
type handedConn struct {
	net.Conn // a TCP connection
	rest     []byte
}

// CloseWrite is what net/http looks for before it drops what a client still sends.
func (c *handedConn) CloseWrite() error { return c.Conn.(*net.TCPConn).CloseWrite() }

// Read is called by one goroutine at a time.
func (c *handedConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.rest)
	if c.rest = c.rest[n:]; len(c.rest) == 0 {
		c.rest = nil
	}
	return n, nil
}
