package engine_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// These flags repeat what a violation has printed.
var (
	crashMode = flag.String("crash-mode", "", "only images of this mode")
	crashAt   = flag.String("crash-at", "", "only images of crashes at calls whose description contains this text")
)

// chosen leaves, of the crashes that a test would look at, those that the flags choose. Without flags every nth cut is looked at.
func chosenCuts(trace mmapiotest.Trace, nth int) (cuts []mmapiotest.Cut) {
	for i, cut := range worthwhile(trace) {
		if *crashAt == "" && i%nth == 0 || *crashAt != "" && strings.Contains(describe(trace, cut), *crashAt) {
			cuts = append(cuts, cut)
		}
	}
	return cuts
}

func chosenModes(modes []mmapiotest.Mode) (out []mmapiotest.Mode) {
	for _, m := range modes {
		if *crashMode == "" || *crashMode == m.String() {
			out = append(out, m)
		}
	}
	return out
}

// worthwhile are the cuts of a trace without those at marks: the one before the next call has the same
// pending effects and bounds that are at least as narrow. Before an open they are narrower.
func worthwhile(trace mmapiotest.Trace) (cuts []mmapiotest.Cut) {
	first := slices.IndexFunc(trace, func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.OpenDir })
	for _, cut := range trace.Cuts() {
		if cut.Op < first { // there is nothing yet
			continue
		}
		if cut.Op < len(trace) && trace[cut.Op].Kind == mmapiotest.Mark {
			if _, opening := trace[cut.Op].Value.(openingMark); !opening {
				continue
			}
		}
		cuts = append(cuts, cut)
	}
	return cuts
}

// describe names the call at a cut.
func describe(trace mmapiotest.Trace, cut mmapiotest.Cut) string {
	if cut.Op == len(trace) {
		return "at the end"
	}
	where := "before"
	if cut.Inside {
		where = "inside"
	}
	return where + " " + strings.TrimSpace(trace[cut.Op].String())
}

// repeat is the command that repeats just the images of one call and mode. The order of what runs concurrently is not
// in the seed, so the call is named, not numbered.
func repeat(t *testing.T, seed uint64, trace mmapiotest.Trace, cut mmapiotest.Cut, mode mmapiotest.Mode) string {
	return fmt.Sprintf("go test ./engine -run '^%s$' -args -seed %d -crash-mode '%s' -crash-at '%s'",
		strings.ReplaceAll(t.Name(), "/", "$/^"), seed, mode, describe(trace, cut))
}

// checkAll opens every image of these cuts of a trace, and returns how many there were.
func (r *crashRun) checkAll(t *testing.T, trace mmapiotest.Trace, cuts []mmapiotest.Cut, modes []mmapiotest.Mode) int {
	var wg sync.WaitGroup
	workers := 2 * runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Add(1)
		judge := r.newJudge(t, trace)
		go func() {
			defer wg.Done()
			for i := w * len(cuts) / workers; i < (w+1)*len(cuts)/workers; i++ {
				for _, m := range modes {
					if v := judge.violation(cuts[i], m); v != "" {
						judge.report(t, cuts[i], m, v)
						return
					}
				}
			}
		}()
	}
	wg.Wait()
	return len(cuts) * len(modes)
}

// report fails the test with what is needed to see the image again.
func (j *judge) report(t *testing.T, cut mmapiotest.Cut, mode mmapiotest.Mode, violation string) {
	t.Errorf("seed %d, %s (%s), %s: %s\nrepeat it: %s\nthe image (kept with -artifacts): %s", j.run.seed, cut,
		describe(j.trace, cut), mode, violation, repeat(t, j.run.seed, j.trace, cut, mode),
		keepImage(t, j.replayer.Image(cut, mode, j.run.seed)))
}

// keepImage writes an image to where -artifacts keeps it.
func keepImage(t *testing.T, image mmapiotest.Image) string {
	dir := filepath.Join(t.ArtifactDir(), fmt.Sprintf("image-%x", image.Hash()))
	if err := image.WriteTo(dir); err != nil {
		return err.Error()
	}
	return dir
}

// judge opens images of one trace, in one directory. It is used by one goroutine.
type judge struct {
	run      *crashRun
	trace    mmapiotest.Trace
	replayer *mmapiotest.Replayer
	bounds   []bounds // at each op
	dir      string
	clock    fakeClock
	opened   int
}

func (r *crashRun) newJudge(t *testing.T, trace mmapiotest.Trace) *judge {
	dir, err := os.MkdirTemp(memoryDir(), "crash")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	j := &judge{run: r, dir: dir}
	j.turnTo(trace)
	return j
}

// turnTo makes the judge one of another trace.
func (j *judge) turnTo(trace mmapiotest.Trace) {
	j.trace, j.replayer, j.bounds = trace, trace.Replayer(), traceBounds(trace)
	j.replayer.Block = int64(j.run.align)
}

// memoryDir is where thousands of small directories can be made and lost quickly.
func memoryDir() string {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		return shm
	}
	return ""
}

func (j *judge) violation(cut mmapiotest.Cut, mode mmapiotest.Mode) string {
	b := j.bounds[cut.Op]
	return j.outcome(j.replayer.Image(cut, mode, j.run.seed), b.wall).violates(b)
}

// outcome finds out what an image is, once for equal ones. wall is what the clock said when the power failed.
func (j *judge) outcome(image mmapiotest.Image, wall int64) outcome {
	hash := image.Hash()
	o, known := j.run.judged.get(hash)
	if !known {
		o = j.open(image, crashWall(hash, wall), hash%4 == 0)
		j.run.judged.put(hash, o)
	}
	return o
}

// longBefore and longAfter are moments before any run and after it, but for deadlines that lie far ahead.
var longBefore, longAfter = noon.Add(-10 * time.Hour).UnixNano(), noon.Add(10 * time.Hour).UnixNano()

// crashWall is the wall clock by which something is opened after a crash: set back long before it, or as it was, or somewhat later.
func crashWall(hash uint64, wall int64) int64 {
	switch hash >> 8 % 4 {
	case 0:
		return wall
	case 1:
		return wall + int64(20*time.Second)
	}
	return longBefore
}

// open finds out what an image is: it is opened, compared, written to, closed, opened again and compared, at clocks
// that go forth and back. thoroughly it is also closed and opened between, and written to so much that a log fills up.
func (j *judge) open(image mmapiotest.Image, wall int64, thoroughly bool) (o outcome) {
	if j.opened++; j.opened%64 == 0 {
		runtime.GC() // lets go of the address space of databases that were closed
	}
	if o.err = image.WriteTo(j.dir); o.err != nil {
		return o
	}
	p := &opened{run: j.run, opts: j.run.options(j.dir), clock: &j.clock}
	p.opts.Now = j.clock.now
	p.set(wall)
	if p.db, o.err = engine.Open(p.opts); o.err != nil {
		return outcome{err: fmt.Errorf("the image does not open: %w", o.err)}
	}
	s := p.db.Stats()
	o = outcome{seq: s.Version.Seq, generation: s.Generation, clean: s.Recovery.Clean, wall: wall}
	if len(s.Recovery.Repaired) > 0 && !j.run.damaged {
		o.err = fmt.Errorf("a crash is no damage, yet it was repaired: %v", s.Recovery.Repaired)
	}
	if err := p.examine(&o, thoroughly); err != nil && o.err == nil {
		o.err = err
	}
	if err := p.db.Close(); err != nil && o.err == nil {
		o.err = err
	}
	return o
}

// opened is an image that is open.
type opened struct {
	run   *crashRun
	opts  engine.Options
	clock *fakeClock
	db    *engine.DB
	model crashModel
	now   int64 // engine time, or so near that the same keys are due
}

func (p *opened) set(wall int64) { p.clock.ns.Store(wall - noon.UnixNano()) }

// examine compares, goes on, and says at which step it has failed.
func (p *opened) examine(o *outcome, thoroughly bool) (err error) {
	if p.model, err = p.run.history.at(o.seq); err != nil {
		return err
	}
	if o.gone, o.alive, err = p.model.expired(p.db); err != nil {
		return err
	}
	if recorded := p.run.history.time(o.seq); o.alive <= recorded {
		return fmt.Errorf("a key that was due at %d is there, engine time had been recorded as %d", o.alive, recorded)
	}
	if o.alive <= o.wall {
		return fmt.Errorf("a key that was due at %d is there at %d", o.alive, o.wall)
	}
	p.now = max(o.gone, o.wall)
	later := max(p.now, p.run.history.time(o.seq)+int64(10*time.Second))
	steps := []func() error{
		p.compare,
		func() error { p.set(later); return p.compareAt(later) },
		func() error { p.set(longBefore); return p.compare() }, // what was due stays due
		p.reopen,
		func() error { return p.write(moreWrites) },
		func() error { p.set(longAfter); return p.compareAt(longAfter) },
		func() error { p.set(longBefore); return p.reopen() },
	}
	for i, step := range steps {
		if i == 3 && !thoroughly {
			continue
		}
		if i == 4 && !thoroughly {
			step = func() error { return p.write(fewWrites) }
		}
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

func (p *opened) compare() error { return p.model.compare(p.db, p.now) }

func (p *opened) compareAt(now int64) error {
	p.now = max(p.now, now)
	return p.compare()
}

// reopen closes the database and opens it again: it was closed cleanly, and nothing has changed.
func (p *opened) reopen() error {
	before := p.db.Version()
	if err := p.db.Close(); err != nil {
		return err
	}
	db, err := engine.Open(p.opts)
	if err != nil {
		return err
	}
	p.db = db
	if s := db.Stats(); !s.Recovery.Clean || s.Version != before {
		return fmt.Errorf("reopened at %v instead of %v, clean: %v", s.Version, before, s.Recovery.Clean)
	}
	return p.compare()
}

// How much is written to an image: so much that a log fills up, or that it has been written to.
const moreWrites, fewWrites = 20, 3

// write writes to the database and to the model. Half of the writes are conditions that hold, and one does not.
func (p *opened) write(n int) error {
	for i := range n {
		var b engine.Batch
		op := crashOp{key: crashKey(i % crashKeys), value: fmt.Sprintf("more %d", i)}
		if was, set := p.model.set(op.key, p.now); !set {
			b.IfAbsent([]byte(op.key))
		} else {
			b.IfVersion([]byte(op.key), was.version)
		}
		b.Set([]byte(op.key), []byte(op.value))
		v, err := p.db.Apply(ctx, &b)
		if err != nil {
			return err
		}
		if op.version = v; i == 0 {
			if _, err := p.db.Apply(ctx, &b); !errors.Is(err, engine.ErrConditionFailed) {
				return fmt.Errorf("a condition that does not hold any more: %w", err)
			}
		}
		p.model.apply(op)
	}
	return nil
}

// results are the outcomes of images by hash.
type results struct {
	mu      sync.Mutex
	results map[uint64]outcome
}

func (r *results) get(hash uint64) (outcome, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, ok := r.results[hash]
	return o, ok
}

func (r *results) put(hash uint64, o outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results[hash] = o
}

func (r *results) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.results)
}
