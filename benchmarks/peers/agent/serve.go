package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
	"github.com/tongpengdl/small-db/engine"
)

// ServeIfAsked makes this process an agent if it was started as one. Then it does not return.
func ServeIfAsked() {
	if os.Getenv(asked) == "" {
		return
	}
	s := new(server)
	if err := s.serve(os.Stdin, os.NewFile(3, "replies")); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// server is the agent's side. One request is done at a time.
type server struct {
	rival *rival.Rival
	dir   string
	store rival.Store // nil before it was opened, and after it was closed

	cached time.Time // when all files of the store were read last

	emptyResident, emptyObjects, emptyHeap int64 // of this process before it opened the store
	zipf                                   *Zipf // of the last mix
	inserted                               uint64
	held                                   *engine.Snapshot
}

func (s *server) serve(in io.Reader, out io.Writer) error {
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var request Request
		if err := decoder.Decode(&request); err != nil {
			if errors.Is(err, io.EOF) { // who asked has ended
				return nil
			}
			return err
		}
		reply := new(Reply)
		if err := s.weigh(&request, reply); err != nil {
			reply.Error = err.Error()
		}
		if err := encoder.Encode(reply); err != nil {
			return err
		}
	}
}

// weigh does what is asked for, and counts what is written to the disk for it, if that is wanted. Others wait meanwhile, so what the
// disk was given is of this store.
func (s *server) weigh(r *Request, reply *Reply) error {
	if r.Dir != "" {
		s.dir = r.Dir
	}
	if !r.Weigh {
		return s.do(r, reply)
	}
	settle(s.dir)
	before := diskWritten(s.dir)
	err := s.do(r, reply)
	flush(s.dir)
	reply.Written = diskWritten(s.dir) - before
	return err
}

func (s *server) do(r *Request, reply *Reply) error {
	works := map[string]func(*Request, *Reply) error{
		Open: s.open, Reopen: s.reopen, Load: s.load, Compact: s.compact, Fill: s.fill, Set: s.set, Get: s.get, Scan: s.scan,
		Mix: s.mix, Pace: s.pace, Memory: s.memory, Close: s.close, Walk: s.walk, Grow: s.grow, Delete: s.delete, Hold: s.hold, Recall: s.recall,
		Release: s.release,
	}
	work, ok := works[r.Do]
	if !ok {
		return fmt.Errorf("no work is called %q", r.Do)
	}
	if (s.store == nil) != (r.Do == Open || r.Do == Reopen) {
		return errors.New("the store must be open, but for opening it")
	}
	if r.Warm {
		if err := s.cacheFiles(); err != nil {
			return err
		}
	}
	return work(r, reply)
}

// pids are the processes that work for the rival.
func (s *server) pids() []int {
	pids := []int{os.Getpid()}
	if served, ok := s.store.(rival.Server); ok {
		pids = append(pids, served.Pid())
	}
	return pids
}

// close closes the store. What it has written counts, but not that of a server, which has ended.
func (s *server) close(*Request, *Reply) error {
	err := s.store.Close()
	s.store = nil
	return err
}

func (s *server) compact(_ *Request, reply *Reply) (err error) {
	started := time.Now()
	if c, ok := s.store.(rival.Compactor); ok {
		err = c.Compact()
	}
	reply.Took = time.Since(started)
	if err == nil {
		reply.Base, err = checkpointBytes(s.dir)
	}
	return err
}
