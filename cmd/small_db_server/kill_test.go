package main_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
)

// Who writes in the tests that end the server by force.
const (
	fewestOwners  = 4
	mostOwners    = 16
	keysPerOwner  = 12
	minDelay      = 5 * time.Millisecond // from the begin of a load to its end
	maxDelay      = 500 * time.Millisecond
	checkEvery    = 10 // kills, after which the directory is checked as the kill has left it
	maxExtraKills = 3  // times as many as were asked for, until each kind of kill was seen
)

// TestKill kills the built server, again and again over one directory: under the load of 4 to 16 clients, while it closes, and while it
// recovers from the kill before. Whenever it serves again, every key must have the last acknowledged value or the one that was on its
// way, nothing that was read may be lost, and the sequence must count exactly what took place.
func TestKill(t *testing.T) {
	seed := enginetest.Seed(t, 8)
	o := newOrdeal(t, newDir(t), mostOwners, rand.New(rand.NewPCG(seed, 0)), command)
	wanted := enginetest.Times(30, 10_000)
	s := o.start("-create")
	for o.kills < wanted || o.met["recovery"] == 0 || o.met["checkpoint"] == 0 {
		require.Less(t, o.kills, maxExtraKills*wanted, "what the kills met: %v", o.met)
		o.kill(s)
		for o.rng.IntN(3) == 0 {
			o.killStart()
		}
		if o.kills/checkEvery > o.checks {
			o.check()
		}
		s = o.start()
	}
	require.Equal(t, 0, s.end(t, syscall.SIGTERM), s.stderr)
	s = o.start()
	require.Contains(t, s.field("recovery"), "after a clean close")
	require.Equal(t, 0, s.end(t, syscall.SIGTERM), s.stderr)
	o.check()
	t.Logf("%d kills, of which met: %v; %v; %d checks of the directory", o.kills, o.met, o.l.total, o.checks)
	require.GreaterOrEqual(t, o.kills, wanted)
	require.Positive(t, o.l.total.unknown, "no kill met a write")
	require.Positive(t, o.l.total.reads)
}

// ordeal is a directory whose servers are ended by force, and what it must hold all the same.
type ordeal struct {
	t         *testing.T
	dir       string
	command   func(args ...string) *exec.Cmd
	l         *ledger
	rng       *rand.Rand
	updates   []string      // from one checkpoint to the next; drawn for each server
	since     tally         // what was done since the last verification
	startTook time.Duration // of the last server that served
	mayLose   bool          // what is wrong is counted and forgiven
	kills     int
	checks    int            // of the directory
	met       map[string]int // what was going on at a kill: how often
}

// newOrdeal is one for so many owners. Its servers are started by command, and write checkpoints often.
func newOrdeal(t *testing.T, dir string, owners int, rng *rand.Rand, command func(args ...string) *exec.Cmd) *ordeal {
	return &ordeal{
		t: t, dir: dir, command: command, l: newLedger(owners, keysPerOwner), rng: rng, updates: []string{"20", "100", "500"}, met: map[string]int{},
	}
}

// arguments are those of the next server.
func (o *ordeal) arguments(more ...string) []string {
	return append([]string{"-dir", o.dir, "-checkpoint-updates", o.updates[o.rng.IntN(len(o.updates))]}, more...)
}

// start starts a server and compares what it has recovered with what is known.
func (o *ordeal) start(more ...string) *server {
	o.t.Helper()
	started := time.Now()
	s := startCommand(o.t, o.command(o.arguments(more...)...))
	o.startTook = time.Since(started)
	_, wrong := o.l.verify(o.t, s, o.since)
	if !o.mayLose {
		require.Zero(o.t, len(wrong), "after %d kills, %v: %s\n%s", o.kills, o.met, few(wrong, 10), s.intro)
	}
	o.since = tally{}
	return s
}

// kill sets owners to work and kills the server at a point that a delay chooses. One of five is asked to stop just before.
func (o *ordeal) kill(s *server) {
	o.t.Helper()
	work := startTraffic(o.t, o.l, s, fewestOwners+o.rng.IntN(mostOwners-fewestOwners+1), o.rng)
	time.Sleep(o.delay())
	work.ending.Store(true)
	closing := o.rng.IntN(5) == 0
	if closing {
		require.NoError(o.t, s.cmd.Process.Signal(syscall.SIGTERM))
		time.Sleep(time.Duration(o.rng.Int64N(int64(5 * time.Millisecond))))
	}
	_ = s.cmd.Process.Kill() // it may have closed already
	done, err := work.wait()
	require.NoError(o.t, err)
	o.since.add(done)
	status := s.wait(o.t)
	require.NotRegexp(o.t, "level=(WARN|ERROR)", s.stderr.String())
	switch {
	case status == -1 && closing:
		o.note("close", sights(o.dir))
	case status == -1:
		o.note("load", sights(o.dir))
	default:
		require.True(o.t, closing, "it has ended by itself: %d %s", status, s.stderr)
		require.Zero(o.t, status, s.stderr)
	}
}

// delay is drawn so that short ones are as likely as long ones.
func (o *ordeal) delay() time.Duration {
	return time.Duration(float64(minDelay) * math.Exp(o.rng.Float64()*math.Log(float64(maxDelay)/float64(minDelay))))
}

// killStart starts a server and kills it before, or just after, it serves.
func (o *ordeal) killStart() {
	o.t.Helper()
	p := launch(o.t, o.command(o.arguments()...))
	p.untilLocked(o.t, o.dir)
	time.Sleep(o.moment())
	require.Equal(o.t, syscall.SIGKILL, p.kill(), p.stderr)
	if p.served() {
		o.note("start", sights(o.dir))
	} else {
		o.note("recovery", sights(o.dir))
	}
}

// moment is a time within that which a start takes, more often an early one.
func (o *ordeal) moment() time.Duration {
	part := o.rng.Float64()
	return time.Duration(part * part * part * float64(o.startTook))
}

// note counts a kill by the server's work, and by what it was doing with its files.
func (o *ordeal) note(what string, sights []string) {
	o.kills++
	for _, met := range append(sights, what) {
		o.met[met]++
	}
}

// sightPatterns are the files that show what a server is, or was, doing.
var sightPatterns = map[string]string{
	"checkpoint": "checkpoint.*" + format.TempSuffix,
	"switch":     format.NewVersionName + "*",
	"rotation":   "logfile" + format.TempSuffix,
	"spare":      format.SpareName + format.TempSuffix,
}

// seen reports whether the files in dir show this sight.
func seen(dir, sight string) bool {
	names, err := filepath.Glob(filepath.Join(dir, sightPatterns[sight]))
	return err == nil && len(names) > 0
}

// sights are all that the files in dir show.
func sights(dir string) (found []string) {
	for sight := range sightPatterns {
		if seen(dir, sight) {
			found = append(found, sight)
		}
	}
	return found
}

// check runs smalldb check on the directory, which no server has open.
func (o *ordeal) check() {
	o.t.Helper()
	o.checks++
	tool := filepath.Join(filepath.Dir(binary), "smalldb")
	if _, err := os.Stat(tool); err != nil {
		out, err := exec.Command("go", "build", "-o", tool, "../smalldb").CombinedOutput()
		require.NoError(o.t, err, "%s", out)
	}
	out, err := exec.Command(tool, "check", o.dir).CombinedOutput()
	require.NoError(o.t, err, "after %d kills: %s", o.kills, out)
}

// process is a server that may be ended before it serves.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer // to be read after kill
}

// launch starts a command and does not wait for it.
func launch(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd}
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return p
}

// untilLocked waits until the process has the directory, which is when it begins to create or recover.
func (p *process) untilLocked(t *testing.T, dir string) {
	t.Helper()
	mark := fmt.Appendf(nil, "pid %d,", p.cmd.Process.Pid)
	for started := time.Now(); ; time.Sleep(50 * time.Microsecond) {
		text, err := os.ReadFile(filepath.Join(dir, format.LockName))
		if err == nil && bytes.HasPrefix(text, mark) {
			return
		}
		require.Less(t, time.Since(started), time.Minute, "%s is not locked", dir)
	}
}

// kill returns the signal that has ended the process; -1 if none has.
func (p *process) kill() syscall.Signal {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal()
}

// served reports whether it came to that.
func (p *process) served() bool { return strings.Contains(p.stdout.String(), "  address ") }
