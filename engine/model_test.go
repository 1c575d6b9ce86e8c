package engine_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tongpengdl/small-db/engine"
)

// How much TestModelSteps does: steps in all, and on average by one database.
const (
	modelSteps     = 100_000
	modelStepsLong = 1_000_000
	modelLength    = 220
)

// TestModelSteps takes random steps with a database and a plain map and compares what they say after each. After a failure rapid
// prints the shortest run of steps that fails, and the flag that repeats it:
//
//	go test ./engine -run '^TestModelSteps$' -rapid.seed=12345
//
// The first runs do one thing at a time, so that they repeat exactly; in the others checkpoints are made in the background and
// several write at a time. With SMALLDB_TEST_LONG it takes a million steps.
func TestModelSteps(t *testing.T) {
	t.Parallel()
	want := modelSteps
	switch {
	case long:
		want = modelStepsLong
	case testing.Short() || raceDetector:
		want /= 10
	}
	once := rapidFlags(t, modelLength)
	run := modelRun{root: inMemory(t), kinds: make(map[stepKind]int)}
	started := time.Now()
	rapid.Check(t, run.property)
	run.busy = true
	for rapid.Check(t, run.property); run.taken < want && !once; {
		rapid.Check(t, run.property)
	}
	if once {
		return
	}
	t.Logf("%d steps with %d databases, %.0f a second: %v", run.taken, run.databases,
		float64(run.taken)/time.Since(started).Seconds(), run.kinds)
	require.GreaterOrEqual(t, run.taken, want)
	for _, w := range stepWeights {
		require.Positive(t, run.kinds[w.kind], w.kind)
	}
}

// modelRun counts what TestModelSteps does.
type modelRun struct {
	root      string
	busy      bool // several things happen at a time
	databases int
	taken     int // steps
	kinds     map[stepKind]int
}

// property is that a database and its model agree, whatever the steps.
func (r *modelRun) property(t *rapid.T) {
	r.databases++
	m := newModelMachine(t, filepath.Join(r.root, fmt.Sprint(r.databases)), func() engine.Options { return drawOptions(t, r.busy) })
	defer m.end()
	t.Repeat(map[string]func(*rapid.T){"step": func(t *rapid.T) {
		s := drawStep.Draw(t, "step")
		if s.Kind == stepTogether && !r.busy {
			s = s.Steps[0]
		}
		m.do(s)
		r.kinds[s.Kind]++
		r.taken++
	}})
	m.checkAll(m.db, &m.modelState)
}

// rapidFlags sets how long rapid's runs are, unless the command line does, and keeps rapid from leaving files behind. once says
// that a certain run was asked for.
func rapidFlags(t *testing.T, steps int) (once bool) {
	given := make(map[string]bool)
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{"rapid.steps": fmt.Sprint(steps), "rapid.nofailfile": "true"} {
		if f := flag.Lookup(name); !given[name] {
			before := f.Value.String()
			require.NoError(t, f.Value.Set(value))
			t.Cleanup(func() { _ = f.Value.Set(before) })
		}
	}
	return given["rapid.seed"] || given["rapid.failfile"]
}

var (
	drawSync    = rapid.SampledFrom([]engine.SyncMode{engine.SyncNone, engine.SyncDsync, engine.SyncData})
	drawAlign   = rapid.SampledFrom([]int{4096, 512, 1024})
	drawLogSize = rapid.SampledFrom([]int64{64 << 10, 128 << 10, 1 << 20})
	drawUpdates = rapid.SampledFrom([]uint64{0, 50, 0, 7})
	drawWarmUp  = rapid.SampledFrom([]engine.WarmUpMode{engine.WarmUpOff, engine.WarmUpWait, engine.WarmUpBackground})
	drawMemory  = rapid.SampledFrom([]int64{0, 1 << 30})
)

// drawOptions chooses how a database is opened. Only a busy one makes checkpoints by itself.
func drawOptions(t *rapid.T, busy bool) engine.Options {
	var updates uint64
	if busy {
		updates = drawUpdates.Draw(t, "checkpoint after")
	}
	return engine.Options{
		Sync:                        drawSync.Draw(t, "sync"),
		FrameAlign:                  drawAlign.Draw(t, "align"),
		LogFileBytes:                drawLogSize.Draw(t, "log"),
		CheckpointUpdates:           updates,
		DisableBackgroundCheckpoint: updates == 0,
		WarmUp:                      drawWarmUp.Draw(t, "warm-up"),
		MaxMemoryBytes:              drawMemory.Draw(t, "memory"),
	}
}

// variants are ways to open a database that must make no difference to what it holds.
var variants = map[string]engine.Options{
	"default":       {},
	"small logs":    {Sync: engine.SyncNone, LogFileBytes: 64 << 10, DisableBackgroundCheckpoint: true},
	"narrow frames": {Sync: engine.SyncNone, LogFileBytes: 64 << 10, FrameAlign: 512, DisableBackgroundCheckpoint: true},
	"checkpoints":   {Sync: engine.SyncNone, LogFileBytes: 64 << 10, FrameAlign: 512, CheckpointUpdates: 5},
	"data":          {Sync: engine.SyncData, LogFileBytes: 1 << 20, CheckpointUpdates: 30, CheckpointInterval: -1},
	"warm":          {LogFileBytes: 1 << 20, WarmUp: engine.WarmUpWait, MaxMemoryBytes: 1 << 30, CheckpointLogBytes: 4 << 10},
	"background":    {Sync: engine.SyncNone, LogFileBytes: 128 << 10, WarmUp: engine.WarmUpBackground, MaxMemoryBytes: 1 << 26},
}

// TestModelOptions takes the same steps with databases that are opened in different ways: all must hold the same in the end, to the
// sequence of each key.
func TestModelOptions(t *testing.T) {
	rapidFlags(t, modelLength)
	root := inMemory(t)
	runs := 0
	steps := rapid.SliceOfN(drawStep.Filter(func(s modelStep) bool { return s.Kind != stepTogether }), 1, 150)
	rapid.Check(t, func(t *rapid.T) {
		list := steps.Draw(t, "steps")
		var before []string
		for name, opts := range variants {
			runs++
			got := runVariant(t, filepath.Join(root, fmt.Sprint(runs)), opts, list)
			if before != nil && !slices.Equal(before, got) {
				t.Fatalf("%s: %q; another holds %q", name, got, before)
			}
			before = got
		}
	})
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// runVariant takes the steps and returns what the database holds then.
func runVariant(t *rapid.T, root string, opts engine.Options, list []modelStep) (dump []string) {
	m := newModelMachine(t, root, func() engine.Options { return opts })
	defer m.end()
	for _, s := range list {
		m.do(s)
	}
	m.checkAll(m.db, &m.modelState)
	for e := range m.db.Snapshot().Entries(nil, nil) {
		dump = append(dump, fmt.Sprintf("%x %x %d %v", e.Key, e.Value, e.Version.Seq, e.Deadline))
	}
	return append(dump, fmt.Sprint(m.db.Version().Seq))
}
