package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
)

// client makes requests on one connection, one after the other. It is used by one goroutine.
type client interface {
	// get returns the value of key, in a buffer that the next request overwrites.
	get(key []byte) (value []byte, err error)
	put(key, value []byte) error
}

// wire is what the clients of all protocols are made of: a connection, and one buffer in each direction.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
	out  *bufio.Writer
	body []byte // of the last answer, in a buffer that is kept
}

func newWire(conn net.Conn) *wire {
	return &wire{conn: conn, in: bufio.NewReader(conn), out: bufio.NewWriter(conn)}
}

// errAnswer is an answer that came whole, and is wrong: the next request can be made. After every other error the connection is of no use.
var errAnswer = errors.New("wrong answer")

// wrong is an errAnswer that shows the front of what came.
func wrong(what string, text []byte) error {
	const most = 200
	return fmt.Errorf("%w: %s: %.*q", errAnswer, what, most, text)
}

// errSyntax is an answer after which nobody knows where the next one begins.
var errSyntax = errors.New("answer is malformed")

// maxAnswer bounds what is allocated for an answer, in bytes.
const maxAnswer = 1 << 20

// line reads one line that ends with CR LF, without these. It is valid until the next read.
func (w *wire) line() ([]byte, error) {
	line, err := w.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if n := len(line) - 2; n >= 0 && line[n] == '\r' {
		return line[:n], nil
	}
	return nil, fmt.Errorf("%w: line %.200q", errSyntax, line)
}

// read reads n bytes, which are more than 0 if they are valid, into the buffer for bodies.
func (w *wire) read(n uint64) error {
	if n > maxAnswer {
		return fmt.Errorf("%w: %d bytes, at most %d are expected", errSyntax, n, maxAnswer)
	}
	if uint64(cap(w.body)) < n {
		w.body = make([]byte, n)
	}
	w.body = w.body[:n]
	for at := 0; at < len(w.body); {
		m, err := w.in.Read(w.body[at:])
		if err != nil {
			return err
		}
		at += m
	}
	return nil
}
