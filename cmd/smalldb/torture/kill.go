package torture

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// victim is a directory in which one child after the other is killed.
type victim struct {
	dir   string
	model *model
}

// Times of a child.
const (
	earlyKill  = 20 * time.Millisecond // after it was started: while it opens, mostly
	lateKill   = 80 * time.Millisecond
	openWithin = time.Minute
)

// kill is a cycle: a child works, perhaps on a failing disk, and is killed; what it leaves is judged.
func (r *run) kill(faulty bool) error {
	if r.rng.IntN(12) == 0 { // begin anew: creation must stand it, too
		if err := os.RemoveAll(r.victim.dir); err != nil {
			return err
		}
		r.victim.model = newModel()
	}
	l := r.newLife(r.victim.dir)
	if faulty {
		l.Faults = drawFaults(r.rng)
	}
	t, err := r.live(l)
	r.evidence = evidence{Life: l, Events: t.events}
	if err != nil {
		return err
	}
	r.tally(t, faulty)
	for _, e := range t.events {
		if err := r.victim.model.note(e); err != nil {
			return err
		}
	}
	if t.died != nil {
		return t.died
	}
	if err := r.judgeVictim(l); err != nil || faulty {
		return err
	}
	return diskFailure(t.events)
}

// newLife draws a life.
func (r *run) newLife(dir string) *life {
	r.lives++
	return &life{
		Dir: dir, Number: r.lives, Seed: r.rng.Uint64(), Clients: r.opts.Clients, ValueBytes: r.opts.ValueBytes,
		LogFileBytes: 64 << 10 << r.rng.IntN(4), CheckpointUpdates: uint64(200 + r.rng.IntN(2000)),
		SyncData: r.rng.IntN(4) == 0,
	}
}

// told is what a child has told, and how it ended.
type told struct {
	events []event
	opened bool
	killed bool
	died   error // why it ended by itself, or did not come to anything
}

// live starts a child and kills it.
func (r *run) live(l *life) (*told, error) {
	cmd, err := r.opts.Child()
	if err != nil {
		return &told{}, err
	}
	order, err := json.Marshal(l)
	if err != nil {
		return &told{}, err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt from the terminal is not for it
	stdin, inErr := cmd.StdinPipe()
	stdout, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		return &told{}, err
	}
	if err := cmd.Start(); err != nil {
		return &told{}, fmt.Errorf("start the process that is to be killed: %w", err)
	}
	if _, err := stdin.Write(order); err != nil && !errors.Is(err, syscall.EPIPE) {
		return &told{}, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	t := r.follow(cmd, stdout)
	_ = cmd.Wait() // how it ended is looked at below
	t.judgeEnd(cmd.ProcessState, stderr.String())
	return t, nil
}

// follow listens to a child and kills it when its time has come.
func (r *run) follow(cmd *exec.Cmd, stdout io.Reader) *told {
	early, after := r.rng.IntN(4) == 0, time.Duration(r.rng.Int64N(int64(lateKill)))
	t := &told{}
	isOpen, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		listen(stdout, func(e event) {
			if t.events = append(t.events, e); e.Kind == opened {
				t.opened = true
				close(isOpen)
			}
		})
	}()
	if early {
		after = time.Duration(r.rng.Int64N(int64(earlyKill)))
	} else {
		select {
		case <-isOpen:
		case <-ended:
		case <-time.After(openWithin):
			t.died = fmt.Errorf("the database did not open within %v", openWithin)
		}
	}
	select {
	case <-time.After(after):
	case <-ended:
	}
	_ = cmd.Process.Kill() // it may have ended
	<-ended
	return t
}

// judgeEnd looks at how a child ended. It may end by itself, in order, when nothing can be written any more.
func (t *told) judgeEnd(state *os.ProcessState, stderr string) {
	status, ok := state.Sys().(syscall.WaitStatus)
	t.killed = ok && status.Signaled() && status.Signal() == syscall.SIGKILL
	if t.killed || state.Success() {
		return
	}
	stderr = stderr[:min(len(stderr), 2000)]
	t.died = violated("the process ended by itself: %v: %s", state, strings.TrimSpace(stderr))
}

// tally counts what a life came to.
func (r *run) tally(t *told, faulty bool) {
	if t.killed && !faulty {
		r.result.Kills++
		if !t.opened {
			r.result.KillsInOpen++
		}
	}
	r.count(t.events)
}

// judgeVictim opens what a child has left and judges it. By a coin that is done to a copy: then the next child has to recover it as well.
func (r *run) judgeVictim(l *life) error {
	dir, left := r.victim.dir, filepath.Join(r.dir, "left-by-the-child")
	if err := os.RemoveAll(left); err != nil {
		return err
	}
	if _, err := os.Stat(dir); err == nil { // else it was killed before it began
		if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
			return err
		}
		if r.rng.IntN(2) == 0 {
			dir = left
		}
	}
	s, err := r.open(l.options(dir))
	if err != nil {
		return undamaged("what the process left does not open", err)
	}
	st, f, err := verify(s, r.victim.model)
	if err != nil {
		_ = s.Close()
		return err
	}
	r.found(f)
	r.victim.model = settled(st)
	if err := s.Close(); err != nil {
		return undamaged("what the process left does not close", err)
	}
	r.checked()
	return os.RemoveAll(left)
}
