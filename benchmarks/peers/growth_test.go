package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

// TestGrowth runs each section of how cost changes as the work grows, and looks for every curve on the page.
func TestGrowth(t *testing.T) {
	dir := diskDirectory(t)
	var only []string
	for _, s := range sections {
		if s.grows {
			only = append(only, s.name)
		}
	}
	p := tinyPlan()
	p.large = 10_000
	results, err := measure(context.Background(), p, dir, only, []string{groupLoopName})
	require.NoError(t, err)
	require.Len(t, results.Parts, len(only))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "the data was not removed")
	out := outputs{json: filepath.Join(dir, "j"), svg: filepath.Join(dir, "s"), markdown: filepath.Join(dir, "m")}
	require.NoError(t, out.write(results))
	page, err := os.ReadFile(out.markdown)
	require.NoError(t, err)
	require.Contains(t, string(page), "## As the work grows")
	curves := 0
	for _, part := range results.Parts {
		require.NotEmpty(t, part.Text)
		require.True(t, len(part.Curves) > 0 || len(part.Facts.Rows) > 0, part.Title)
		for _, c := range part.Curves {
			curves++
			require.FileExists(t, filepath.Join(out.svg, c.File()))
			require.Contains(t, string(page), "(s/"+c.File()+")")
			require.NotEmpty(t, c.Lines, c.Name)
			for _, l := range c.Lines {
				for _, point := range l.Points {
					require.GreaterOrEqual(t, point.Y, 0.0, "%s, %s", c.Name, l.Name)
				}
			}
		}
	}
	rows := growthRows(t, out.json)
	for workload, engine := range map[string]string{
		"Random get by keys, full delta, keys: 10 k":                                                       rival.Ours,
		"Open by keys, after a kill, with a full delta, keys: 1 k":                                         rival.Ours,
		"Bytes set by value size, 16 writers, value: 1 MiB":                                                rival.Ours,
		"Durable set by writers, bare group commit, writers: 1024":                                         groupLoopName,
		"Random get by delta, key that is not set, record bytes in the delta, percent of the threshold: 0": rival.Ours,
		"Growth of the delta's table, slower than 5ms, new keys":                                           rival.Ours,
		"Growth of the delta's table, slowest of the others in the calmest database, the same keys again":  rival.Ours,
		"Deletes by progress, 64 writers, percent deleted: 100":                                            rival.Ours,
		"Disk beside a snapshot, snapshot held, step: 6":                                                   rival.Ours,
		"On paper, time of a checkpoint, 1 G keys":                                                         rival.Ours,
	} {
		assert.Equal(t, engine, rows[workload], workload)
	}
	t.Logf("%d parts, %d curves, %d rows", len(results.Parts), curves, len(rows))
}

// growthRows are the engines of the rows of a file, by workload. None is there twice.
func growthRows(t *testing.T, name string) map[string]string {
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	var document struct{ Rows []report.Row }
	require.NoError(t, json.Unmarshal(text, &document))
	rows := map[string]string{}
	for _, row := range document.Rows {
		_, twice := rows[row.Workload]
		assert.False(t, twice, "%s twice", row.Workload)
		assert.NotEmpty(t, row.Unit, row.Workload)
		rows[row.Workload] = row.Engine
	}
	return rows
}

// TestPlans: a quick run leaves growth out, a full one has it, and the sizes shrink with the keys.
func TestPlans(t *testing.T) {
	quick, full := quickPlan(), fullPlan()
	require.False(t, quick.growth)
	require.True(t, full.growth)
	full.keys, full.large = 1_000_000, 10_000_000
	require.Equal(t, []uint64{1e3, 1e4, 1e5, 1e6, 1e7}, full.keySizes())
	require.EqualValues(t, 1_000_000, full.valuesOf(16))
	require.EqualValues(t, 244, full.valuesOf(1<<20))
	full.keys, full.large = 500, 0
	require.Equal(t, []uint64{500}, full.keySizes())
	require.EqualValues(t, leastValues, full.valuesOf(1<<20))
	require.Equal(t, []int{1, 2, 4, 8}, doublings(10))
}

// TestPaper: what is computed is in proportion to the keys, and below the least threshold a checkpoint comes as late as with none.
func TestPaper(t *testing.T) {
	k := &costs{keys: 1e6, basePerKey: 180, logWritten: 1, checkpointRate: 180e6, recoveryRate: 1e9, openLeast: 1, openMost: 3, heapPerKey: 20}
	many, more, few := k.at(1e8), k.at(1e9), k.at(1000)
	require.InDelta(t, 18e9, many.base, 1)
	require.InDelta(t, 100, many.checkpoint.Seconds(), 1e-6)
	require.InDelta(t, 10*many.heap, more.heap, 1)
	require.InDelta(t, 10*many.recovery, more.recovery, 1e-6)
	require.InDelta(t, 201, many.opening, 1e-6)
	require.InDelta(t, (18e9+18e9)/(18e9/recordBytes*dataLen), many.written, 1e-6)
	require.EqualValues(t, 256<<20, few.threshold)
	require.EqualValues(t, 1000, few.deltaKeys)
	require.Equal(t, many.written, more.written)
	results := &report.Results{}
	require.NoError(t, (&bench{results: results}).paperSection())
	require.Empty(t, results.Parts)
	require.Contains(t, strings.Join(results.Notes, " "), "on paper")
}

// TestOwn: only ours has options of its own.
func TestOwn(t *testing.T) {
	a, err := agent.Start(context.Background())
	require.NoError(t, err)
	defer a.Kill()
	_, err = a.Do(agent.Request{Do: agent.Open, Rival: mapName, Dir: t.TempDir(), Own: noCheckpoints})
	require.ErrorContains(t, err, "only ours")
}
