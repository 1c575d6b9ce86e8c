package main

import (
	"fmt"
	"strconv"
)

// respConn speaks RESP, the protocol of Redis, as far as GET and SET need it.
type respConn struct{ *wire }

func (c *respConn) get(key []byte) ([]byte, error) {
	c.begin(2, "GET")
	c.word(key)
	return c.ask('$')
}

func (c *respConn) put(key, value []byte) error {
	c.begin(3, "SET")
	c.word(key)
	c.word(value)
	answer, err := c.ask('+')
	if err == nil && string(answer) != "OK" {
		return wrong("answer to a SET", answer)
	}
	return err
}

// begin begins a command of so many words.
func (c *respConn) begin(words int, name string) {
	c.number('*', words)
	c.number('$', len(name))
	_, _ = c.out.WriteString(name) // errors stay in out, and ask returns them
	_, _ = c.out.WriteString("\r\n")
}

func (c *respConn) word(word []byte) {
	c.number('$', len(word))
	_, _ = c.out.Write(word)
	_, _ = c.out.WriteString("\r\n")
}

func (c *respConn) number(kind byte, n int) {
	_ = c.out.WriteByte(kind)
	_, _ = c.out.Write(strconv.AppendInt(c.out.AvailableBuffer(), int64(n), 10))
	_, _ = c.out.WriteString("\r\n")
}

// ask sends the command and returns its answer if that is of the kind: + is a simple string, $ a bulk string. It is valid until the next command.
func (c *respConn) ask(kind byte) ([]byte, error) {
	if err := c.out.Flush(); err != nil {
		return nil, err
	}
	line, err := c.line()
	if err != nil {
		return nil, err
	}
	if len(line) == 0 {
		return nil, fmt.Errorf("%w: an empty line", errSyntax)
	}
	got, rest := line[0], line[1:]
	switch got {
	case '+', '-', ':':
		c.body = append(c.body[:0], rest...)
	case '$':
		if string(rest) == "-1" {
			return nil, wrong("no such key", line)
		}
		if err := c.bulk(rest); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%w: line %.200q", errSyntax, line)
	}
	if got != kind {
		return nil, wrong("answer of the kind "+string(got), c.body)
	}
	return c.body, nil
}

func (c *respConn) bulk(length []byte) error {
	const end = "\r\n"
	n, err := strconv.ParseUint(string(length), 10, 63)
	if err != nil {
		return fmt.Errorf("%w: length %.200q", errSyntax, length)
	}
	if err := c.read(n + uint64(len(end))); err != nil {
		return err
	}
	if string(c.body[n:]) != end {
		return fmt.Errorf("%w: a string does not end where it should: %.200q", errSyntax, c.body[n:])
	}
	c.body = c.body[:n]
	return nil
}
