package main_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
)

// powerSupply is a file system, and the server that runs on it.
type powerSupply struct {
	kind    string
	options string // of the mount
	binary  bool   // the built server; otherwise a child with small logs, which rotates more often
	sync    engine.SyncMode
	cuts    int // ordinarily
}

// logBytes is the size of a child's logs.
func (s powerSupply) logBytes() int64 {
	if s.sync == engine.SyncNone {
		return 4 * smallLogs
	}
	return smallLogs
}

// longCuts is how often the power of each supply is cut in the longer variant.
const longCuts = 25

var powerSupplies = []powerSupply{
	{kind: "ext4", options: "data=ordered,commit=5", cuts: 10},
	{kind: "ext4", options: "data=writeback,commit=1", cuts: 4, sync: engine.SyncData},
	{kind: "ext4", options: "data=ordered,commit=1000", cuts: 4, binary: true},
	{kind: "xfs", cuts: 4},
	{kind: "ext4", options: "data=ordered,commit=1"},
	{kind: "ext4", options: "data=writeback,commit=5"},
	{kind: "ext4", options: "data=writeback,commit=1000"},
	{kind: "ext4", options: "data=journal,commit=5"},
	{kind: "ext4", options: "data=writeback,commit=5", binary: true},
	{kind: "xfs", binary: true},
}

// Sizes of the file systems, whose files are sparse.
const (
	smallDisk   = 64 << 20
	largeDisk   = 512 << 20
	smallestXFS = 320 << 20
	smallLogs   = 256 << 10

	minAcknowledged = 10 // writes, before a power cut under load

	sightTimeout = 100 * time.Millisecond // after which the power is cut although the moment has not come
)

// cutMoments are those at which the power is cut, in turn.
var cutMoments = []string{"load", "checkpoint", "recovery", "creation", "rotation"}

// TestPowerCut cuts the power of a file system of its own while the server is being written to, writes a checkpoint, rotates its
// log, recovers from the cut before, or makes a new database, and holds that everything acknowledged or read is there when the power has
// come back and the journal was replayed, and nothing half. The process that sees the cut must live until it is killed, answer reads rightly,
// and acknowledge nothing more that is lost.
func TestPowerCut(t *testing.T) {
	privateMounts(t)
	seed := enginetest.Seed(t, 88)
	total, works := 0, map[string]bool{}
	for i, supply := range powerSupplies {
		cuts := enginetest.Times(supply.cuts, longCuts)
		if cuts == 0 {
			continue
		}
		c, err := newCutting(t, supply, rand.New(rand.NewPCG(seed, uint64(i))))
		if err != nil && !works[supply.kind] {
			t.Logf("%v: no cuts here: %v", supply, err)
			continue
		}
		require.NoError(t, err)
		works[supply.kind] = true
		c.endure(cuts)
		c.disk.remove()
		total += c.kills
		t.Logf("%v: %d cuts, of which met: %v; %v", supply, c.kills, c.met, c.l.total)
	}
	if total == 0 {
		t.Skip("no file system whose power can be cut could be made; the reasons are above")
	}
	require.GreaterOrEqual(t, total, 3)
	if works["ext4"] {
		require.GreaterOrEqual(t, total, enginetest.Times(18, 8*longCuts))
	}
}

// TestPowerCutWithoutSync makes sure that TestPowerCut can fail: the same cuts lose acknowledged writes if nothing waits for the disk.
func TestPowerCutWithoutSync(t *testing.T) {
	privateMounts(t)
	seed := enginetest.Seed(t, 888)
	supply := powerSupply{kind: "ext4", options: "data=ordered,commit=5", sync: engine.SyncNone}
	c, err := newCutting(t, supply, rand.New(rand.NewPCG(seed, 0)))
	if err != nil {
		t.Skipf("no file system whose power can be cut could be made: %v", err)
	}
	c.mayLose, c.updates = true, []string{"0"} // no checkpoint, and so no log that is synced because another follows
	c.create()
	cuts := enginetest.Times(3, longCuts)
	for range cuts {
		c.cutLoad("load", cutAtOnce, 0)
	}
	c.end(c.start())
	t.Logf("%d cuts without syncs: %d acknowledged writes lost; %v", cuts, c.l.total.lost, c.l.total)
	require.Positive(t, c.l.total.lost, "no cut has lost anything: neither would they find a sync that is missing")
}

// cutting is an ordeal on a disk of its own.
type cutting struct {
	*ordeal
	disk *disk
}

// newCutting makes the disk, and cuts its power once to see that it can be.
func newCutting(t *testing.T, supply powerSupply, rng *rand.Rand) (*cutting, error) {
	t.Helper()
	size, dir := int64(smallDisk), ""
	switch {
	case supply.binary:
		size = largeDisk
	case supply.kind == "xfs":
		size = smallestXFS
	case fileExists("/dev/shm"):
		dir = "/dev/shm"
	}
	dir, err := os.MkdirTemp(dir, "powercut")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d, err := newDisk(t, dir, supply.kind, supply.options, size)
	if err != nil {
		return nil, err
	}
	if err := d.cut(cutAtOnce); err != nil {
		return nil, fmt.Errorf("the ioctl that cuts the power: %w", err)
	}
	d.again()
	o := newOrdeal(t, filepath.Join(d.point, "data"), mostOwners, rng, func(args ...string) *exec.Cmd {
		cmd := command(args...)
		if !supply.binary {
			cmd, err = childCommand(supply.sync, supply.logBytes(), args...)
			require.NoError(t, err)
		}
		// It has the test's mounts, and must not outlive the thread to which they belong.
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		return cmd
	})
	return &cutting{o, d}, nil
}

// endure goes through so many cuts and ends with a clean stop.
func (c *cutting) endure(cuts int) {
	c.t.Helper()
	c.create()
	for i := 0; i < cuts || c.missing(cuts) != ""; i++ {
		moment := cutMoments[i%len(cutMoments)]
		if i >= cuts {
			moment = c.missing(cuts)
		}
		require.Less(c.t, i, maxExtraKills*cuts, "never met: %s", moment)
		switch moment {
		case "creation":
			c.cutCreation()
		case "recovery":
			c.cutRecovery()
		default:
			c.cutLoad(moment, c.mode(), c.delay())
		}
	}
	c.end(c.start())
	c.end(c.start())
	c.check()
	require.GreaterOrEqual(c.t, c.kills, cuts)
}

// missing is a moment that no cut has met, where there were enough to meet all; "" if there is none.
func (c *cutting) missing(cuts int) string {
	for _, moment := range cutMoments {
		if c.met[moment] == 0 && cuts >= 2*len(cutMoments) {
			return moment
		}
	}
	return ""
}

func (c *cutting) create() {
	c.t.Helper()
	c.end(c.start("-create"))
}

// end asks a server to stop.
func (c *cutting) end(s *server) {
	c.t.Helper()
	require.Zero(c.t, s.end(c.t, syscall.SIGTERM), s.stderr)
}

// mode draws how the power is cut.
func (c *cutting) mode() cutMode {
	return []cutMode{cutAtOnce, cutAtOnce, cutAtOnce, cutAfterJournal, cutAfterSync}[c.rng.IntN(5)]
}

// cutLoad cuts the power while owners are at work, when the moment has come or seems not to come.
func (c *cutting) cutLoad(moment string, mode cutMode, delay time.Duration) {
	c.t.Helper()
	s := c.start()
	work := startTraffic(c.t, c.l, s, fewestOwners+c.rng.IntN(mostOwners-fewestOwners+1), c.rng)
	work.await(c.t, minAcknowledged)
	time.Sleep(delay)
	for started := time.Now(); moment != "load" && !seen(c.dir, moment) && time.Since(started) < sightTimeout; { // without a pause, for some moments are short
	}
	work.ending.Store(true)
	c.note("load", c.cut(c.dir, mode))
	done, err := work.wait()
	require.NoError(c.t, err)
	c.since.add(done)
	if work.red() {
		status, answer := s.request(c.t, "GET", "/v1/health", "")
		require.Equal(c.t, http.StatusServiceUnavailable, status, answer)
	}
	require.NoError(c.t, s.cmd.Process.Kill(), "it has ended by itself: %s", s.stderr)
	require.Equal(c.t, -1, s.wait(c.t), s.stderr)
	require.Equal(c.t, syscall.SIGKILL, s.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal(), s.stderr)
	c.disk.again()
}

// cutRecovery cuts the power while a server starts.
func (c *cutting) cutRecovery() {
	c.t.Helper()
	if served, sights := c.launchAndCut(c.dir, c.arguments()); served {
		c.note("start", sights)
	} else {
		c.note("recovery", sights)
	}
	c.disk.again()
}

// cutCreation cuts the power while a database is made beside the other. What was served must be there; what was not can be made.
func (c *cutting) cutCreation() {
	c.t.Helper()
	dir := filepath.Join(c.disk.point, fmt.Sprintf("creation-%d", c.kills))
	arguments := []string{"-dir", dir}
	if served, sights := c.launchAndCut(dir, append(arguments, "-create")); served {
		c.note("created", sights)
	} else {
		c.note("creation", nil) // which makes the files that the others switch
		arguments = append(arguments, "-create")
	}
	c.disk.again()
	for _, keys := range []string{"0", "1"} {
		s := startCommand(c.t, c.command(arguments...))
		require.Equal(c.t, keys, s.field("keys"), s.intro)
		s.put(c.t, "k", "v")
		c.end(s)
	}
	require.NoError(c.t, os.RemoveAll(dir))
}

// launchAndCut starts a server, and cuts the power before it serves, or just after; it reports which, and what cut reports. The process may have
// ended with an error by then.
func (c *cutting) launchAndCut(dir string, arguments []string) (served bool, sights []string) {
	c.t.Helper()
	p := launch(c.t, c.command(arguments...))
	p.untilLocked(c.t, dir)
	time.Sleep(c.moment())
	sights = c.cut(dir, c.mode())
	p.kill()
	require.NotContains(c.t, p.stderr.String(), "goroutine ", "it has panicked")
	return p.served(), sights
}

// cut cuts the power and says what was being done with the files in dir then, or just before if the directory cannot be read any more.
func (c *cutting) cut(dir string, mode cutMode) []string {
	c.t.Helper()
	before := sights(dir)
	require.NoError(c.t, c.disk.cut(mode))
	if _, err := os.ReadDir(dir); err != nil {
		return before
	}
	return sights(dir)
}
