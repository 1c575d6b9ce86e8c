package main_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// connections is how many a load or a check uses, each of them for one request after the other.
const connections = 32

// client is one connection, for one request after the other. It does not go through net/http's
// client, which would not tell exactly when a request is sent, and which may replace a connection. It is for one goroutine.
type client struct {
	conn net.Conn
	in   *bufio.Reader

	// These are called once a request has been sent in full, and once its answer begins to come.
	sent, answered func()
}

func newClient(s *server) (*client, error) {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, in: bufio.NewReader(conn), sent: func() {}, answered: func() {}}, nil
}

func (c *client) close() { _ = c.conn.Close() }

// do sends a request and reads the whole answer. A server that hangs is an error.
func (c *client) do(method, path string, body []byte) (status int, answer []byte, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return 0, nil, err
	}
	header := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n", method, path, len(body))
	request := net.Buffers{header, body}
	if _, err := request.WriteTo(c.conn); err != nil {
		return 0, nil, err
	}
	c.sent()
	if _, err := c.in.Peek(1); err != nil {
		return 0, nil, err
	}
	c.answered()
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// must sends a request that is to be answered with {"ok":true}.
func (c *client) must(method, path string, body []byte) error {
	status, answer, err := c.do(method, path, body)
	if err == nil && (status != http.StatusOK || string(answer) != "{\"ok\":true}\n") {
		err = fmt.Errorf("%s %s: %d %s", method, path, status, answer)
	}
	return err
}

// each calls f with every number below n, from as many goroutines as there are connections, until one call
// returns false to each. All are connected before the first call.
func each(t *testing.T, s *server, n int, f func(c *client, i int) bool) {
	t.Helper()
	clients := make([]*client, connections)
	for i := range clients {
		var err error
		clients[i], err = newClient(s)
		require.NoError(t, err)
		defer clients[i].close()
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	for _, c := range clients {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && f(c, i); i = int(next.Add(1)) - 1 {
			}
		})
	}
	workers.Wait()
}

// load sends files to a server. A request that fails before the server was killed is an error.
type load struct {
	t      *testing.T
	s      *server
	files  []*file
	after  int           // acknowledged files
	enough chan struct{} // closed when there are so many
	ended  chan struct{} // closed with the load
	took   time.Duration

	mu           sync.Mutex // guards the rest
	killAt       int        // so many requests waiting, once enough is closed; 0 if the kill is another's
	acknowledged int
	waiting      int  // requests sent in full whose answer has not begun to come
	killed       bool // as soon as the server may be dead
	unanswered   int  // requests that were waiting at the kill, and waited in vain
	errs         []error
}

func newLoad(t *testing.T, s *server, files []*file) *load {
	return &load{t: t, s: s, files: files, after: -1, enough: make(chan struct{}), ended: make(chan struct{})}
}

func (l *load) String() string {
	return fmt.Sprintf("%d of %d files in %v, %.0f PUTs/s", l.acknowledged, len(l.files), l.took.Round(time.Millisecond),
		float64(l.acknowledged)/l.took.Seconds())
}

// run sends the files.
func (l *load) run() {
	l.t.Helper()
	l.send()
	require.Empty(l.t, l.errs)
}

func (l *load) send() {
	l.t.Helper()
	started := time.Now()
	each(l.t, l.s, len(l.files), func(c *client, i int) bool { return l.put(c, l.files[i]) })
	l.took = time.Since(started)
	close(l.ended)
}

// runAndKill kills the server after so many files, when three times minUnanswered requests are waiting: some of them may be
// answered before it dies.
func (l *load) runAndKill(after int) {
	l.t.Helper()
	l.after, l.killAt = after, 3*minUnanswered
	l.run()
}

// runAndKillInCheckpoint asks for checkpoints after so many files, and kills the server when it sees one
// being written to dir.
func (l *load) runAndKillInCheckpoint(after int, dir string) {
	l.t.Helper()
	l.after = after
	asker, err := newClient(l.s)
	require.NoError(l.t, err)
	defer asker.close()
	var watcher sync.WaitGroup
	watcher.Go(func() {
		select {
		case <-l.enough:
		case <-l.ended:
		}
		for !l.isOver() {
			asked := make(chan struct{})
			watcher.Go(func() {
				defer close(asked)
				l.failed(asker.must("POST", "/v1/checkpoint", nil), false)
			})
			l.killAtSight(filepath.Join(dir, "checkpoint.*.tmp"), asked)
			<-asked
		}
	})
	l.send()
	watcher.Wait()
	require.Empty(l.t, l.errs)
}

// killAtSight kills the server when a file of the pattern is there. It gives up when stop is closed.
func (l *load) killAtSight(pattern string, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		if names, _ := filepath.Glob(pattern); len(names) > 0 {
			l.killUnlessEnded()
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func (l *load) killUnlessEnded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.ended:
	default:
		l.kill()
	}
}

// isOver reports whether the server was killed or all files are sent.
func (l *load) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.ended:
		return true
	default:
		return l.killed
	}
}

// kill ends the server with SIGKILL. The caller holds mu.
func (l *load) kill() {
	l.killed = true
	if err := l.s.cmd.Process.Kill(); err != nil {
		l.errs = append(l.errs, err)
	}
}

// failed notes the error of a request, if there is one: before the kill, it must not happen.
func (l *load) failed(err error, unanswered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
	case !l.killed:
		l.errs = append(l.errs, err)
	case unanswered:
		l.unanswered++
	}
}

// put sends one file and reports whether to go on.
func (l *load) put(c *client, f *file) bool {
	f.state = unknown
	var waiting, atKill bool // for an answer; guarded by mu
	c.sent = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		waiting, atKill = true, !l.killed
		l.waiting++
		if l.killAt > 0 && !l.killed && l.acknowledged >= l.after && l.waiting >= l.killAt {
			l.kill()
		}
	}
	c.answered = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		waiting = false
		l.waiting--
	}
	if err := c.must("PUT", "/v1/kv/"+url.PathEscape(f.key), f.body); err != nil {
		l.failed(err, waiting && atKill)
		return false
	}
	f.state = present
	l.acknowledge()
	return true
}

func (l *load) acknowledge() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acknowledged++
	if l.acknowledged == l.after {
		close(l.enough)
	}
}

// encode returns the body of a PUT.
func encode(value []byte, asText bool) ([]byte, error) {
	body := struct {
		Value    string `json:"value"`
		Encoding string `json:"encoding"`
	}{string(value), "utf-8"}
	if !asText {
		body.Value, body.Encoding = base64.StdEncoding.EncodeToString(value), "base64"
	}
	return json.Marshal(body)
}
