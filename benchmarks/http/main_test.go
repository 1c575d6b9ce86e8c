package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
)

func TestMain(m *testing.M) {
	serveEmptyIfAsked()
	os.Exit(m.Run())
}

func tinyPlan(engines ...string) plan {
	p := quickPlan()
	p.keys, p.connections, p.engines, p.length, p.rounds = 100, []int{1, 4}, engines, 100*time.Millisecond, 1
	return p
}

func diskDirectory(t *testing.T) string {
	dir := t.TempDir()
	if err := benchmarks.CheckDirectory(dir); err != nil {
		t.Skip("the directory for temporary files is not on a disk: ", err)
	}
	return dir
}

// requireClean: a run has left neither data nor processes.
func requireClean(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "the data was not removed")
	names, err := filepath.Glob("/proc/[0-9]*/stat") // none where there is no /proc
	require.NoError(t, err)
	parent := []byte(strconv.Itoa(os.Getpid()))
	for _, name := range names {
		text, _ := os.ReadFile(name) // it may have ended
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(fields) > 1 && bytes.Equal(fields[1], parent) {
			assert.Fail(t, "a process is left", "%s", text)
		}
	}
}

// TestRun measures everything that is installed here, and takes every ratio of it.
func TestRun(t *testing.T) {
	dir := diskDirectory(t)
	p := tinyPlan()
	p.connections = []int{4, goalConnections}
	results, err := measure(context.Background(), p, dir)
	require.NoError(t, err)
	requireClean(t, dir)
	rows := map[string]float64{}
	for _, row := range results.Rows {
		assert.NotContains(t, rows, row.Workload+"/"+row.Engine)
		rows[row.Workload+"/"+row.Engine] = row.Value
		assert.Positive(t, row.Value, "%s of %s", row.Workload, row.Engine)
	}
	kinds := []string{"GET", "PUT"}
	figures := []string{"%s, connections 4", "%s, connections 64", "%s latency, connections 4, p50", "%s latency, connections 64, p99.9"}
	if runtime.GOOS == "linux" {
		figures = append(figures, "%s CPU, connections 4", "%s CPU, connections 64")
	}
	wanted := map[string]string{getCPU: emptyName, putVsRedis: redisName, putVsEtcd: etcdName}
	for _, e := range results.Engines {
		if e.Missing != "" {
			t.Logf("%s is not tested: %s", e.Name, e.Missing)
			delete(wanted, map[string]string{redisName: putVsRedis, etcdName: putVsEtcd}[e.Name])
			continue
		}
		for _, kind := range kinds {
			for _, figure := range figures {
				assert.Contains(t, rows, string(bytes.Replace([]byte(figure), []byte("%s"), []byte(kind), 1))+"/"+e.Name)
			}
		}
	}
	if runtime.GOOS != "linux" {
		delete(wanted, getCPU)
	}
	for ratio := range wanted {
		assert.Positive(t, results.Ratios[ratio], ratio)
	}
	if runtime.GOOS == "linux" {
		assert.Len(t, results.Notes, len(kinds)*len(p.connections))
	}
	t.Logf("%d rows, ratios %v", len(results.Rows), results.Ratios)
	checkFiles(t, results)
}

// checkFiles: what is written holds what was measured.
func checkFiles(t *testing.T, results *report.Results) {
	dir := t.TempDir()
	out := outputs{json: filepath.Join(dir, "j"), svg: filepath.Join(dir, "s"), markdown: filepath.Join(dir, "m")}
	require.NoError(t, out.write(results))
	text, err := os.ReadFile(out.json)
	require.NoError(t, err)
	var document struct {
		Rows   []report.Row
		Ratios map[string]*float64
	}
	require.NoError(t, json.Unmarshal(text, &document))
	require.Equal(t, results.Rows, document.Rows)
	require.Len(t, document.Ratios, len(report.Goals))
	page, err := os.ReadFile(out.markdown)
	require.NoError(t, err)
	require.Contains(t, string(page), "(s/get-latency.svg)")
}

// TestMissing: what is not installed is named, and the rest is measured.
func TestMissing(t *testing.T) {
	dir := diskDirectory(t)
	tool, err := exec.LookPath("go")
	require.NoError(t, err)
	bin := t.TempDir()
	require.NoError(t, os.Symlink(tool, filepath.Join(bin, "go")))
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	t.Setenv("GOROOT", string(bytes.TrimSpace(goroot)))
	t.Setenv("PATH", bin)
	p := tinyPlan()
	p.connections, p.length = []int{1}, time.Millisecond
	results, err := measure(context.Background(), p, dir)
	require.NoError(t, err)
	requireClean(t, dir)
	var table bytes.Buffer
	require.NoError(t, results.WriteTable(&table))
	require.Contains(t, table.String(), "not measured: redis: ")
	require.Contains(t, table.String(), "not measured: etcd: ")
	require.NotContains(t, results.Ratios, putVsRedis)
}

func TestRefusals(t *testing.T) {
	dir := diskDirectory(t)
	_, err := measure(context.Background(), tinyPlan("none"), dir)
	require.ErrorContains(t, err, "none")
	if runtime.GOOS == "linux" {
		_, err = measure(context.Background(), tinyPlan(), "/dev/shm")
		require.ErrorContains(t, err, "in memory")
	}
	for _, bad := range []string{"", "0", "1,", "x", "1025", "-1"} {
		_, err := numbers(bad)
		require.Error(t, err, bad)
	}
	all, err := numbers("1,16")
	require.NoError(t, err)
	require.Equal(t, []int{1, 16}, all)
}

// TestInterrupt: a run that is ended while it measures leaves neither data nor processes.
func TestInterrupt(t *testing.T) {
	dir := diskDirectory(t)
	ctx, cancel := context.WithCancel(context.Background())
	p := tinyPlan(emptyName)
	p.connections, p.length, p.rounds = []int{4}, 10*time.Millisecond, 1<<30
	go func() {
		defer cancel()
		for logs := []string(nil); len(logs) == 0; logs, _ = filepath.Glob(filepath.Join(dir, "*", emptyName+".log")) {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond) // it may be loading or measuring
	}()
	_, err := measure(ctx, p, dir)
	require.ErrorIs(t, err, context.Canceled)
	requireClean(t, dir)
}

// TestServerThatEnds: an error of a server that has ended says what that printed.
func TestServerThatEnds(t *testing.T) {
	dir := t.TempDir()
	c := emptyContender()
	c.command = func(_, _, addr string) (*exec.Cmd, error) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), askedEmpty+"=nowhere:"+addr)
		return cmd, nil
	}
	s, err := c.start("", dir)
	require.NoError(t, err)
	defer s.kill()
	err = s.wait(context.Background(), time.Minute)
	require.ErrorContains(t, err, emptyName+" has ended: exit status 1")
	require.ErrorContains(t, err, "too many colons")
}

// TestProcessClock: the clock that is read from outside is never ahead of what the process has used when it has ended, and it moves.
func TestProcessClock(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells the processor time of another process")
	}
	s, err := emptyContender().start("", t.TempDir())
	require.NoError(t, err)
	defer s.kill()
	require.NoError(t, s.wait(context.Background(), time.Minute))
	b := &bench{plan: tinyPlan(), ctx: context.Background()}
	started, err := s.cpu()
	require.NoError(t, err)
	require.Positive(t, started)
	r, err := b.turn(s, getOperation, 4, 100*time.Millisecond)
	require.NoError(t, err)
	require.Positive(t, r.serverCPU)
	now, err := s.cpu()
	require.NoError(t, err)
	require.GreaterOrEqual(t, now, started+r.serverCPU)
	s.kill()
	usage := s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime()
	t.Logf("%d requests, %v by the clock, %v by getrusage", r.Ops, now, usage)
	require.LessOrEqual(t, now, usage+2*time.Microsecond) // which getrusage rounds off
	_, err = s.cpu()
	require.Error(t, err, "it has ended")
}
