package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// httpConn speaks HTTP/1.1 on a connection that is kept alive, as far as the servers here do: answers announce their length.
type httpConn struct {
	*wire
	body  []byte // of the request, in a buffer that is kept
	value []byte // decoded, in a buffer that is kept
}

// begin begins a request. The path must need no escape.
func (c *httpConn) begin(method, path string, key []byte) {
	out := c.out // its errors stay, and ask returns them
	_, _ = out.WriteString(method)
	_ = out.WriteByte(' ')
	_, _ = out.WriteString(path)
	_, _ = out.Write(key)
	_, _ = out.WriteString(" HTTP/1.1\r\nHost: localhost\r\n")
}

// ask ends the request, with a body unless that is nil, and returns the body of the answer if that has status 200. It is valid until the next request.
func (c *httpConn) ask(body []byte) ([]byte, error) {
	if body != nil {
		c.body = body // it may have grown
		_, _ = c.out.WriteString("Content-Length: ")
		_, _ = c.out.Write(strconv.AppendInt(c.out.AvailableBuffer(), int64(len(body)), 10))
		_, _ = c.out.WriteString("\r\n")
	}
	_, _ = c.out.WriteString("\r\n")
	_, _ = c.out.Write(body)
	if err := c.out.Flush(); err != nil {
		return nil, err
	}
	status, length, err := c.header()
	if err != nil {
		return nil, err
	}
	if err := c.read(length); err != nil {
		return nil, err
	}
	if status != "200" {
		return nil, wrong("status "+status, c.wire.body)
	}
	return c.wire.body, nil
}

// header reads the status and the header of an answer.
func (c *httpConn) header() (status string, length uint64, err error) {
	line, err := c.line()
	if err != nil {
		return "", 0, err
	}
	const version, digits = "HTTP/1.1 ", 3
	if !bytes.HasPrefix(line, []byte(version)) || len(line) < len(version)+digits {
		return "", 0, fmt.Errorf("%w: status line %.200q", errSyntax, line)
	}
	status = "200" // does not allocate
	if got := line[len(version) : len(version)+digits]; string(got) != status {
		status = string(got)
	}
	announced := false
	for {
		line, err := c.line()
		if err != nil {
			return "", 0, err
		}
		if len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case !ok || bytes.EqualFold(name, []byte("Transfer-Encoding")):
			return "", 0, fmt.Errorf("%w: header %.200q", errSyntax, line)
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.ParseUint(string(value), 10, 63); err != nil || announced {
				return "", 0, fmt.Errorf("%w: header %.200q", errSyntax, line)
			}
			announced = true
		}
	}
	if !announced {
		return "", 0, fmt.Errorf("%w: it does not announce its length", errSyntax)
	}
	return status, length, nil
}
