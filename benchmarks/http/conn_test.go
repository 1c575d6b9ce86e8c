package main

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// answering is a connection to a server that gives the answers, whatever it is asked, and then ends.
func answering(t *testing.T, answers ...string) *wire {
	here, there := net.Pipe()
	t.Cleanup(func() { _ = here.Close() })
	go func() {
		defer there.Close()
		buffer := make([]byte, 4096) // more than any request
		for _, answer := range answers {
			if _, err := there.Read(buffer); err != nil {
				return
			}
			if _, err := there.Write([]byte(answer)); err != nil {
				return
			}
		}
	}()
	return newWire(here)
}

func httpAnswer(status int, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d Text\r\nDate: now\r\ncontent-length: %d\r\n\r\n%s", status, len(body), body)
}

func theirPair() *pair {
	p := new(pair)
	p.choose(7)
	return p
}

// goodAnswers are those that each client takes for key 7.
func goodAnswers() map[string][2]string {
	p := theirPair()
	value := base64.StdEncoding.EncodeToString(p.value[:])
	return map[string][2]string{
		ours:      {httpAnswer(200, fmt.Sprintf(`{"key":"%s","value":"%s","encoding":"base64"}`+"\n", p.key, value)), httpAnswer(200, string(oursOK))},
		emptyName: {httpAnswer(200, string(emptyBody)), httpAnswer(200, string(oursOK))},
		redisName: {fmt.Sprintf("$%d\r\n%s\r\n", len(p.value), p.value[:]), "+OK\r\n"},
		etcdName: {
			httpAnswer(200, fmt.Sprintf(`{"header":{"revision":"3"},"kvs":[{"key":"a","value":"%s"}],"count":"1"}`, value)),
			httpAnswer(200, `{"header":{"cluster_id":"1","revision":"3"}}`),
		},
	}
}

func TestGoodAnswers(t *testing.T) {
	p := theirPair()
	for _, c := range contenders() {
		good := goodAnswers()[c.name]
		client := c.client(answering(t, good[0], good[1], good[0]))
		require.NoError(t, getOperation.do(client, p), c.name)
		require.NoError(t, putOperation.do(client, p), c.name)
		require.NoError(t, getOperation.do(client, p), c.name)
		require.Error(t, getOperation.do(client, p), "%s: the connection has ended", c.name)
	}
}

// TestWrongAnswers: they are told from good ones, and the next answer is read from where it begins.
func TestWrongAnswers(t *testing.T) {
	p, other := theirPair(), new(pair)
	other.choose(8)
	entry := func(key, value []byte) string {
		return httpAnswer(200, fmt.Sprintf(`{"key":"%s","value":"%s","encoding":"base64"}`+"\n", key, base64.StdEncoding.EncodeToString(value)))
	}
	kvs := func(value string) string { return httpAnswer(200, `{"kvs":[{"value":"`+value+`"}]}`) }
	text := func(value []byte) string { return base64.StdEncoding.EncodeToString(value) }
	for name, answers := range map[string][2][]string{ // to GET, to PUT
		ours: {
			{httpAnswer(404, "{}"), httpAnswer(200, ""), httpAnswer(200, "{}"), httpAnswer(200, `{"key":"`), entry(other.key[:], p.value[:]),
				entry(p.key[:], other.value[:]), entry(p.key[:], p.value[:127]), strings.Replace(goodAnswers()[ours][0], "\"base64\"}\n", "\"utf-8\"} \n", 1),
				strings.Replace(entry(p.key[:], p.value[:]), "=", "!", 1)},
			{httpAnswer(503, string(oursOK)), httpAnswer(200, ""), httpAnswer(200, `{"ok":false}`), httpAnswer(201, string(oursOK))},
		},
		emptyName: {{httpAnswer(500, string(emptyBody)), httpAnswer(200, string(emptyBody[1:]))}, {httpAnswer(400, ""), httpAnswer(200, "")}},
		redisName: {
			{"$-1\r\n", "-ERR no\r\n", "+OK\r\n", ":1\r\n", "$0\r\n\r\n", fmt.Sprintf("$128\r\n%s\r\n", other.value[:]), fmt.Sprintf("$127\r\n%s\r\n", p.value[:127])},
			{"$-1\r\n", "-MISCONF no\r\n", "+QUEUED\r\n", ":1\r\n", "$2\r\nOK\r\n"},
		},
		etcdName: {
			{httpAnswer(200, `{"header":{}}`), httpAnswer(404, "{}"), httpAnswer(200, `{"kvs":[{"value":"`), kvs("!"), kvs(text(other.value[:])), kvs(text(p.value[:127]))},
			{httpAnswer(200, `{"error":"no"}`), httpAnswer(503, `{"header":{"revision":"3"}}`)},
		},
	} {
		c := contenderNamed(t, name)
		for i, o := range []operation{getOperation, putOperation} {
			for _, answer := range answers[i] {
				client := c.client(answering(t, answer, goodAnswers()[name][i]))
				require.ErrorIs(t, o.do(client, p), errAnswer, "%s %s: %q", name, o.name, answer)
				require.NoError(t, o.do(client, p), "%s %s after %q", name, o.name, answer)
			}
		}
	}
}

// TestMalformedAnswers: after them the connection is of no use, and no memory is taken for lengths that cannot be.
func TestMalformedAnswers(t *testing.T) {
	p := theirPair()
	malformed := []string{
		"", "H", "HTTP/1.1 200", "\r\n", "HTTP/1.1 200 OK\n\r\n", "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 2\r\n", "HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
		"HTTP/1.1 200 OK\r\nLong: " + strings.Repeat("x", 5000) + "\r\n\r\n",
	}
	rows := map[string][]string{
		ours: malformed, emptyName: malformed, etcdName: malformed,
		redisName: {"", "$", "\r\n", "OK\r\n", "*1\r\n$2\r\nOK\r\n", "+OK\n", "$-2\r\n", "$x\r\n", "$\r\n", "$99999999999999999999\r\n", "$9223372036854775807\r\n",
			"$18446744073709551615\r\n", "$5\r\nab\r\n", "$2\r\nabcd", "+" + strings.Repeat("x", 5000) + "\r\n"},
	}
	for name, answers := range rows {
		c := contenderNamed(t, name)
		for _, answer := range answers {
			for _, o := range []operation{getOperation, putOperation} {
				err := o.do(c.client(answering(t, answer)), p)
				require.Error(t, err, "%s %s: %q", name, o.name, answer)
				known := errors.Is(err, errSyntax) || errors.Is(err, io.EOF) || errors.Is(err, bufio.ErrBufferFull)
				require.True(t, known, "%s %s: %q: %v", name, o.name, answer, err)
				require.NotErrorIs(t, err, errAnswer, "%s %s: %q", name, o.name, answer)
			}
		}
	}
}

func contenderNamed(t *testing.T, name string) *contender {
	for _, c := range contenders() {
		if c.name == name {
			return c
		}
	}
	require.Fail(t, "no contender", name)
	return nil
}
