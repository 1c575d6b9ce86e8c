package main_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
)

// mutatingCalls are the system calls by which a server changes its directory or answers a client.
var mutatingCalls = []string{
	"mkdirat", "openat", "write", "ftruncate", "pwrite64", "sync_file_range", "fdatasync", "fsync", "renameat", "unlinkat",
}

const (
	scriptOperations = 60
	missesToEnd      = 3 // runs that no call has ended, after which there is no such call any more
)

// TestKillAtEveryCall runs a script of a creation, 60 operations, two checkpoints and a clean stop over and over, and kills the server on its way into
// the 1st, 2nd, ... call of each kind, of whichever thread makes so many first.
func TestKillAtEveryCall(t *testing.T) {
	if !enginetest.Long() {
		t.Skip("it takes minutes: for SMALLDB_TEST_LONG=1")
	}
	if err := run("strace", "-qq", "-o", "/dev/null", "-e", "inject=fsync:signal=SIGKILL:when=1", "true"); err != nil {
		t.Skipf("no strace that can inject signals here: %v", err)
	}
	seed := enginetest.Seed(t, 60)
	total, kills := tally{}, map[string]int{}
	for i, call := range mutatingCalls {
		for n, misses := 1, 0; misses < missesToEnd; n++ {
			o := newScript(t, rand.New(rand.NewPCG(seed, uint64(1000*i+n))))
			if o.run(call, n) {
				kills[call]++
				misses = 0
			} else {
				misses++
			}
			total.add(o.l.total)
		}
		require.NotZero(t, kills[call], "%s is never called", call)
	}
	t.Logf("killed on the way into: %v; %v", kills, total)
}

// script is an ordeal of one owner who does the same in every run.
type script struct {
	*ordeal
	work *traffic
}

func newScript(t *testing.T, rng *rand.Rand) *script {
	t.Helper()
	parent := ""
	if fileExists("/dev/shm") {
		parent = "/dev/shm"
	}
	dir, err := os.MkdirTemp(parent, "script")
	require.NoError(t, err)
	o := newOrdeal(t, filepath.Join(dir, "data"), 1, rng, func(args ...string) *exec.Cmd {
		cmd, err := childCommand(engine.SyncDsync, smallLogs, args...)
		require.NoError(t, err)
		return cmd
	})
	work := &traffic{l: o.l}
	work.ending.Store(true) // any request may fail
	return &script{o, work}
}

// run runs the script until the n-th call of a thread, and verifies what is there; killed reports whether there was one.
func (o *script) run(call string, n int) (killed bool) {
	o.t.Helper()
	defer func() { require.NoError(o.t, os.RemoveAll(filepath.Dir(o.dir))) }()
	cmd := o.command("-dir", o.dir, "-create")
	inject := fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", call, n)
	// With -D it is the tracer that is the grandchild, and the server that is ours to wait for.
	traced := exec.Command("strace", append([]string{"-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e", inject}, cmd.Args...)...)
	traced.Env = cmd.Env
	s, err := tryCommand(o.t, traced)
	served := err == nil
	if served {
		o.operate(s)
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may be dead
	}
	_ = s.cmd.Wait()
	status := s.cmd.ProcessState.Sys().(syscall.WaitStatus)
	killed = status.Signaled() && status.Signal() == syscall.SIGKILL
	require.True(o.t, killed || status.Exited() && status.ExitStatus() == 0, "%s %d: %v %s", call, n, status, s.stderr)

	var more []string
	if !served {
		more = append(more, "-create")
	}
	again := o.start(more...)
	require.Zero(o.t, again.end(o.t, syscall.SIGTERM), again.stderr)
	return killed
}

// operate does what the script says until the server is dead.
func (o *script) operate(s *server) {
	c, err := newClient(s)
	if err != nil {
		return // it is dead already
	}
	defer c.close()
	w := &worker{t: o.work, c: c, own: o.l.owners[0], rng: o.rng}
	for i := range scriptOperations {
		if i%20 == 10 && c.must("POST", "/v1/checkpoint", nil) != nil || !w.change() {
			break
		}
	}
	require.NoError(o.t, w.fault)
	o.since.add(w.result)
}
