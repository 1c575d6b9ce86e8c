// Package torture proves what a database promises on the disk that it is to live on: it kills a process that writes, makes calls on
// the disk fail, rebuilds what a power cut could have left, and damages copies; each time it opens what is there and compares it with a model.
//
// Clients write at the same time, and tell what they issue before they hand it over, and what they were answered after that. A child
// tells through a pipe, which outlives it: so its order is the proof of what had been acknowledged when it was killed.
package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tongpengdl/small-db/engine"
)

// MaxClients bounds Options.Clients.
const MaxClients = 64

// Options say what is tortured, and for how long.
type Options struct {
	Dir        string        // where: missing, empty, or what an earlier run has left
	For        time.Duration // at least one cycle of each kind is done, however short it is
	Seed       uint64        // of everything that is drawn; what depends on the scheduler does not repeat
	Clients    int           // that write at the same time, 1 to MaxClients
	ValueBytes int           // the longest value, MinValueBytes to MaxValueBytes

	Open     OpenFunc                                   // of this process
	Child    func() (*exec.Cmd, error)                  // a process that calls Child, with its Open
	Progress func(checked int64, elapsed time.Duration) // called after each directory that was judged, by one goroutine at a time
}

// run is one Run.
type run struct {
	opts     Options
	rng      *rand.Rand
	started  time.Time
	dir      string // of this run, in opts.Dir
	lives    uint64
	opens    atomic.Int64
	victim   victim
	recorded *model // of the directory that power cuts are recorded in; nil before the first
	latency  *latency

	mu       sync.Mutex // while images are judged, several goroutines change these two
	result   Result
	evidence evidence
}

// Run tortures until the time is up, ctx ends or a promise is broken, which the result says. An error is one of the surroundings:
// ErrForeign, ErrRemoved, and those of the system. Whatever it is, the result says what was done so far.
func Run(ctx context.Context, opts Options) (Result, error) {
	r := &run{opts: opts, rng: rand.New(rand.NewPCG(opts.Seed, 0)), started: time.Now()}
	r.result = Result{Seed: opts.Seed, Clients: opts.Clients, ValueBytes: opts.ValueBytes}
	place, err := occupy(opts.Dir, opts.Seed)
	if err != nil {
		return r.result, err
	}
	defer place.close()
	r.dir = place.run
	r.victim = victim{dir: filepath.Join(r.dir, "killed"), model: newModel()}
	r.result.FileSystem = fileSystem(r.dir)
	if r.latency, err = newLatency(r.dir); err == nil {
		err = r.cycles(ctx)
	}
	return r.end(ctx, place, err)
}

// cycles does one after the other: that which has had the least time.
func (r *run) cycles(ctx context.Context) error {
	kinds := []func(context.Context) error{
		func(context.Context) error { return r.kill(false) },
		func(context.Context) error { return r.kill(true) },
		r.cut,
		r.rot,
	}
	took := make([]time.Duration, len(kinds))
	for n := 0; ctx.Err() == nil && (n < len(kinds) || time.Since(r.started) < r.opts.For); n++ {
		next := 0
		for i := range kinds {
			if took[i] < took[next] {
				next = i
			}
		}
		began := time.Now()
		r.evidence = evidence{}
		if err := kinds[next](ctx); err != nil {
			return err
		}
		took[next] += time.Since(began)
		r.result.Cycles++
		if err := r.latency.measure(); err != nil {
			return err
		}
	}
	return nil
}

// over reports whether a cycle should end that has judged n directories.
func (r *run) over(ctx context.Context, n int) bool {
	return ctx.Err() != nil || n >= leastPerRun && time.Since(r.started) >= r.opts.For
}

// opensPerCollection is how often stores are opened before their mappings are given back.
const opensPerCollection = 32

func (r *run) open(opts engine.Options) (Store, error) {
	if r.opens.Add(1)%opensPerCollection == 0 {
		runtime.GC()
	}
	return r.opts.Open(opts)
}

// change changes the result.
func (r *run) change(how func(*Result)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	how(&r.result)
}

// checked counts a directory that was judged.
func (r *run) checked() {
	r.change(func(out *Result) {
		out.Checked++
		if r.opts.Progress != nil {
			r.opts.Progress(out.Checked, time.Since(r.started))
		}
	})
}

// found counts units without an answer.
func (r *run) found(f found) {
	r.change(func(out *Result) {
		out.Unknown += int64(f.unknown)
		out.UnknownThere += int64(f.there)
	})
}

// count counts what clients have told.
func (r *run) count(events []event) {
	sizes := map[uint64]int64{}
	for _, e := range events {
		switch e.Kind {
		case issued:
			sizes[e.Unit] = int64(len(e.Ops))
		case acknowledged:
			r.result.Acknowledged += sizes[e.Unit]
		case refused:
			r.result.Refused++
		case read:
			r.result.Reads++
		case checkpointed:
			r.result.Checkpoints++
		case failed, logFailed:
			r.result.Faults++
			if e.Kind == logFailed {
				r.result.LogFaults++
			}
		}
	}
}

// end makes the verdict, and removes what it need not keep.
func (r *run) end(ctx context.Context, p *place, err error) (Result, error) {
	out := &r.result
	out.Seconds = time.Since(r.started).Seconds()
	out.Interrupted = ctx.Err() != nil
	if r.latency != nil {
		out.Median, out.P99 = r.latency.quantiles()
		r.latency.close()
	}
	v, broken := asViolation(err)
	removed := p.intact()
	switch {
	case removed != nil:
		return *out, removed // and nothing more: what is there now may be somebody else's
	case broken:
		out.Violation = v
		out.Evidence = r.dir
		if err := r.evidence.write(r.dir, *out); err != nil { // what was found counts more
			out.Violation += fmt.Sprintf(" (the evidence is not complete: %v)", err)
		}
		return *out, nil
	case err == nil && out.Checked == 0:
		err = ctx.Err()
	}
	out.Held = err == nil
	return *out, errors.Join(err, p.leave())
}
