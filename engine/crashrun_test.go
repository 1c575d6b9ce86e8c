package engine_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// crashRun is a recorded run. Its clock is the test's.
type crashRun struct {
	t     *testing.T
	seed  uint64
	sync  engine.SyncMode
	align int // of frames, and of the blocks that a crash damages as a whole; in bytes
	rng   *rand.Rand
	rec   *mmapiotest.Recorder
	in    *mmapiotest.Injector // over the recorder: looks before each call, and makes some fail
	dir   string

	db      *engine.DB
	clock   fakeClock
	history crashHistory
	marked  crashMarked
	held    []heldSnapshot
	peeker  peeker

	// Engine time as it must be, in ns since the Unix epoch.
	seen     int64 // in this process
	recorded int64 // in the files
	opened   int64 // recorded when the database was opened
	dropped  int64 // what was due until then is in no checkpoint
	written  bool  // since the open, or by it

	scrub   time.Duration // how often the files are scrubbed, from the next open on; 0 for hardly ever
	damaged bool          // the run began with damage, so an image may have to be repaired
	trace   mmapiotest.Trace
	judged  results
}

// crashMarked counts what a run has had.
type crashMarked struct {
	refused, read, expired, backups int
	bases                           atomic.Int64 // refusals that said which version they were for
}

const (
	crashKeys   = 40
	crashValue  = 8 << 10 // longest value
	crashGroups = 8       // most writers at a time, and most operations in a batch
)

func crashKey(i int) string { return fmt.Sprintf("key-%03d", i) }

func (r *crashRun) options(dir string) engine.Options {
	return engine.Options{
		Dir: dir, Create: true, Sync: r.sync, FrameAlign: r.align, LogFileBytes: 64 << 10, DisableBackgroundCheckpoint: true,
	}
}

// recordCrashRun performs the run of all kinds of calls.
func recordCrashRun(t *testing.T, sync engine.SyncMode, seed uint64) *crashRun {
	r := newCrashRun(t, sync, seed)
	r.everything()
	return r
}

// recordSmallFrames is that with frames that share blocks, on a disk whose blocks are as small.
func recordSmallFrames(t *testing.T, seed uint64) *crashRun {
	r := newCrashRun(t, engine.SyncDsync, seed)
	r.align = format.MinFrameAlign
	r.everything()
	return r
}

// newCrashRun is a run that has not begun.
func newCrashRun(t *testing.T, sync engine.SyncMode, seed uint64) *crashRun {
	r := &crashRun{
		t: t, seed: seed, sync: sync, align: format.BlockSize, rng: rand.New(rand.NewPCG(seed, 0)), rec: mmapiotest.NewRecorder(), dir: t.TempDir(),
		judged: results{results: map[uint64]outcome{}},
	}
	r.in = mmapiotest.NewInjector(r.rec.OpenDir)
	r.watch()
	return r
}

// watch looks, before every call that changes something, for what can be read already. A write takes long enough for other writers to come and
// form a group, also where there is one processor.
func (r *crashRun) watch() {
	r.in.Add(mmapiotest.Fault{ForGood: true, Before: func(op mmapiotest.Op) {
		if op.Kind == mmapiotest.WriteAt {
			time.Sleep(50 * time.Microsecond)
		}
		if seq := r.peeker.look(); seq > 0 {
			r.rec.Mark(readMark{seq})
		}
	}})
}

func (r *crashRun) end() { r.trace = r.rec.Trace() }

// failing makes the first call that match chooses fail while do runs. What fails has no effect, so it is in no image.
func (r *crashRun) failing(err error, match func(mmapiotest.Op) bool, do func()) {
	hit := new(atomic.Bool)
	r.in.Clear()
	r.in.Add(mmapiotest.Fault{Match: match, Err: err, Before: func(mmapiotest.Op) { hit.Store(true) }})
	r.watch()
	do()
	eventually(r.t, "a call that fails", hit.Load) // perhaps of the helper
	r.in.Clear()
	r.watch()
}

// everything is about 200 operations with everything that moves files.
func (r *crashRun) everything() {
	r.open()
	for i := range 4 { // the third and the fourth retire logs that were made since the open, which are recycled
		r.write(13)
		if i%2 == 0 {
			r.checkpoint()
		} else {
			r.checkpointAndWrite()
		}
	}
	r.hold() // not before, or no log could be recycled
	r.setBack(40 * time.Second)
	r.write(6)
	r.hold()
	r.checkpointAndWrite()
	r.write(6)
	r.close()
	r.setBack(time.Minute)
	r.open()
	r.write(15)
	r.hold()
	r.backup()
	r.checkpoint()
	r.expireAll()
	r.checkpoint() // which only drops what has expired
	r.write(12)
	r.killInsideAWrite()
	r.open()
	r.write(10)
	r.close()
	r.open()
	r.expireSome()
	r.close() // which has nothing to record but the time
	r.setBack(time.Hour)
	r.open()
	r.write(8)
	r.killInsideASwitch()
	r.open()
	r.write(10)
	r.checkpointAndWrite()
	r.write(25)
	r.checkpoint()
	r.write(20)
	r.close()
	r.end()
	r.requireVariety()
}

func (r *crashRun) open() {
	r.rec.Mark(openingMark{})
	opts := r.options(r.dir)
	opts.Now, opts.OpenDir, opts.ScrubInterval = r.clock.now, r.in.OpenDir, r.scrub
	db, err := engine.Open(opts)
	require.NoError(r.t, err)
	r.db = db
	r.peeker.db.Store(db)
	require.EqualValues(r.t, len(r.history), db.Version().Seq, "a process that ends loses nothing")
	r.rec.Mark(issuedMark{uint64(len(r.history))})
	r.rec.Mark(acknowledgedMark{uint64(len(r.history))})
	r.opened, r.seen = r.recorded, r.recorded
	r.written = !db.Stats().Recovery.Clean || db.Stats().Recovery.Created
	r.look()
	require.NoError(r.t, r.model().compare(db, r.seen), "after the open")
}

// close closes the database. It records engine time if it writes a trailer.
func (r *crashRun) close() {
	at := r.recorded
	if r.written || r.expiredSince(r.opened) {
		at = r.seen
	}
	r.peeker.db.Store(nil)
	require.NoError(r.t, r.db.Close())
	r.rec.Mark(closedMark{})
	r.record(at)
	r.checkHeld()
}

// record notes that engine time has been recorded.
func (r *crashRun) record(at int64) {
	if at > r.recorded {
		r.recorded = at
		r.rec.Mark(recordedMark{at})
	}
}

// expiredSince reports whether a key is due that was not at an engine time.
func (r *crashRun) expiredSince(t int64) bool {
	for _, op := range r.model() {
		if op.due(r.seen) && !op.due(t) {
			return true
		}
	}
	return false
}

func (r *crashRun) model() crashModel {
	m, err := r.history.at(uint64(len(r.history)))
	require.NoError(r.t, err)
	return m
}

// checkpoint makes one. It records engine time if there are keys that expire.
func (r *crashRun) checkpoint() { r.checkpointDuring(func() {}) }

// checkpointAndWrite makes one while others write and read.
func (r *crashRun) checkpointAndWrite() {
	r.checkpointDuring(func() {
		for range 2 {
			r.burst(r.writes(crashGroups), true)
			r.checkHeld()
		}
	})
}

func (r *crashRun) checkpointDuring(meanwhile func()) {
	timed := false
	for _, op := range r.model() {
		timed = timed || op.deadline > r.dropped
	}
	runtime.GC() // what nothing refers to is unmapped, and can be recycled
	done := make(chan error)
	go func() { done <- r.db.Checkpoint(ctx) }()
	meanwhile()
	require.NoError(r.t, <-done)
	r.rec.Mark(checkpointMark{r.db.Stats().Generation})
	if timed {
		r.dropped = r.seen
		r.written = true
		r.record(r.seen)
	}
	require.NoError(r.t, r.model().compare(r.db, r.seen), "after a checkpoint")
	r.checkHeld()
}

// tick lets time go on, by less than what keys live, and looks.
func (r *crashRun) tick() {
	r.clock.ns.Add(r.rng.Int64N(int64(4 * time.Second)))
	r.look()
}

// setBack sets the wall clock back. Engine time stays what it is.
func (r *crashRun) setBack(d time.Duration) {
	r.clock.ns.Add(-int64(d))
	r.rec.Mark(clockMark{r.clock.now().UnixNano(), r.seen})
}

// look raises engine time to the wall clock, and counts the keys.
func (r *crashRun) look() {
	wall := r.clock.now().UnixNano()
	before := r.seen
	r.seen = max(r.seen, wall)
	r.rec.Mark(clockMark{wall, r.seen})
	require.Equal(r.t, r.model().count(r.seen), r.db.Stats().Keys, "keys at %d", r.seen)
	if r.expiredSince(before) {
		r.marked.expired++
	}
}

// expireAll lets time go on until all keys that expire within the run have, expireSome until one more has.
func (r *crashRun) expireAll() {
	r.expire(func(deadlines []int64) int64 { return deadlines[len(deadlines)-1] })
}

func (r *crashRun) expireSome() { r.expire(func(deadlines []int64) int64 { return deadlines[0] }) }

// killInsideAWrite ends the process while a frame has reached the page cache and not the disk.
func (r *crashRun) killInsideAWrite() {
	r.rec.KillAtNextWrite(func(op mmapiotest.Op) bool { return strings.HasSuffix(op.Site.Func, "(*liveLog).write") })
	op := r.operation()
	op.version, op.at = engine.Version{Epoch: r.db.Version().Epoch, Seq: uint64(len(r.history)) + 1}, r.seen
	r.rec.Mark(issuedMark{op.version.Seq})
	_, err := r.perform(op)
	require.ErrorIs(r.t, err, engine.ErrIndeterminate)
	r.history = append(r.history, op)
	r.recorded = max(r.recorded, r.seen)
	r.peeker.db.Store(nil)
	require.ErrorIs(r.t, r.db.Close(), engine.ErrPoisoned)
}

// killInsideASwitch ends the process while newVersion has reached the page cache and not the disk.
func (r *crashRun) killInsideASwitch() {
	require.Equal(r.t, r.seen, r.recorded, "so that it does not matter whether time is recorded")
	r.rec.KillAtNextWrite(func(op mmapiotest.Op) bool { return op.Name == format.NewVersionName })
	require.ErrorIs(r.t, r.db.Checkpoint(ctx), mmapiotest.ErrKilled)
	r.peeker.db.Store(nil)
	require.Error(r.t, r.db.Close())
}

// requireVariety makes sure that the run had what it is meant to have.
func (r *crashRun) requireVariety() {
	checkpoints, rotations, recycled, removed, several := 0, 0, 0, 0, 0
	var before mmapiotest.Op // without looks at what can be read, and calls that change nothing
	for _, op := range r.trace {
		_, fromLog := format.ParseLogName(op.Name)
		_, toLog := format.ParseLogName(op.NewName)
		_, acknowledged := op.Value.(acknowledgedMark)
		_, too := before.Value.(acknowledgedMark)
		switch {
		case op.Kind == mmapiotest.Rename && toLog:
			rotations++
		case op.Kind == mmapiotest.Rename && fromLog && op.NewName == format.SpareName:
			recycled++
		case op.Kind == mmapiotest.Rename && op.NewName == format.VersionName:
			checkpoints++
		case op.Kind == mmapiotest.Remove && fromLog:
			removed++
		case acknowledged && too:
			several++ // acknowledgements in a row: one group
		}
		if acknowledged || op.Kind.Mutates() {
			before = op
		}
	}
	require.GreaterOrEqual(r.t, checkpoints, 8, "one of them by the creation")
	require.GreaterOrEqual(r.t, rotations, 8)
	for what, n := range map[string]int{"recycled logs": recycled, "removed logs": removed,
		"refused conditions": r.marked.refused, "reads": r.marked.read, "expiries": r.marked.expired,
		"looks": int(r.peeker.last.Load()), "backups": r.marked.backups, "bases of refusals": int(r.marked.bases.Load())} {
		require.Positive(r.t, n, what)
	}
	if r.sync != engine.SyncNone { // there a group is over before another writer comes
		require.Positive(r.t, several, "several in a group")
	}
}

// peeker looks for what can be read while calls are under way: it must be durable already.
type peeker struct {
	db   atomic.Pointer[engine.DB] // nil while there is none
	keys atomic.Pointer[[]string]  // that are being written
	last atomic.Uint64             // sequence that was seen
}

// look returns a sequence that can be read and was not seen before; 0 if there is none.
func (p *peeker) look() uint64 {
	db, keys := p.db.Load(), p.keys.Load()
	if db == nil {
		return 0
	}
	seq := db.Version().Seq
	if keys != nil {
		for _, k := range *keys {
			if e, ok, err := db.Entry([]byte(k)); err == nil && ok {
				seq = max(seq, e.Version.Seq)
			}
		}
	}
	for {
		last := p.last.Load()
		if seq <= last {
			return 0
		}
		if p.last.CompareAndSwap(last, seq) {
			return seq
		}
	}
}
