package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// faultRun is one performance of a scenario while one call, or more, fails. Its steps are called by one goroutine. They hold what
// happens against these rules; the first that is broken is the violation.
//
//   - A call that writes or syncs the live log has failed: the operations of its group are answered ErrIndeterminate, all later ones
//     ErrPoisoned, nothing is acknowledged any more, Stats.Failure says why, and nothing of the database is written.
//   - Another call has failed: what needed it is answered with that error, definitely, and ErrDiskFull where the disk is full; once the
//     disk is well again, everything works without opening again.
//   - At each point what a kill and what a power cut leave is the state of all that was acknowledged, and perhaps of the one group that is not known.
//   - Whatever calls have failed, the directory can be opened again once the disk is well, at once.
//
// The faults are below the recorder, so that it knows of them: after a failed sync a later one that succeeds proves nothing.
type faultRun struct {
	scenario *faultScenario
	plan     *faultPlan
	top      *mmapiotest.Injector // brings order into the calls, and slows one down
	rec      *mmapiotest.Recorder
	dir      string // of the database
	copied   string // where images of it are opened
	logger   *slog.Logger
	db       atomic.Pointer[engine.DB] // nil while it is not open

	model    map[string]string
	seq      uint64    // operations acknowledged
	ckptSeq  uint64    // of them, those in the last checkpoint that was acknowledged
	unknown  []faultOp // of the group that failed
	poisoned bool      // since the open
	judged   bool      // what the first failure leaves was judged
	last     string    // step
	violated string    // the first violation

	slow    chan error   // the answer to the write that came while a call was slow
	holding atomic.Bool  // there will be one
	steps   atomic.Int64 // begun
	closing atomic.Bool  // the database is being closed or killed, or the script is over
	stuck   atomic.Value // string: what went wrong while a call was slow

	everPoisoned bool // at any time
	surfaced     bool // somebody was told of the failure
	told         atomic.Bool
	expect       atomic.Bool // the helper is preparing a spare
	small        bool        // the log that is being begun is none of the helper's business
	afterPoison  atomic.Pointer[mmapiotest.Op]
	silent       atomic.Bool // nothing may be written any more
}

// faultOp is an operation. del is a delete, past one that has expired at once.
type faultOp struct {
	key, value string
	del, past  bool
}

func newFaultRun(s *faultScenario, kind *faultKind, nth int, place string) *faultRun {
	r := &faultRun{
		scenario: s, plan: &faultPlan{kind: kind, nth: nth}, model: maps.Clone(s.model), seq: s.seq,
		ckptSeq: s.seq, dir: filepath.Join(place, "run"), copied: filepath.Join(place, "copy"), slow: make(chan error, 1),
	}
	r.logger = slog.New(&noticing{r})
	bottom := mmapiotest.NewInjector(mmapio.OpenDir)
	if kind.err != nil {
		for _, f := range r.plan.faults() {
			bottom.Add(f)
		}
	}
	r.rec = mmapiotest.NewRecorderOver(bottom.OpenDir)
	r.top = mmapiotest.NewInjector(r.rec.OpenDir, r.order(), mmapiotest.Fault{
		Match: func(op mmapiotest.Op) bool { return kind.err == nil && r.plan.decide(op) }, ForGood: true, Before: r.hold,
	})
	return r
}

// perform performs the scenario and returns the violation, if there is one.
func (r *faultRun) perform() string {
	if err := r.scenario.image.WriteTo(r.dir); err != nil {
		return err.Error()
	}
	if len(r.scenario.image) == 0 {
		_ = os.RemoveAll(r.dir)
	}
	r.scenario.script(r)
	r.end()
	if db := r.db.Swap(nil); db != nil { // after a violation
		_ = db.Close()
	}
	return r.violated
}

func (r *faultRun) violate(form string, args ...any) {
	if r.violated == "" {
		r.violated = fmt.Sprintf("step %q: ", r.last) + fmt.Sprintf(form, args...)
	}
}

// scrubInterval leaves a short run the time for its writes before the scrubber begins, so that the calls come in one order.
const scrubInterval = 30 * time.Millisecond

func (r *faultRun) options() engine.Options {
	opts := engine.Options{
		Dir: r.dir, Create: true, Sync: r.scenario.sync, LogFileBytes: 64 << 10, DisableBackgroundCheckpoint: true,
		ScrubInterval: -1, ScrubBytesPerSecond: 1 << 40, OpenDir: r.top.OpenDir, Logger: r.logger,
	}
	if r.scenario.scrubs {
		opts.ScrubInterval = scrubInterval
	}
	return opts
}

// step performs a step unless a rule is broken already, and looks at what it leaves.
func (r *faultRun) step(name string, do func()) {
	if r.violated != "" {
		return
	}
	r.last = name
	r.steps.Add(1)
	do()
	r.settle()
	r.answerSlow()
	if r.violated == "" && !r.judged && r.plan.begun() {
		r.judged = true
		r.judge()
	}
}

// met takes an error that somebody was told.
func (r *faultRun) met(err error) bool {
	if err == nil || r.plan.kind.err == nil || !errors.Is(err, r.plan.kind.err) {
		return false
	}
	r.surfaced = true
	return true
}

// noticing is the handler of a logger that notices the fault.
type noticing struct{ r *faultRun }

func (n *noticing) Enabled(context.Context, slog.Level) bool { return true }
func (n *noticing) WithAttrs([]slog.Attr) slog.Handler       { return n }
func (n *noticing) WithGroup(string) slog.Handler            { return n }
func (n *noticing) Handle(_ context.Context, record slog.Record) error {
	record.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok && n.r.plan.kind.err != nil && errors.Is(err, n.r.plan.kind.err) {
			n.r.told.Store(true)
		}
		return true
	})
	return nil
}

// recognize finds out what became of the group that was not known.
func (r *faultRun) recognize(db *engine.DB) {
	seq := db.Version().Seq
	model, ok := r.modelAt(seq)
	if !ok {
		r.violate("opened at operation %d; %d were acknowledged, %d are unknown", seq, r.seq, len(r.unknown))
		return
	}
	r.model, r.seq, r.unknown = model, seq, nil
	r.compare(db, model)
}

// modelAt is the state after this many operations, if that is a possible one.
func (r *faultRun) modelAt(seq uint64) (map[string]string, bool) {
	switch seq {
	case r.seq:
		return r.model, true
	case r.seq + uint64(len(r.unknown)):
		model := maps.Clone(r.model)
		applyFaultOps(model, r.unknown)
		return model, true
	}
	return nil, false
}

func applyFaultOps(model map[string]string, ops []faultOp) {
	for _, op := range ops {
		if op.del || op.past {
			delete(model, op.key)
		} else {
			model[op.key] = op.value
		}
	}
}

// compare compares a database with a model.
func (r *faultRun) compare(db *engine.DB, model map[string]string) {
	if n := db.Stats().Keys; n != uint64(len(model)) {
		r.violate("%d keys instead of %d", n, len(model))
	}
	for k, want := range model {
		if got, ok, err := db.Get([]byte(k)); err != nil || !ok || string(got) != want {
			r.violate("%s is %d bytes, %t, %v instead of %d bytes", k, len(got), ok, err, len(want))
		}
	}
}

// judge opens what a kill would leave now, and what a power cut would.
func (r *faultRun) judge() {
	left, err := filesOf(r.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.violate("read the directory: %v", err)
		return
	}
	r.judgeImage("after a kill", left)
	r.judgePowerCut()
}

// judgePowerCut opens what is durable now.
func (r *faultRun) judgePowerCut() {
	trace := r.rec.Trace()
	opened := func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.OpenDir && op.Err == nil }
	if r.scenario.sync != engine.SyncNone && slices.ContainsFunc(trace, opened) {
		r.judgeImage("after a power cut", trace.Crash(mmapiotest.Cut{Op: len(trace)}, mmapiotest.SyncedOnly, 0))
	}
}

// filesOf reads a directory in which a helper may be renaming files.
func filesOf(dir string) (mmapiotest.Image, error) {
	entries, err := os.ReadDir(dir)
	image := mmapiotest.Image{}
	for _, e := range entries {
		if e.Name() == format.LockName {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err == nil {
			image[e.Name()] = data
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return image, err
}

func (r *faultRun) judgeImage(when string, image mmapiotest.Image) {
	if r.violated != "" {
		return
	}
	defer func(last string) { r.last = last }(r.last)
	r.last += ", " + when
	if err := image.WriteTo(r.copied); err != nil {
		r.violate("%v", err)
		return
	}
	opts := r.options()
	opts.Dir, opts.OpenDir, opts.Logger, opts.ScrubInterval = r.copied, nil, nil, -1
	db, err := engine.Open(opts)
	if err != nil {
		r.violate("it does not open: %v", err)
		return
	}
	if model, ok := r.modelAt(db.Version().Seq); !ok {
		r.violate("it is at operation %d; %d were acknowledged, %d are unknown", db.Version().Seq, r.seq, len(r.unknown))
	} else {
		r.compare(db, model)
	}
	if repaired := db.Stats().Recovery.Repaired; len(repaired) > 0 && !r.scenario.damaged {
		r.violate("nothing was damaged, yet it was repaired: %v", repaired)
	}
	if err := db.Close(); err != nil {
		r.violate("close: %v", err)
	}
}

// answered judges the answer to some operations.
func (r *faultRun) answered(ops []faultOp, err error) {
	must, may := r.plan.toLive()
	switch {
	case err == nil:
		if r.poisoned || must {
			r.violate("acknowledged after a failure of the live log")
		}
		applyFaultOps(r.model, ops)
		r.seq += uint64(len(ops))
	case errors.Is(err, engine.ErrIndeterminate):
		if !may || r.poisoned {
			r.violate("the live log has not failed just now, yet the outcome is unknown: %v", err)
		}
		if !r.met(err) || errors.Is(err, engine.ErrPoisoned) {
			r.violate("not the failure of the live log: %v", err)
		}
		r.unknown = append(r.unknown, ops...)
	case errors.Is(err, engine.ErrPoisoned):
		if !may || !r.met(err) {
			r.violate("poisoned by something else: %v", err)
		}
	default:
		if must {
			r.violate("the live log has failed, and a definite error comes: %v", err)
		}
		r.refusedDefinitely(err)
	}
}

// refusedDefinitely judges a definite error.
func (r *faultRun) refusedDefinitely(err error) {
	if !r.met(err) || errors.Is(err, engine.ErrIndeterminate) || errors.Is(err, engine.ErrPoisoned) {
		r.violate("not the error of the call that failed: %v", err)
	}
	if strings.Contains(r.plan.kind.name, "ENOSPC") && !errors.Is(err, engine.ErrDiskFull) {
		r.violate("the disk is full, and it does not say so: %v", err)
	}
}

// looksPoisoned holds what the database says against whether the live log has failed.
func (r *faultRun) looksPoisoned(db *engine.DB) {
	must, may := r.plan.toLive()
	failure := db.Stats().Failure
	switch {
	case failure == nil && (must || r.poisoned):
		r.violate("the live log has failed, and Stats do not say so")
	case failure != nil && !may:
		r.violate("poisoned, though the live log has not failed: %v", failure)
	case failure != nil && !r.met(failure):
		r.violate("poisoned by something else: %v", failure)
	}
	if r.poisoned = failure != nil; r.poisoned {
		r.everPoisoned = true
		r.silent.Store(true)
	}
}

// check compares what the database shows with the model, and whether it should be poisoned.
func (r *faultRun) check() {
	r.step(r.last, func() {
		db := r.db.Load()
		if db == nil {
			return
		}
		r.looksPoisoned(db)
		if got := db.Version().Seq; got != r.seq {
			r.violate("it stands at operation %d, %d were acknowledged", got, r.seq)
		}
		r.compare(db, r.model)
		r.refusesWrites(db)
	})
}

// refusesWrites makes sure that a poisoned database acknowledges nothing.
func (r *faultRun) refusesWrites(db *engine.DB) {
	if !r.poisoned {
		return
	}
	var b engine.Batch
	b.Set([]byte("refused"), nil)
	_, set := db.Set(ctx, []byte("refused"), nil)
	_, deleted := db.Delete(ctx, []byte("anchor"))
	_, applied := db.Apply(ctx, &b)
	answers := []error{set, deleted, applied}
	if r.seq > r.ckptSeq { // otherwise there is nothing to do
		answers = append(answers, db.Checkpoint(ctx))
	}
	for _, err := range answers {
		if !errors.Is(err, engine.ErrPoisoned) || errors.Is(err, engine.ErrIndeterminate) {
			r.violate("a poisoned database answers %v", err)
		}
	}
	if op := r.afterPoison.Load(); op != nil {
		r.violate("poisoned, and it writes: %v", *op)
	}
}

// end lets the disk be well again, and expects that all is.
func (r *faultRun) end() {
	r.plan.heal()
	r.closing.Store(true)
	r.answerSlow()
	r.closing.Store(false)
	if db := r.db.Load(); db != nil {
		r.check()
	} else {
		r.open()
	}
	poisoned := r.poisoned
	if !poisoned {
		r.worksAgain()
	}
	clean := r.close()
	if r.violated == "" && !poisoned && !clean {
		r.violate("it does not close although the disk is well")
	}
	if r.violated != "" {
		return
	}
	if first := r.plan.first; long || first != nil && first.Kind.Mutates() {
		r.judgePowerCut() // what a kill leaves is opened next
	}
	r.open()
	r.step("open after the end", func() {
		if got := r.db.Load().Stats().Recovery; got.Clean != clean || len(got.Repaired) > 0 && !(r.scenario.damaged && poisoned) {
			r.violate("closed cleanly: %t; opened: %+v", clean, got)
		}
	})
	if poisoned {
		r.worksAgain()
	}
	if !r.close() && r.violated == "" {
		r.violate("it does not close at the end")
	}
	r.surfaced = r.surfaced || r.told.Load()
	if first := r.plan.first; first != nil && r.plan.kind.err != nil && !r.surfaced && mustTell(*first, r.plan.kind.err) {
		r.violate("nobody was told")
	}
}

// mustTell says whether somebody must be told of a failure of such a call, whatever came of it. What is read is read again where it counts, a file that
// cannot be removed is garbage for the next open, and a log that cannot be renamed to be used again is removed. A log that somebody waits for is
// made again where the disk was full, once the helper has given its spare up.
func mustTell(op mmapiotest.Op, err error) bool {
	if errors.Is(err, syscall.ENOSPC) && strings.Contains(op.Site.Func, "(*spares).make") {
		return false
	}
	return op.Kind.Mutates() && op.Kind != mmapiotest.Remove && op.Kind != mmapiotest.Rename || op.Kind == mmapiotest.OpenDir || op.Kind == mmapiotest.LockDir
}

// worksAgain expects that writes and checkpoints succeed now, without opening again.
func (r *faultRun) worksAgain() {
	r.put("afterwards", 100)
	r.checkpoint()
	r.step("works again", func() {
		db := r.db.Load()
		if _, ok := r.model["afterwards"]; !ok {
			r.violate("a write fails although the disk is well")
		}
		// What the scrubber could not read of a log counts as damaged until it reads it again.
		if s := db.Stats(); s.Failure != nil || s.CheckpointFailure != nil || s.Damage != nil && !(r.scenario.scrubs && r.met(s.Damage)) {
			r.violate("the disk is well, and it says %v, %v, %v", s.Failure, s.CheckpointFailure, s.Damage)
		}
	})
}
