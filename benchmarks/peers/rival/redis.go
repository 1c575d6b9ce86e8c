package rival

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

const redisServer = "redis-server"

func redisRival() *Rival {
	return &Rival{
		Name: "Redis", Durable: true, Reads: true, Compacts: true, Served: true, Open: openRedis,
		Settings: "appendonly yes, appendfsync always, no snapshots, a Unix socket, one connection for each session, no pipelining",
		Missing: func() error {
			_, err := exec.LookPath(redisServer)
			return err
		},
	}
}

// redisSettings: appendfsync always is the one that syncs before it answers.
var redisSettings = []string{"--appendonly", "yes", "--appendfsync", "always", "--save", "", "--port", "0", "--maxclients", "2000"}

const (
	redisPatience = 120 * time.Second // for it to load its data, or to end
	redisPause    = time.Millisecond
	maxSocketPath = 107 // bytes
)

func openRedis(dir string) (Store, error) {
	s := &redisStore{socket: filepath.Join(dir, "socket"), ended: make(chan error, 1)}
	if len(s.socket) > maxSocketPath {
		return nil, fmt.Errorf("%s is too long for the path of a socket; name a shorter directory", s.socket)
	}
	started := make(chan error)
	s.server = exec.Command(redisServer, append([]string{"--dir", dir, "--unixsocket", s.socket}, redisSettings...)...)
	s.server.SysProcAttr = diesWithUs()
	go func() {
		runtime.LockOSThread() // it dies with the thread that has started it
		err := s.server.Start()
		started <- err
		if err == nil {
			s.ended <- s.server.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	if err := s.wait(); err != nil {
		return nil, errors.Join(err, s.server.Process.Kill())
	}
	return s, nil
}

type redisStore struct {
	socket string
	server *exec.Cmd
	ended  chan error
}

// wait returns when the server answers.
func (s *redisStore) wait() error {
	err := errors.New("no answer")
	for started := time.Now(); time.Since(started) < redisPatience; time.Sleep(redisPause) {
		select {
		case err := <-s.ended:
			return fmt.Errorf("%s ended: %w", redisServer, err)
		default:
		}
		var c *respConn
		if c, err = dialRESP(s.socket); err != nil {
			continue
		}
		_, _, err = c.call("PING") // an error while it loads
		c.conn.Close()
		if err == nil {
			return nil
		}
	}
	return err
}

// Pid is that of the server.
func (s *redisStore) Pid() int { return s.server.Process.Pid }

func (s *redisStore) Session() (Session, error) {
	c, err := dialRESP(s.socket)
	if err != nil {
		return nil, err
	}
	return redisSession{c}, nil
}

func (s *redisStore) Load(batch []Pair) error {
	c, err := dialRESP(s.socket)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	c.command(1 + 2*len(batch))
	appendWord(c, "MSET")
	for _, p := range batch {
		appendWord(c, p.Key)
		appendWord(c, p.Value)
	}
	_, _, err = c.do()
	return err
}

// Compact rewrites the append-only file.
func (s *redisStore) Compact() error {
	c, err := dialRESP(s.socket)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if err := c.awaitRewrite(); err != nil { // the server may have begun one by itself, and does not begin another beside it
		return err
	}
	if _, _, err := c.call("BGREWRITEAOF"); err != nil {
		return err
	}
	return c.awaitRewrite()
}

// awaitRewrite returns when the server does not rewrite its file.
func (c *respConn) awaitRewrite() error {
	for {
		info, _, err := c.call("INFO", "persistence")
		if err != nil || bytes.Contains(info, []byte("aof_rewrite_in_progress:0")) && bytes.Contains(info, []byte("aof_rewrite_scheduled:0")) {
			return err
		}
		time.Sleep(redisPause)
	}
}

func (s *redisStore) Close() error {
	c, err := dialRESP(s.socket)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	_, _, _ = c.call("SHUTDOWN", "NOSAVE") // it ends instead of answering; what was acknowledged is in its file
	select {
	case err := <-s.ended:
		return err
	case <-time.After(redisPatience):
		return fmt.Errorf("%s does not end", redisServer)
	}
}

type redisSession struct{ c *respConn }

func (s redisSession) Set(key, value []byte) error {
	s.c.command(3)
	appendWord(s.c, "SET")
	appendWord(s.c, key)
	appendWord(s.c, value)
	_, _, err := s.c.do()
	return err
}

func (s redisSession) View(key []byte, read func(value []byte) error) (bool, error) {
	s.c.command(2)
	appendWord(s.c, "GET")
	appendWord(s.c, key)
	value, ok, err := s.c.do()
	if !ok || err != nil {
		return false, err
	}
	return true, read(value)
}

func (s redisSession) Scan([]byte, int, func(key, value []byte)) error { return errCannot }

func (s redisSession) Close() error { return s.c.conn.Close() }
