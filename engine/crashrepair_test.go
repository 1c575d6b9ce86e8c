package engine_test

import (
	"bytes"
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// recordFailures performs a run in which calls fail that poison nothing: each time the database goes on, and its
// files are what a crash may leave at any moment.
func recordFailures(t *testing.T, seed uint64) *crashRun {
	r := newCrashRun(t, engine.SyncDsync, seed)
	fails := func(err error) func() {
		return func() { require.ErrorIs(t, r.db.Checkpoint(ctx), err) }
	}
	writes := func(name string) func(mmapiotest.Op) bool {
		return func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.WriteAt && op.Name == name }
	}
	syncsIn := func(function string) func(mmapiotest.Op) bool {
		return func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.Sync && op.Site.Func == function }
	}
	const logTemp, spareTemp = "logfile" + format.TempSuffix, format.SpareName + format.TempSuffix
	r.open()
	r.twoSpares(writes(spareTemp))
	r.write(4)
	r.failing(syscall.ENOSPC, func(op mmapiotest.Op) bool {
		return op.Kind == mmapiotest.WriteAt && strings.HasPrefix(op.Name, "checkpoint.")
	}, fails(engine.ErrDiskFull))
	r.write(4)
	r.checkpoint() // two: what the failed one has frozen, and what came since
	r.write(4)
	r.failing(syscall.EIO, syncsIn("engine.publish"), fails(syscall.EIO))
	r.write(4)
	r.checkpoint()
	r.write(4)
	r.failing(syscall.EIO, syncsIn("engine.(*DB).baptise"), fails(syscall.EIO))
	r.write(4) // which makes up for the rotation
	r.failing(syscall.EIO, syncsIn("engine.(*DB).baptise"), fails(syscall.EIO))
	r.close() // which does so as well
	r.open()
	r.write(4)
	r.failing(syscall.ENOSPC, writes(spareTemp), func() { r.write(60) }) // no spares for a while: logs are made when they are needed
	r.failing(syscall.ENOSPC, writes(logTemp), func() { r.write(30) })   // and then made again
	r.killInsideAWrite()
	r.failing(syscall.ENOSPC, writes(logTemp), r.open) // without a log until the first write
	r.write(4)
	r.checkpoint()
	r.close()
	r.scrub = 20 * time.Millisecond
	r.open()
	r.write(4)
	eventually(t, "a scrub of all files", func() bool { return r.db.Stats().Scrub.Passes > 0 })
	require.NoError(t, errors.Join(r.db.Stats().Scrub.Damage, r.db.Stats().Scrub.Failure))
	r.checkpoint()
	r.write(4)
	spoilPadding(t, r.dir, r.db.Stats().Generation) // so that the next checkpoint is made without the base
	eventually(t, "a scrub that finds it", func() bool { return r.db.Stats().Scrub.Damage != nil })
	r.checkpoint()
	require.EqualValues(t, 1, r.db.Stats().Repairs)
	r.close()
	r.end()
	return r
}

// spoilPadding flips a bit of a checkpoint on which only its checksums rest: no read and no open needs it, the scrubber finds it. What was
// recorded knows nothing of it, nor do the images.
func spoilPadding(t *testing.T, dir string, generation uint64) {
	path := filepath.Join(dir, format.CheckpointName(generation))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	at := int64(footerOf(t, data).BucketsAt) - 1
	require.Zero(t, data[at], "padding")
	flip(t, path, at)
}

// twoSpares makes a log the spare while the helper prepares another one, which is one too many.
func (r *crashRun) twoSpares(prepares func(mmapiotest.Op) bool) {
	release := make(chan struct{})
	r.in.Clear()
	r.in.Add(mmapiotest.Fault{Match: prepares, Before: func(mmapiotest.Op) { <-release }})
	r.watch()
	spare := func() bool { return files(r.t, r.dir)[format.SpareName] != nil }
	for i := 0; !spare(); i++ {
		require.Less(r.t, i, 20, "no log was recycled")
		r.write(3)
		r.checkpoint()
	}
	close(release)
	eventually(r.t, "one spare only", func() bool { return files(r.t, r.dir)[format.SpareName+format.TempSuffix] == nil })
}

// damages are what can happen to a directory that proofs are left to repair.
var damages = map[string]func(image mmapiotest.Image){
	"version of zeros":             func(m mmapiotest.Image) { m[format.VersionName] = make([]byte, format.VersionFileLen) },
	"version cut short":            func(m mmapiotest.Image) { m[format.VersionName] = m[format.VersionName][:10] },
	"checkpoint without header":    func(m mmapiotest.Image) { clear(ownBytes(m, newestCheckpoint(m))[:512]) },
	"checkpoint without footer":    func(m mmapiotest.Image) { name := newestCheckpoint(m); m[name] = m[name][:len(m[name])-1] },
	"checkpoint gone":              func(m mmapiotest.Image) { delete(m, newestCheckpoint(m)) },
	"version and checkpoint":       func(m mmapiotest.Image) { clear(ownBytes(m, newestCheckpoint(m))); m[format.VersionName] = nil },
	"version and checkpoint, gone": func(m mmapiotest.Image) { delete(m, newestCheckpoint(m)); m[format.VersionName] = nil },
}

func newestCheckpoint(m mmapiotest.Image) string {
	newest := uint64(0)
	for name := range m {
		if n, ok := format.ParseCheckpointName(name); ok {
			newest = max(newest, n)
		}
	}
	return format.CheckpointName(newest)
}

// ownBytes makes the content of a file the image's own.
func ownBytes(m mmapiotest.Image, name string) []byte {
	m[name] = bytes.Clone(m[name])
	return m[name]
}

// damagedRun is a run that begins with what another one has left at a cut, damaged.
func (r *crashRun) damagedRun(t *testing.T, cut mmapiotest.Cut, damage func(mmapiotest.Image)) (d *crashRun, image mmapiotest.Image) {
	b := traceBounds(r.trace)[cut.Op]
	require.Equal(t, b.issued, b.acknowledged)
	image = maps.Clone(r.trace.Crash(cut, mmapiotest.Everything, r.seed))
	damage(image)
	d = newCrashRun(t, r.sync, r.seed)
	require.NoError(t, image.WriteTo(d.dir))
	d.damaged, d.history = true, slices.Clip(r.history[:b.acknowledged])
	d.recorded = max(b.recorded, d.history.time(b.acknowledged))
	d.dropped = math.MaxInt64 // nobody knows
	d.clock.ns.Store(b.wall - noon.UnixNano())
	for _, mark := range []any{issuedMark{b.issued}, acknowledgedMark{b.acknowledged}, recordedMark{d.recorded}, clockMark{b.wall, b.used}} {
		d.rec.Mark(mark)
	}
	return d, image
}

// lastAnswer is the cut after all was answered and before the last close.
func lastAnswer(trace mmapiotest.Trace) mmapiotest.Cut {
	for i := len(trace) - 1; ; i-- {
		if _, issued := trace[i].Value.(issuedMark); issued {
			return mmapiotest.Cut{Op: i + 1}
		}
	}
}

func endOf(trace mmapiotest.Trace) mmapiotest.Cut { return mmapiotest.Cut{Op: len(trace)} }

// recordRepair repairs and goes on: it records the open, some writes, a checkpoint and a close.
func (d *crashRun) recordRepair() {
	d.open()
	require.NotEmpty(d.t, d.db.Stats().Recovery.Repaired)
	d.write(5)
	d.checkpoint()
	d.write(3)
	d.close()
	d.end()
}

// TestCrashInRepair damages what can be repaired, and crashes at every call of the open that repairs it, again at every call of
// opening some of what that leaves, and at calls of what comes after it. Nothing is ever lost.
func TestCrashInRepair(t *testing.T) {
	t.Parallel()
	seed := enginetest.Seed(t, 1)
	run := sharedCrashRun(t, 0, seed)
	stride, modes := 9, recoveryModes
	if long {
		stride, modes = 1, mmapiotest.Modes()
	}
	opening, third, after := 0, 0, 0
	for name, damage := range damages {
		for _, cut := range []mmapiotest.Cut{lastAnswer(run.trace), endOf(run.trace)} {
			d, image := run.damagedRun(t, cut, damage)
			a := newCrashAgain(t, d)
			a.stride = 11 // there are few
			if v := a.again(image, traceBounds(d.rec.Trace())[len(d.rec.Trace())], 2); v != "" {
				t.Errorf("%s, %s: %s\nthe image (kept with -artifacts): %s", name, describe(run.trace, cut), v, keepImage(t, image))
				continue
			}
			opening, third = opening+a.built[2], third+a.built[3]
			d.recordRepair()
			after += d.checkAll(t, d.trace, chosenCuts(d.trace, stride), chosenModes(modes))
		}
	}
	t.Logf("seed %d: %d damages, %d images of crashes in their repair, %d of crashes in the opening of those, %d of crashes in what came after it, no violation: %t",
		seed, 2*len(damages), opening, third, after, !t.Failed())
	if *crashAt == "" && *crashMode == "" {
		require.GreaterOrEqual(t, opening, 500)
		require.GreaterOrEqual(t, after, 500)
	}
}
