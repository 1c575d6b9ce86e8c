package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// server is a process that serves. Its methods may be called concurrently, but for kill.
type server struct {
	*contender
	addr  string
	log   string // the file with what it prints
	cmd   *exec.Cmd
	ended chan struct{} // closed once it has ended
}

// freeAddr is an address of this machine that nobody listens at.
func freeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// start starts a server with a directory below parent. Whether it is ready yet, wait says.
func (c *contender) start(bin, parent string) (*server, error) {
	dir := filepath.Join(parent, c.name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	s := &server{contender: c, addr: addr, log: dir + ".log", ended: make(chan struct{})}
	if s.cmd, err = c.command(bin, dir, addr); err != nil {
		return nil, err
	}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.SysProcAttr = log, log, diesWithUs()
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the server dies with the thread that has started it
		err := s.cmd.Start()
		started <- err
		if err == nil {
			_ = s.cmd.Wait() // its state says the same
			close(s.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	return s, nil
}

// wait returns when the server acknowledges a PUT.
func (s *server) wait(ctx context.Context, patience time.Duration) error {
	const pause = 10 * time.Millisecond
	err := errors.New("not tried")
	for started := time.Now(); time.Since(started) < patience; time.Sleep(pause) {
		select {
		case <-s.ended:
			return s.explain(err)
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		if err = s.try(patience); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s does not answer after %v: %w\n%s", s.name, patience, err, s.said())
}

// try makes a PUT.
func (s *server) try(patience time.Duration) error {
	conn, err := net.DialTimeout("tcp", s.addr, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	var pair pair
	pair.choose(0)
	return s.client(newWire(conn)).put(pair.key[:], pair.value[:])
}

// explain adds what the server says to an error that is its, if it has ended.
func (s *server) explain(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-s.ended:
		return fmt.Errorf("%w; %s has ended: %v\n%s", err, s.name, s.cmd.ProcessState, s.said())
	default:
		return err
	}
}

// said is the end of what it has printed.
func (s *server) said() []byte {
	const most = 2000
	text, err := os.ReadFile(s.log)
	if err != nil {
		return []byte(err.Error())
	}
	return text[max(0, len(text)-most):]
}

// cpu is the processor time that it has used so far.
func (s *server) cpu() (time.Duration, error) { return cpuTime(s.cmd.Process.Pid) }

// kill ends the server and waits for that. What it has stored is of no use any more.
func (s *server) kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.ended
}
