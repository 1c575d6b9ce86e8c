package engine_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// TestCrashInRecovery crashes again while an image is being opened, at every call of the recovery, and for some of what that
// leaves a third time, at every call of that recovery: the bounds of the first crash hold, however often it happens.
func TestCrashInRecovery(t *testing.T) {
	t.Parallel()
	seed := enginetest.Seed(t, 1)
	run := sharedCrashRun(t, 0, seed)
	a := newCrashAgain(t, run)
	stride, i := max(1, crashAgainStride/enginetest.Times(1, 8)), 0
	first, seen := run.newJudge(t, run.trace), map[uint64]bool{}
	for _, cut := range chosenCuts(run.trace, 1) {
		for _, mode := range chosenModes(mmapiotest.Modes()) {
			if i++; *crashAt == "" && i%stride != 0 {
				continue
			}
			image := first.replayer.Image(cut, mode, seed)
			if hash := image.Hash(); seen[hash] {
				continue
			} else {
				seen[hash] = true
			}
			if v := a.again(image, first.bounds[cut.Op], 2); v != "" {
				first.report(t, cut, mode, v)
				return
			}
		}
	}
	t.Logf("seed %d: %d images opened, %d images of crashes in that, %d of crashes in the opening of those, no violation",
		seed, len(seen), a.built[2], a.built[3])
	if *crashMode == "" && *crashAt == "" {
		require.GreaterOrEqual(t, a.built[2], 5_000)
		require.GreaterOrEqual(t, a.built[3], 1_000)
	}
}

// crashAgain crashes while images are being opened.
type crashAgain struct {
	t      *testing.T
	run    *crashRun
	judge  *judge
	stride int    // one of so many images of second crashes is opened and crashed once more
	built  [4]int // images, by the number of crashes
}

// One of so many images is crashed again: a prime, to meet every kind.
const crashAgainStride = 151

func newCrashAgain(t *testing.T, run *crashRun) *crashAgain {
	return &crashAgain{t: t, run: run, judge: run.newJudge(t, run.trace), stride: max(1, crashAgainStride/enginetest.Times(1, 8))}
}

// recoveryModes are those that differ most.
var recoveryModes = []mmapiotest.Mode{mmapiotest.SyncedOnly, mmapiotest.Everything, mmapiotest.TornSubset, mmapiotest.NamesWithData}

// again opens an image, crashes at every call of that for the nth time, and says which image violates the bounds, "" if none does.
func (a *crashAgain) again(image mmapiotest.Image, b bounds, nth int) string {
	wall := crashWall(image.Hash()>>3, b.wall)
	trace := a.run.recordRecovery(a.t, image, wall)
	b.closed = false // an open that did not get far may have begun a new log
	b.used = max(b.used, wall)
	a.judge.turnTo(trace)
	cuts, replayer := worthwhile(trace), a.judge.replayer
	for _, cut := range cuts {
		for _, mode := range recoveryModes {
			next := replayer.Image(cut, mode, a.run.seed)
			a.built[nth]++
			where := "then " + describe(trace, cut) + ", " + mode.String() + ": "
			if v := a.judge.outcome(next, wall).violates(b); v != "" {
				return where + v
			}
			if nth == 3 || a.built[nth]%a.stride != 0 {
				continue
			}
			if v := a.again(next, b, nth+1); v != "" {
				return where + v
			}
		}
	}
	return ""
}

// recordRecovery records what opening an image asks of the disk.
func (r *crashRun) recordRecovery(t *testing.T, image mmapiotest.Image, wall int64) mmapiotest.Trace {
	dir, err := os.MkdirTemp(memoryDir(), "recovery")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	require.NoError(t, image.WriteTo(dir))
	rec, p := mmapiotest.NewRecorder(), opened{clock: new(fakeClock)}
	p.set(wall)
	opts := r.options(dir)
	opts.Now, opts.OpenDir = p.clock.now, rec.OpenDir
	db, err := engine.Open(opts)
	require.NoError(t, err)
	rec.Kill()
	db.Close() // fails: the process is dead
	return rec.Trace()
}
