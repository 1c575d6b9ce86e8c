package engine_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// TestCrashImages records a run, takes apart what it asked of the disk, and opens what a power cut could have left behind: at every
// call and inside every write, in sixteen ways. Each image must be the model at exactly one
// point between the last operation acknowledged and the last one issued.
//
// The default sync mode is taken apart at every cut. The other differs in how a group becomes durable, and by default is
// cut at every tenth place only. SMALLDB_TEST_LONG takes all cuts of both, of twenty runs.
func TestCrashImages(t *testing.T) {
	seeds := uint64(1)
	if long {
		seeds = 20
	}
	for _, mode := range crashModes {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= seeds; seed++ {
				run := recordCrashRun(t, mode.sync, seed)
				cuts := run.trace.Cuts()
				if !long {
					cuts = everyNth(cuts, mode.stride)
				}
				run.checkAll(t, run.trace, cuts)
				t.Logf("seed %d: %d calls, %d cuts, %d images, %d of them different", seed, len(run.trace), len(cuts),
					len(cuts)*len(mmapiotest.Modes()), len(run.judged.results))
			}
		})
	}
}

func everyNth(cuts []mmapiotest.Cut, n int) []mmapiotest.Cut {
	var some []mmapiotest.Cut
	for i := 0; i < len(cuts); i += n {
		some = append(some, cuts[i])
	}
	return some
}

// TestEverySyncIsNeeded takes out one sync after the other, and expects the same images to show it.
func TestEverySyncIsNeeded(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join("..", "docs", "durability.md"))
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, mode := range crashModes {
		run := recordCrashRun(t, mode.sync, 1)
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
}

var crashModes = []struct {
	name   string
	sync   engine.SyncMode
	stride int // of the cuts that are taken by default
}{{"sync=dsync", engine.SyncDsync, 1}, {"sync=data", engine.SyncData, 10}}

// bounds are what the oracle demands of an image.
type bounds struct {
	acknowledged uint64 // last sequence that was
	issued       uint64 // last sequence that may be there
	generation   uint64 // of the last checkpoint that was acknowledged
	closed       bool   // the database was closed and not opened since
}

// outcome is what an image turned out to be.
type outcome struct {
	seq        uint64
	generation uint64
	clean      bool
	err        error // a violation whatever the bounds
}

// violates says how an outcome violates the bounds; "" if it does not.
func (o outcome) violates(b bounds) string {
	switch {
	case o.err != nil:
		return o.err.Error()
	case o.seq < b.acknowledged:
		return fmt.Sprintf("operation %d was acknowledged, only %d are there", b.acknowledged, o.seq)
	case o.seq > b.issued:
		return fmt.Sprintf("operation %d is there, only %d were issued", o.seq, b.issued)
	case o.generation < b.generation:
		return fmt.Sprintf("checkpoint %d was acknowledged, it starts from %d", b.generation, o.generation)
	case b.closed && !o.clean:
		return "it was closed cleanly and does not look so"
	}
	return ""
}

// checkAll opens every image of these cuts of a trace.
func (r *crashRun) checkAll(t *testing.T, trace mmapiotest.Trace, cuts []mmapiotest.Cut) {
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			judge := r.newJudge(t, trace)
			for i := w * len(cuts) / workers; i < (w+1)*len(cuts)/workers; i++ {
				for _, m := range mmapiotest.Modes() {
					if v := judge.violation(cuts[i], m); v != "" {
						t.Errorf("seed %d, %s (%s), %s: %s", r.seed, cuts[i], describe(trace, cuts[i]), m, v)
						return
					}
				}
			}
		}()
	}
	wg.Wait()
}

// firstViolation returns the first image of a trace that violates the oracle, in words; "" if none does.
func (r *crashRun) firstViolation(t *testing.T, trace mmapiotest.Trace) string {
	judge := r.newJudge(t, trace)
	for _, cut := range trace.Cuts() {
		for _, m := range mmapiotest.Modes() {
			if v := judge.violation(cut, m); v != "" {
				return fmt.Sprintf("%s %s: %s", m, describe(trace, cut), v)
			}
		}
	}
	return ""
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

// judge opens images of one trace, in one directory. It is used by one goroutine.
type judge struct {
	run      *crashRun
	trace    mmapiotest.Trace
	replayer *mmapiotest.Replayer
	bounds   []bounds // at each op
	dir      string
	opened   int
}

func (r *crashRun) newJudge(t *testing.T, trace mmapiotest.Trace) *judge {
	dir, err := os.MkdirTemp(memoryDir(), "crash")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &judge{run: r, trace: trace, replayer: trace.Replayer(), bounds: traceBounds(trace), dir: dir}
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
	return j.outcome(j.replayer.Image(cut, mode, j.run.seed)).violates(j.bounds[cut.Op])
}

// outcome finds out what an image is, once for equal ones.
func (j *judge) outcome(image mmapiotest.Image) outcome {
	hash := image.Hash()
	o, known := j.run.judged.get(hash)
	if !known {
		o = j.open(image)
		j.run.judged.put(hash, o)
	}
	return o
}

// open finds out what an image is: it is opened, compared, opened again, written to, closed and opened once more.
func (j *judge) open(image mmapiotest.Image) (o outcome) {
	if j.opened++; j.opened%64 == 0 {
		runtime.GC() // lets go of the address space of databases that were closed
	}
	if o.err = image.WriteTo(j.dir); o.err != nil {
		return o
	}
	opts := j.run.options(j.dir)
	opts.OpenDir = nil
	db, err := engine.Open(opts)
	if err != nil {
		return outcome{err: fmt.Errorf("the image does not open: %w", err)}
	}
	s := db.Stats()
	o = outcome{seq: s.Version.Seq, generation: s.Generation, clean: s.Recovery.Clean}
	if len(s.Recovery.Repaired) > 0 {
		o.err = fmt.Errorf("a crash is no damage, yet it was repaired: %v", s.Recovery.Repaired)
	}
	model, err := j.run.modelAt(o.seq)
	steps := []func() error{
		func() error { return err },
		func() error { return compare(db, model) },
		func() error { return db.Close() },
		func() error { return reopen(&db, opts, s.Version.Seq) },
		func() error { return compare(db, model) },
		func() error { return writeMore(db, model) },
		func() error { return db.Close() },
		func() error { return reopen(&db, opts, s.Version.Seq+moreWrites) },
		func() error { return compare(db, model) },
		func() error { return db.Close() },
	}
	for i, step := range steps {
		if err := step(); err != nil && o.err == nil {
			o.err = fmt.Errorf("step %d: %w", i, err)
			db.Close()
			break
		}
	}
	return o
}

// reopen opens the database again after a clean close, and expects that and the sequence.
func reopen(db **engine.DB, opts engine.Options, seq uint64) error {
	next, err := engine.Open(opts)
	if err != nil {
		return err
	}
	*db = next
	if s := next.Stats(); !s.Recovery.Clean || s.Version.Seq != seq {
		return fmt.Errorf("reopened at %d instead of %d, clean: %v", s.Version.Seq, seq, s.Recovery.Clean)
	}
	return nil
}

const moreWrites = 20

// writeMore writes to the database and to the model.
func writeMore(db *engine.DB, model map[string]string) error {
	for i := range moreWrites {
		k, v := crashKey(i%crashKeys), fmt.Sprintf("more %d", i)
		if _, err := db.Set(ctx, []byte(k), []byte(v)); err != nil {
			return err
		}
		model[k] = v
	}
	return nil
}

// compare compares all keys that were ever written, one by one and in a scan, and the number of those that are set.
func compare(db *engine.DB, model map[string]string) error {
	if n := db.Stats().Keys; n != uint64(len(model)) {
		return fmt.Errorf("%d keys instead of %d", n, len(model))
	}
	for i := range crashKeys {
		k := crashKey(i)
		v, ok, err := db.Get([]byte(k))
		want, has := model[k]
		if err != nil || ok != has || string(v) != want {
			return fmt.Errorf("%s is %.20q, %v, %v instead of %.20q, %v", k, v, ok, err, want, has)
		}
	}
	snapshot, seen := db.Snapshot(), 0
	for k, v := range snapshot.Scan(nil, nil) {
		if want, has := model[string(k)]; !has || string(v) != want {
			return fmt.Errorf("a scan finds %s as %.20q instead of %.20q, %v", k, v, want, has)
		}
		seen++
	}
	if err := snapshot.Err(); err != nil || seen != len(model) {
		return fmt.Errorf("a scan finds %d keys instead of %d, %v", seen, len(model), err)
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

// TestCrashInRecovery crashes again while an image is being opened: at every call of the recovery, and the same bounds hold.
func TestCrashInRecovery(t *testing.T) {
	t.Parallel()
	const stride, seed = 97, 1 // every so many cuts; a prime, to meet every kind
	run := recordCrashRun(t, engine.SyncDsync, seed)
	first := run.newJudge(t, run.trace)
	again, opened := 0, map[uint64]bool{}
	cuts := run.trace.Cuts()
	for i := 0; i < len(cuts)*len(mmapiotest.Modes()); i += stride {
		cut, mode := cuts[i/len(mmapiotest.Modes())], mmapiotest.Modes()[i%len(mmapiotest.Modes())]
		image := first.replayer.Image(cut, mode, seed)
		if opened[image.Hash()] {
			continue
		}
		opened[image.Hash()] = true
		second := run.newJudge(t, recordRecovery(t, run, image))
		for _, cut2 := range second.trace.Cuts() {
			for _, mode2 := range recoveryModes {
				image := second.replayer.Image(cut2, mode2, seed)
				o := second.outcome(image)
				b := first.bounds[cut.Op]
				b.closed = false // an open that did not get far may have begun a new log
				if v := o.violates(b); v != "" {
					t.Fatalf("%s (%s), %s, then %s, %s: %s", cut, describe(run.trace, cut), mode, describe(second.trace, cut2), mode2, v)
				}
				again++
			}
		}
	}
	t.Logf("seed %d: %d images opened, %d images of crashes in that, no violation", seed, len(opened), again)
}

// recoveryModes are those that differ most.
var recoveryModes = []mmapiotest.Mode{mmapiotest.SyncedOnly, mmapiotest.Everything, mmapiotest.TornSubset, mmapiotest.NamesWithData}

// recordRecovery records what opening an image asks of the disk.
func recordRecovery(t *testing.T, run *crashRun, image mmapiotest.Image) mmapiotest.Trace {
	dir, err := os.MkdirTemp(memoryDir(), "recovery")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	require.NoError(t, image.WriteTo(dir))
	rec := mmapiotest.NewRecorder()
	opts := run.options(dir)
	opts.OpenDir = rec.OpenDir
	db, err := engine.Open(opts)
	require.NoError(t, err)
	rec.Kill()
	db.Close() // fails: the process is dead
	return rec.Trace()
}
