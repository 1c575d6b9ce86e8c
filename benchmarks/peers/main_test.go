package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

func TestMain(m *testing.M) {
	agent.ServeIfAsked()
	os.Exit(m.Run())
}

const moment = 5 * time.Millisecond

func tinyPlan() plan {
	p := quickPlan()
	p.keys, p.large, p.rate = 2000, 3000, 500
	p.set, p.get, p.mix, p.pace = moment, moment, moment, moment
	p.opens, p.pacePairs, p.rounds, p.fillTime, p.freeNeeded = 2, 1, 2, moment, 1<<30
	return p
}

func diskDirectory(t *testing.T) string {
	dir := t.TempDir()
	if err := benchmarks.CheckDirectory(dir); err != nil {
		t.Skip("the directory for temporary files is not on a disk: ", err)
	}
	return dir
}

// TestRun runs every section, and takes every ratio.
func TestRun(t *testing.T) {
	dir := diskDirectory(t)
	engines := []string{pebbleName, lmdbName, mapName, writeLoopName, groupLoopName}
	results, err := measure(context.Background(), tinyPlan(), dir, nil, engines)
	require.NoError(t, err)
	lmdb, err := rival.Find(lmdbName)
	require.NoError(t, err)
	for _, goal := range report.Goals {
		if goal.Name == "get_2_vs_lmdb" && lmdb.Missing() != nil {
			t.Logf("%s is not tested: %v", goal.Name, lmdb.Missing())
			continue
		}
		assert.Contains(t, results.Ratios, goal.Name)
	}
	seen := map[string]bool{}
	for _, row := range results.Rows {
		assert.False(t, seen[row.Workload+"/"+row.Engine], "%s of %s twice", row.Workload, row.Engine)
		seen[row.Workload+"/"+row.Engine] = true
		assert.NotEmpty(t, row.Unit)
	}
	for _, name := range []string{"durable set, writers 256", "get, 2 k keys, readers 2", "scan, 100 keys", "YCSB, E", "open, 2 k keys, after a kill and 2 k sets"} {
		assert.True(t, seen[name+"/"+rival.Ours], name)
		assert.True(t, seen[name+"/"+pebbleName], name)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "the data was not removed")
	out := outputs{json: filepath.Join(dir, "j"), svg: filepath.Join(dir, "s"), markdown: filepath.Join(dir, "m")}
	require.NoError(t, out.write(results))
	page, err := os.ReadFile(out.markdown)
	require.NoError(t, err)
	require.Contains(t, string(page), "(s/durable-set.svg)")
}

func TestRefusals(t *testing.T) {
	dir := diskDirectory(t)
	ctx := context.Background()
	_, err := measure(ctx, tinyPlan(), dir, []string{"none"}, nil)
	require.ErrorContains(t, err, "none")
	_, err = measure(ctx, tinyPlan(), dir, nil, []string{"none"})
	require.ErrorContains(t, err, "none")
	p := tinyPlan()
	p.freeNeeded = 1 << 60
	_, err = measure(ctx, p, dir, nil, nil)
	require.ErrorContains(t, err, "GiB left")
	if runtime.GOOS == "linux" {
		_, err = measure(ctx, tinyPlan(), "/dev/shm", nil, nil)
		require.ErrorContains(t, err, "in memory")
	}
}

// TestInterrupt: a run that is ended leaves neither data nor processes that have it open.
func TestInterrupt(t *testing.T) {
	dir := diskDirectory(t)
	ctx, cancel := context.WithCancel(context.Background())
	p := tinyPlan()
	p.set = time.Minute
	go func() {
		for entries, _ := os.ReadDir(dir); len(entries) == 0; entries, _ = os.ReadDir(dir) {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_, err := measure(ctx, p, dir, nil, []string{pebbleName})
	require.Error(t, err)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestTurns(t *testing.T) {
	reply := func(ops uint64) *agent.Reply { return &agent.Reply{Ops: ops, Took: time.Second} }
	all := turns{"a": {reply(10), reply(40), reply(90)}, "b": {reply(10), nil, reply(30)}, "c": {nil, nil, nil}}
	require.Equal(t, 40.0, all.rate("a"))
	require.Equal(t, 20.0, all.rate("b"))
	ratio, ok := all.ratio("a", "b")
	require.True(t, ok)
	require.Equal(t, 2.0, ratio) // the mean of 1 and 3
	for _, other := range []string{"c", "none"} {
		_, ok = all.ratio("a", other)
		require.False(t, ok)
	}
}

func TestCount(t *testing.T) {
	for want, n := range map[string]uint64{"1 M": 1e6, "10 M": 1e7, "1.5 M": 15e5, "100 k": 1e5, "2.5 k": 2500, "1234567": 1234567, "7": 7} {
		require.Equal(t, want, count(n))
	}
}
