package engine_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// crashModes are the runs that TestCrashImages takes apart. Ordinarily the default sync mode is taken apart at every cut, and the
// others, which differ from it in little, at some.
var crashModes = []struct {
	name   string
	record func(t *testing.T, seed uint64) *crashRun
	stride int // of the cuts that are ordinarily taken
	modes  []mmapiotest.Mode
}{
	{"sync=dsync", recordOf(engine.SyncDsync), 1, mmapiotest.Modes()},
	{"sync=data", recordOf(engine.SyncData), 29, mmapiotest.Modes()},
	{"sync=none", recordOf(engine.SyncNone), 4, []mmapiotest.Mode{mmapiotest.Everything}}, // survives the process, not the machine
	{"align=512", recordSmallFrames, 29, mmapiotest.Modes()},
	{"failures", recordFailures, 29, mmapiotest.Modes()},
}

func recordOf(sync engine.SyncMode) func(*testing.T, uint64) *crashRun {
	return func(t *testing.T, seed uint64) *crashRun { return recordCrashRun(t, sync, seed) }
}

// TestCrashImages records a run, takes apart what it asked of the disk, and opens what a power cut could have left behind: at every
// call and inside every write, in seventeen ways. Each image must be the model at exactly one
// point between the last operation that was acknowledged or read and the last one issued, at an engine time between what was recorded and
// what was used.
//
// SMALLDB_TEST_LONG=n takes all cuts of 20n runs of each mode.
func TestCrashImages(t *testing.T) {
	seed, seeds := enginetest.Seed(t, 1), uint64(enginetest.Times(1, 20))
	var mu sync.Mutex
	built, different, ran := 0, 0, 0
	t.Run("runs", func(t *testing.T) {
		for i, mode := range crashModes {
			t.Run(mode.name, func(t *testing.T) {
				t.Parallel()
				for s := seed; s < seed+seeds; s++ {
					run := sharedCrashRun(t, i, s)
					stride := mode.stride
					if long {
						stride = 1
					}
					cuts := chosenCuts(run.trace, stride)
					n := run.checkAll(t, run.trace, cuts, chosenModes(mode.modes))
					t.Logf("seed %d: %d operations, %d calls, %d cuts, %d images, %d of them different", s, len(run.history), len(run.trace),
						len(cuts), n, run.judged.len())
					mu.Lock()
					built, different = built+n, different+run.judged.len()
					mu.Unlock()
				}
				mu.Lock()
				ran++
				mu.Unlock()
			})
		}
	})
	t.Logf("%d images, %d of them different, no violation: %t", built, different, !t.Failed())
	if ran == len(crashModes) && *crashMode == "" && *crashAt == "" { // -run may have chosen some
		require.GreaterOrEqual(t, built, 13_000)
		require.GreaterOrEqual(t, different, 5_000)
	}
}

// sharedRuns are runs that several tests take apart.
var sharedRuns struct {
	mu   sync.Mutex
	runs map[sharedRun]*crashRun
}

type sharedRun struct {
	mode int // in crashModes
	seed uint64
}

// sharedCrashRun is a run that several tests take apart, and what they found of its images. Of many seeds only the first is kept.
func sharedCrashRun(t *testing.T, mode int, seed uint64) *crashRun {
	sharedRuns.mu.Lock()
	defer sharedRuns.mu.Unlock()
	key := sharedRun{mode, seed}
	if r := sharedRuns.runs[key]; r != nil {
		return r
	}
	r := crashModes[mode].record(t, seed)
	if sharedRuns.runs == nil {
		sharedRuns.runs = map[sharedRun]*crashRun{}
	}
	if len(sharedRuns.runs) < len(crashModes) {
		sharedRuns.runs[key] = r
	}
	return r
}

// tellingModes are those that show a missing sync.
var tellingModes = []mmapiotest.Mode{mmapiotest.SyncedOnly, mmapiotest.SizeZeros, mmapiotest.TornPrefix, mmapiotest.NamesWithData, mmapiotest.BothNames}

// TestEverySyncIsNeeded takes out one sync after the other, and expects the same images to show it.
func TestEverySyncIsNeeded(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join("..", "docs", "durability.md"))
	require.NoError(t, err)
	seed, seen := enginetest.Seed(t, 1), map[string]bool{}
	for i, mode := range crashModes[:2] {
		run := sharedCrashRun(t, i, seed)
		for _, site := range run.trace.SyncSites() {
			if seen[site] {
				continue
			}
			seen[site] = true
			violation := run.firstViolation(t, run.trace.WithoutSync(site))
			assert.NotEmpty(t, violation, "%s: %s could be taken out, and no image shows it", mode.name, site)
			t.Logf("%s: caught: %s", site, violation)
			assert.Contains(t, string(doc), "`"+site+"`", "docs/durability.md lists every sync")
		}
	}
	t.Logf("%d syncs, each is needed: %t", len(seen), !t.Failed())
}

// firstViolation returns the first image of a trace that violates the oracle, in words; "" if none does.
func (r *crashRun) firstViolation(t *testing.T, trace mmapiotest.Trace) string {
	judge := r.newJudge(t, trace)
	for _, cut := range worthwhile(trace) {
		for _, m := range tellingModes {
			if v := judge.violation(cut, m); v != "" {
				return m.String() + " " + describe(trace, cut) + ": " + v
			}
		}
	}
	return ""
}
