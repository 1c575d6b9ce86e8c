package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing/iotest"
	"time"

	"github.com/tongpengdl/small-db/engine"
)

// open opens the database. If it cannot be opened, it can be as soon as the disk is well.
func (r *faultRun) open() {
	r.step("open", func() {
		db, err := engine.Open(r.options())
		if err != nil {
			r.refusedDefinitely(err)
			r.judged = true
			r.judge()
			r.plan.heal()
			if db, err = engine.Open(r.options()); err != nil {
				r.violate("it does not open although the disk is well: %v", err)
				return
			}
		}
		r.db.Store(db)
		r.closing.Store(false)
		r.plan.opened()
		r.poisoned = false
		r.silent.Store(false)
		r.recognize(db)
	})
}

// write performs operations that make one group, and judges the answer.
func (r *faultRun) write(name string, ops []faultOp, do func(db *engine.DB) (engine.Version, error)) {
	r.step(name, func() {
		db := r.db.Load()
		if db == nil {
			return
		}
		version, err := do(db)
		r.answered(ops, err)
		if err == nil && version.Seq < r.seq {
			r.violate("acknowledged as operation %d, there were %d before", version.Seq, r.seq)
		}
	})
}

func (r *faultRun) put(key string, n int) {
	op := faultOp{key: key, value: string(bytesOf(key, n))}
	r.write("put "+key, []faultOp{op}, func(db *engine.DB) (engine.Version, error) {
		return db.Set(ctx, []byte(op.key), []byte(op.value))
	})
	r.check()
}

// putUntil sets keys with deadlines: one far ahead, one long past.
func (r *faultRun) putUntil(key string) {
	for i, deadline := range []time.Time{time.Unix(1<<33, 0), time.Unix(1, 0)} {
		op := faultOp{key: fmt.Sprint(key, i), value: "for a time", past: i == 1}
		r.write("put for a time", []faultOp{op}, func(db *engine.DB) (engine.Version, error) {
			return db.SetUntil(ctx, []byte(op.key), []byte(op.value), deadline)
		})
	}
}

func (r *faultRun) remove(key string) {
	r.write("delete "+key, []faultOp{{key: key, del: true}}, func(db *engine.DB) (engine.Version, error) {
		return db.Delete(ctx, []byte(key))
	})
}

// batch sets n keys at once, of size bytes each, under a condition that holds.
func (r *faultRun) batch(key string, n, size int) {
	var b engine.Batch
	b.IfAbsent([]byte("no such key"))
	var ops []faultOp
	for i := range n {
		op := faultOp{key: fmt.Sprint(key, i), value: string(bytesOf(key, size+i))}
		b.Set([]byte(op.key), []byte(op.value))
		ops = append(ops, op)
	}
	r.write("batch "+key, ops, func(db *engine.DB) (engine.Version, error) { return db.Apply(ctx, &b) })
	r.check()
}

// conditionFails applies a batch whose condition does not hold.
func (r *faultRun) conditionFails() {
	r.step("condition", func() {
		db := r.db.Load()
		if db == nil {
			return
		}
		var b engine.Batch
		b.IfAbsent([]byte("anchor"))
		b.Delete([]byte("anchor"))
		if _, err := db.Apply(ctx, &b); !errors.Is(err, engine.ErrConditionFailed) && db.Stats().Failure == nil {
			r.violate("a condition that does not hold: %v", err)
		}
	})
}

// burst sets as many keys by as many writers at once.
func (r *faultRun) burst(key string, n int) {
	r.step("burst "+key, func() {
		db := r.db.Load()
		if db == nil {
			return
		}
		errs := make([]error, n)
		var writers sync.WaitGroup
		for i := range n {
			writers.Go(func() { _, errs[i] = db.Set(ctx, fmt.Append(nil, key, i), []byte("of a burst")) })
		}
		writers.Wait()
		sorted := map[bool][]faultOp{}
		for i, err := range errs { // what was acknowledged, came before the failure
			op := faultOp{key: fmt.Sprint(key, i), value: "of a burst"}
			sorted[err == nil] = append(sorted[err == nil], op)
		}
		applyFaultOps(r.model, sorted[true])
		r.seq += uint64(len(sorted[true]))
		for i, err := range errs {
			if err != nil {
				r.answered([]faultOp{{key: fmt.Sprint(key, i), value: "of a burst"}}, err)
			}
		}
	})
	r.check()
}

func (r *faultRun) checkpoint() {
	r.step("checkpoint", func() {
		db := r.db.Load()
		if db == nil {
			return
		}
		before := db.Stats().Generation
		err := db.Checkpoint(ctx)
		s := db.Stats()
		switch {
		case err == nil && s.Generation <= before && r.seq > r.ckptSeq && !r.scenario.scrubs:
			r.violate("a checkpoint was acknowledged, and it is still %d", before)
		case err == nil:
			r.ckptSeq = r.seq
		case !r.met(err):
			r.violate("not the error of the call that failed: %v", err)
		case s.CheckpointFailure == nil:
			r.violate("a checkpoint has failed, and Stats do not say so: %v", err)
		case s.Generation != before && !r.scenario.scrubs:
			r.violate("a checkpoint has failed, and is in force: %v", err)
		}
	})
	r.check()
}

// unmapped waits until the logs before the last checkpoint are mapped no more, so that the next one always finds that they can be used again. Where the
// system does not say what is mapped, it may not.
func (r *faultRun) unmapped() {
	r.step("unmapped", func() {
		for i := 0; !r.plan.begun(); i++ {
			maps, err := os.ReadFile("/proc/self/maps")
			if err != nil || strings.Count(string(maps), filepath.Join(r.dir, "logfile.")) <= 1 {
				return
			}
			runtime.GC()
			r.patience(i, "a log stays mapped")
		}
	})
}

// scan compares a snapshot with the model.
func (r *faultRun) scan() {
	r.step("scan", func() {
		db := r.db.Load()
		if db == nil {
			return
		}
		snapshot, seen := db.Snapshot(), 0
		for k, v := range snapshot.Scan(nil, nil) {
			if want, ok := r.model[string(k)]; !ok || string(v) != want {
				r.violate("a scan finds %s wrong", k)
			}
			seen++
		}
		if err := snapshot.Err(); err != nil || seen != len(r.model) {
			r.violate("a scan finds %d keys of %d: %v", seen, len(r.model), err)
		}
	})
}

// discard counts what it is given.
type discard struct{ n int }

func (d *discard) Write(p []byte) (int, error) { d.n += len(p); return len(p), nil }

func (r *faultRun) backup() {
	r.step("backup", func() {
		db := r.db.Load()
		if db == nil {
			return
		}
		w := new(discard)
		switch version, err := db.Backup(ctx, w); {
		case err == nil && (version.Seq != r.seq || w.n == 0):
			r.violate("a backup of operation %d and %d bytes", version.Seq, w.n)
		case err == nil:
		case !r.met(err):
			r.violate("not the error of the call that failed: %v", err)
		}
	})
	r.check()
}

// close closes the database, and says whether that went well.
func (r *faultRun) close() (clean bool) {
	r.step("close", func() {
		db := r.db.Load()
		if db == nil {
			return
		}
		poisoned := r.poisoned
		r.closing.Store(true)
		err := db.Close()
		r.db.Store(nil)
		r.silent.Store(false)
		clean = err == nil
		switch {
		case poisoned && !errors.Is(err, engine.ErrPoisoned):
			r.violate("closed while poisoned: %v", err)
		case err != nil && !r.met(err):
			r.violate("not the error of the call that failed: %v", err)
		}
		if err := db.Close(); (err == nil) != clean {
			r.violate("closed twice: %v", err)
		}
		if op := r.afterPoison.Load(); op != nil {
			r.violate("poisoned, and it writes: %v", *op)
		}
	})
	return clean
}

var errHalf = errors.New("the source fails")

// restore makes the database of a backup. If that fails there is none and it can be done again, unless the outcome is said to be unknown.
func (r *faultRun) restore(of faultScenario, backup []byte) {
	r.step("restore half of it", func() {
		half := io.MultiReader(bytes.NewReader(backup[:len(backup)/2]), iotest.ErrReader(errHalf))
		if err := engine.Restore(r.options(), half); !errors.Is(err, errHalf) && !r.met(err) {
			r.violate("not the error of the source: %v", err)
		}
	})
	r.step("restore", func() {
		err := engine.Restore(r.options(), bytes.NewReader(backup))
		if err != nil {
			unknown := errors.Is(err, engine.ErrIndeterminate)
			if !r.met(err) || errors.Is(err, engine.ErrDiskFull) != errors.Is(err, syscall.ENOSPC) {
				r.violate("not the error of the call that failed: %v", err)
			}
			r.plan.heal()
			r.judged = true
			if err = engine.Restore(r.options(), bytes.NewReader(backup)); unknown && errors.Is(err, engine.ErrNotEmpty) {
				err = nil // it was there
			}
		}
		if err != nil {
			r.violate("it cannot be restored although the disk is well: %v", err)
		}
		r.model, r.seq, r.ckptSeq = maps.Clone(of.model), of.seq, of.seq
	})
	r.open()
}

// scrubbed waits until the scrubber has read all files once.
func (r *faultRun) scrubbed() {
	r.step("scrub", func() {
		db := r.db.Load()
		if db == nil {
			return
		}
		for i := 0; db.Stats().Scrub.Passes == 0; i++ {
			r.patience(i, "the scrubber does not come on")
		}
		s := db.Stats()
		r.met(s.Scrub.Failure)
		if s.Scrub.Damage != nil && !r.scenario.spoiled && !r.met(s.Scrub.Damage) || s.Scrub.Failure != nil && !r.met(s.Scrub.Failure) {
			r.violate("not the error of the call that failed: %v, %v", s.Scrub.Damage, s.Scrub.Failure)
		}
	})
}

// kill ends the process.
func (r *faultRun) kill() {
	r.step("kill", func() {
		db := r.db.Load()
		if db == nil {
			return
		}
		r.closing.Store(true)
		r.db.Store(nil)
		r.silent.Store(false)
		r.rec.Kill()
		_ = db.Close() // the process is dead
	})
}
