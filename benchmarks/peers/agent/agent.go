// Package agent measures each rival in a process of its own, so that no rival has another one's heap, garbage and goroutines beside it, its
// memory and its writes to the disk can be told from others', and it can be killed. The measuring process sends requests, one at a time.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// asked is the variable that makes a program an agent.
const asked = "SMALLDB_PEERS_AGENT"

// Agent is the other process. It is used by one goroutine.
type Agent struct {
	Name string // of the rival, once it is open
	// Patience is how much longer than asked for a request may take before the agent is killed. Default: for ever.
	Patience time.Duration

	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *os.File
	encoder *json.Encoder
	decoder *json.Decoder
}

// Start starts this program again, as an agent; its main must call ServeIfAsked. It is killed when ctx ends.
func Start(ctx context.Context) (*Agent, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	out, replies, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer replies.Close()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), asked+"=1")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr // what a rival prints
	cmd.ExtraFiles = []*os.File{replies}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return &Agent{cmd: cmd, in: in, out: out, encoder: json.NewEncoder(in), decoder: json.NewDecoder(out)}, nil
}

// Do sends a request and returns its reply. After an error only Kill makes sense.
func (a *Agent) Do(r Request) (*Reply, error) {
	if r.Do == Open {
		a.Name = r.Rival
	}
	defer a.watch(r)()
	if err := a.encoder.Encode(r); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", a.Name, r.Do, err)
	}
	reply := new(Reply)
	if err := a.decoder.Decode(reply); err != nil {
		return nil, fmt.Errorf("%s: %s: no reply: %w", a.Name, r.Do, err)
	}
	if reply.Error != "" {
		return nil, fmt.Errorf("%s: %s: %s", a.Name, r.Do, reply.Error)
	}
	return reply, nil
}

// watch kills the agent if it does not reply; the function that it returns ends that.
func (a *Agent) watch(r Request) (end func()) {
	if a.Patience == 0 {
		return func() {}
	}
	longest := r.For
	if r.Do == Pace {
		longest = (1 + paceMaxBehind) * paceTime(&r)
	}
	timer := time.AfterFunc(longest+a.Patience, func() {
		fmt.Fprintf(os.Stderr, "%s: %s: no reply in %s, killed\n", a.Name, r.Do, longest+a.Patience)
		_ = a.cmd.Process.Kill() // it may have ended
	})
	return func() { timer.Stop() }
}

// Close closes the store and ends the process.
func (a *Agent) Close() (*Reply, error) {
	reply, err := a.Do(Request{Do: Close, Weigh: true})
	return reply, errors.Join(err, a.end())
}

func (a *Agent) end() error {
	return errors.Join(a.in.Close(), a.cmd.Wait(), a.out.Close())
}

// Kill kills the process and waits for its end, so that nobody has its files open. It may be called after Close.
func (a *Agent) Kill() {
	_ = a.cmd.Process.Kill() // it may have ended
	_ = a.end()
}
