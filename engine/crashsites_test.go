package engine_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// TestCrashImagesMeetEveryCall: every place in the product that asks something of the disk is in a run that is taken apart.
func TestCrashImagesMeetEveryCall(t *testing.T) {
	t.Parallel()
	seed, hit := enginetest.Seed(t, 1), siteSet{}
	calls := 0
	add := func(trace mmapiotest.Trace) {
		for _, op := range trace {
			if op.Kind != mmapiotest.Mark {
				hit.addOp(op)
				calls++
			}
		}
	}
	for i := range crashModes { // by TestCrashImages
		add(sharedCrashRun(t, i, seed).trace)
	}
	run := sharedCrashRun(t, 0, seed)
	for _, name := range []string{"version of zeros", "version and checkpoint, gone"} { // by TestCrashInRepair
		d, _ := run.damagedRun(t, lastAnswer(run.trace), damages[name])
		d.recordRepair()
		add(d.trace)
	}
	add(run.recordRecovery(t, unfinishedCreation(t, run.trace), longBefore)) // by TestCrashInRecovery
	add(recordRestore(t, goodBackup(t)))                                     // by TestRestoreCrashImages
	refused := recordRestore(t, goodBackup(t)[:100])
	add(refused)
	requireNeverADatabase(t, refused)
	requireAllSites(t, hit, map[string]string{
		"openLog: File.Close":               "where a log that is needed is damaged: nothing was changed, and the open is refused",
		"receiveFile: File.Close, number 1": "where the disk fails: the restore ends, and has put nothing in place",
		"receiveFile: File.Close, number 2": "where the source fails: the same",
	})
	t.Logf("seed %d: %d calls from %d places", seed, calls, len(hit))
}

// unfinishedCreation is what a creation leaves that ends before its last step.
func unfinishedCreation(t *testing.T, trace mmapiotest.Trace) mmapiotest.Image {
	i := slices.IndexFunc(trace, func(op mmapiotest.Op) bool {
		return op.Kind == mmapiotest.Create && op.Name == format.NewVersionName
	})
	require.Positive(t, i)
	return trace.Crash(mmapiotest.Cut{Op: i}, mmapiotest.Everything, 1)
}

// recordRestore records a restore, which may be refused.
func recordRestore(t *testing.T, backup []byte) mmapiotest.Trace {
	rec, opts := mmapiotest.NewRecorder(), target(t)
	opts.Sync, opts.OpenDir = engine.SyncDsync, rec.OpenDir
	if err := engine.Restore(opts, bytes.NewReader(backup)); err != nil {
		require.ErrorIs(t, err, engine.ErrNotBackup)
	}
	return rec.Trace()
}

// requireNeverADatabase takes apart a trace that must leave no database.
func requireNeverADatabase(t *testing.T, trace mmapiotest.Trace) {
	opts, replayer := target(t), trace.Replayer()
	for _, cut := range worthwhile(trace) {
		for _, mode := range mmapiotest.Modes() {
			require.NoError(t, replayer.Image(cut, mode, 1).WriteTo(opts.Dir))
			requireNoDatabase(t, opts, describe(trace, cut))
		}
	}
}
