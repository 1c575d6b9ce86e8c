package rival

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// respConn speaks RESP, the protocol of Redis, over one connection: one command, then its reply. It is used by one goroutine.
type respConn struct {
	conn  net.Conn
	in    *bufio.Reader
	out   []byte // the command, in a buffer that is kept
	value []byte // the last bulk reply, in a buffer that is kept
}

func dialRESP(socket string) (*respConn, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	return &respConn{conn: conn, in: bufio.NewReader(conn)}, nil
}

// command begins a command of n words.
func (c *respConn) command(n int) {
	c.out = append(c.out[:0], '*')
	c.out = strconv.AppendInt(c.out, int64(n), 10)
	c.out = append(c.out, "\r\n"...)
}

func appendWord[T string | []byte](c *respConn, word T) {
	c.out = append(c.out, '$')
	c.out = strconv.AppendInt(c.out, int64(len(word)), 10)
	c.out = append(c.out, "\r\n"...)
	c.out = append(c.out, word...)
	c.out = append(c.out, "\r\n"...)
}

// do sends the command and reads its reply. ok is false for the null reply; value lies in a buffer that the next reply overwrites.
func (c *respConn) do() (value []byte, ok bool, err error) {
	if _, err := c.conn.Write(c.out); err != nil {
		return nil, false, err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return nil, false, err
	}
	if len(line) < 3 {
		return nil, false, errReply
	}
	kind, rest := line[0], line[1:len(line)-2]
	switch kind {
	case '+', ':':
		c.value = append(c.value[:0], rest...)
		return c.value, true, nil
	case '-':
		return nil, false, fmt.Errorf("redis: %s", rest)
	case '$':
		return c.bulk(rest)
	}
	return nil, false, errReply
}

var errReply = errors.New("redis: reply that is none of RESP")

// maxBulk bounds what is allocated for a reply.
const maxBulk = 64 << 20

func (c *respConn) bulk(length []byte) ([]byte, bool, error) {
	n, err := strconv.Atoi(string(length))
	if err != nil || n > maxBulk {
		return nil, false, errReply
	}
	if n < 0 {
		return nil, false, nil
	}
	if cap(c.value) < n+2 {
		c.value = make([]byte, n+2)
	}
	c.value = c.value[:n+2]
	for read := 0; read < n+2; {
		m, err := c.in.Read(c.value[read:])
		if err != nil {
			return nil, false, err
		}
		read += m
	}
	return c.value[:n], true, nil
}

// call is do for a command of plain words.
func (c *respConn) call(words ...string) ([]byte, bool, error) {
	c.command(len(words))
	for _, word := range words {
		appendWord(c, word)
	}
	return c.do()
}
