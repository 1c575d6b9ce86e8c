package engine_test

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// faultKind is a way in which calls fail.
type faultKind struct {
	name  string
	err   error // nil for calls that are only slow
	short bool  // half is written first
	after bool  // it has its effect first
	until stretch
	only  func(op mmapiotest.Op) bool // the calls that can fail so; nil for all
	// stride is which of the calls are made to fail by the ordinary suite: every so many, from the first. 0 is the first of each place in the
	// product: what is done after a failure is then met as well.
	stride int
}

// every is the stride of this run. The race detector looks for other things, and takes as many times as long.
func (k *faultKind) every() int {
	switch {
	case long:
		return 1
	case raceDetector:
		return 5 * k.stride
	}
	return k.stride
}

// stretch says which calls after the first one fail too.
type stretch int

const (
	once      stretch = iota // none
	sameKind                 // those of the same kind, where they are as near to the live log as the first
	spaceGone                // those that need space, but for the live log, which has it
	diskDead                 // all
)

func isWrite(op mmapiotest.Op) bool { return op.Kind == mmapiotest.WriteAt }

// hasEffect says whether a call can fail and have had an effect that anybody sees.
func hasEffect(op mmapiotest.Op) bool {
	return op.Kind.Mutates() && op.Kind != mmapiotest.Flush || op.Kind == mmapiotest.LockDir
}

// needsSpace says whether a call can find the disk full.
func needsSpace(op mmapiotest.Op) bool { return op.Kind.Mutates() && op.Kind != mmapiotest.Remove }

var faultKinds = []faultKind{
	{name: "EIO once", err: syscall.EIO, stride: 1},
	{name: "ENOSPC once", err: syscall.ENOSPC, only: needsSpace, stride: 1},
	{name: "EIO for good", err: syscall.EIO, until: sameKind, stride: 37},
	{name: "ENOSPC for good", err: syscall.ENOSPC, until: spaceGone, only: needsSpace, stride: 23},
	{name: "EIO from all for good", err: syscall.EIO, until: diskDead, stride: 0},
	{name: "EINTR once", err: syscall.EINTR, stride: 47},
	{name: "half a write, then EIO", err: syscall.EIO, short: true, only: isWrite, stride: 23},
	{name: "half a write, then ENOSPC for good", err: syscall.ENOSPC, short: true, until: spaceGone, only: isWrite, stride: 11},
	{name: "done, yet EIO", err: syscall.EIO, after: true, only: hasEffect, stride: 19},
	{name: "slow", stride: 47},
}

// faultPlan lets the nth call that can fail so fail, or the first from a place, and what its kind says of those after it. The injector calls it,
// under its lock.
type faultPlan struct {
	kind  *faultKind
	nth   int    // from 1; 0 for none: then it only counts
	place string // instead of nth; "" for no place

	mu      sync.Mutex
	counted []string        // calls that can fail so: where they came from
	first   *mmapiotest.Op  // the first that failed; nil before
	failed  []mmapiotest.Op // all of them
	since   int             // how many of them there were when the database was opened last
	over    bool            // the disk is well again
	now     bool            // whether the call that was asked about last fails
}

// faults are those of the plan. A close always lets go of its descriptor.
func (p *faultPlan) faults() []mmapiotest.Fault {
	return []mmapiotest.Fault{
		{Match: func(op mmapiotest.Op) bool { return p.decide(op) && !isClose(op) }, ForGood: true, Err: p.kind.err, Short: p.kind.short, After: p.kind.after},
		{Match: func(op mmapiotest.Op) bool { return p.now && isClose(op) }, ForGood: true, Err: p.kind.err, After: true},
	}
}

func isClose(op mmapiotest.Op) bool {
	return op.Kind == mmapiotest.CloseFile || op.Kind == mmapiotest.CloseDir
}

// decide counts a call and says whether it fails.
func (p *faultPlan) decide(op mmapiotest.Op) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = false
	if p.over {
		return false
	}
	if p.kind.only == nil || p.kind.only(op) {
		place := op.Site.Line + " " + op.Kind.String()
		p.counted = append(p.counted, place)
		p.now = (len(p.counted) == p.nth || place == p.place) && p.first == nil
	}
	if p.first != nil {
		p.now = p.lasts(op)
	}
	if p.now {
		op.Data = nil
		if p.first == nil {
			p.first = &op
		}
		p.failed = append(p.failed, op)
	}
	return p.now
}

// lasts says whether a call after the first one fails too.
func (p *faultPlan) lasts(op mmapiotest.Op) bool {
	switch p.kind.until {
	case sameKind:
		return op.Kind == p.first.Kind && toTheLog(op) == toTheLog(*p.first)
	case spaceGone:
		return needsSpace(op) && !toTheLog(op)
	case diskDead:
		return true
	}
	return false
}

// begun reports whether a call has failed.
func (p *faultPlan) begun() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.first != nil
}

// toLive reports whether a call to the live log has failed since the open, so that the engine must be poisoned, or one to close it, so that it
// may be.
func (p *faultPlan) toLive() (must, may bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kind.err == nil { // none has failed
		return false, false
	}
	for _, op := range p.failed[p.since:] {
		must = must || toTheLog(op)
		may = may || must || strings.Contains(op.Site.Func, "(*liveLog).close")
	}
	return must, may
}

// opened begins another life of the database.
func (p *faultPlan) opened() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = len(p.failed)
}

// heal makes the disk well again.
func (p *faultPlan) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
}

// faultTally is what became of all runs.
type faultTally struct {
	mu       sync.Mutex
	hit      siteSet
	runs     map[string]int // by kind
	calls    int            // that were made to fail
	poisoned int
	refused  int            // an operation failed, definitely, and nothing else
	harmless map[string]int // nobody was told, and all was well: by place and kind of call
	slow     int            // calls that took long
	unmet    int            // the run had ended before the call that was to fail
}

func (s *faultTally) add(r *faultRun) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs[r.plan.kind.name]++
	if r.plan.first == nil {
		s.unmet++
		return
	}
	for _, op := range r.plan.failed {
		s.hit.addOp(op)
	}
	s.calls += len(r.plan.failed)
	switch {
	case r.plan.kind.err == nil:
		s.slow++
	case r.everPoisoned:
		s.poisoned++
	case r.surfaced:
		s.refused++
	default:
		s.harmless[fmt.Sprintf("%s: %s", r.plan.first.Site.Func, r.plan.first.Kind)]++
	}
}

// faultJob is one run to be made.
type faultJob struct {
	scenario *faultScenario
	kind     *faultKind
	nth      int
	place    string // instead of nth; "" for no place
}

// TestEveryCallFails performs everything that calls package mmapio, in several short runs, again and again, and each time lets another call
// fail: the first, the second and so on, whatever it asks for. After each failure, and again at the end, what a kill would leave behind and
// what a power cut would leave are opened, and both must be the model at exactly one point between the last operation acknowledged and the last
// one issued. What is acknowledged when, what is refused with which error, and what goes on, is in faultRun.
//
// By default each call fails once with EIO and once with ENOSPC, and every so many in each of the other ways; SMALLDB_TEST_LONG lets each fail
// in each way.
func TestEveryCallFails(t *testing.T) {
	before := runtime.NumGoroutine()
	tally := &faultTally{hit: siteSet{}, runs: map[string]int{}, harmless: map[string]int{}}
	jobs, places, calls := faultJobs(t)
	runFaults(t, jobs, tally)
	runFaults(t, missedJobs(tally.hit, places), tally)
	report(t, calls, tally)
	require.GreaterOrEqual(t, calls, 1000, "calls in the runs")
	require.Less(t, tally.unmet*50, len(jobs), "the runs differ so much that calls are missed")
	requireAllSites(t, tally.hit, unreachable)
	eventually(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
}

// faultJobs are the runs to be made, the places that their calls come from, each with a run that has one, and how many calls there are.
func faultJobs(t *testing.T) (jobs []faultJob, places map[string]*faultScenario, calls int) {
	met := map[string]bool{}
	places = map[string]*faultScenario{}
	for _, s := range faultScenarios(t) {
		for i := range faultKinds {
			kind, counted := &faultKinds[i], s.count(t, &faultKinds[i])
			if i == 0 {
				calls += len(counted)
			}
			for j, place := range counted {
				places[place] = s
				stride := kind.every()
				chosen := stride > 0 && j%stride == 0
				if stride == 0 && !met[place] {
					chosen, met[place] = true, true
				}
				if chosen {
					jobs = append(jobs, faultJob{s, kind, j + 1, ""})
				}
			}
		}
	}
	return jobs, places, calls
}

// missedJobs let a call fail from each place that was not hit: where there is one call from it in all, and those of a run come in another order each time, it
// may not be the one with its number.
func missedJobs(hit siteSet, places map[string]*faultScenario) (jobs []faultJob) {
	for place, s := range places {
		if !hit[place] {
			jobs = append(jobs, faultJob{s, &faultKinds[0], 0, place})
		}
	}
	return jobs
}

// runFaults performs the jobs, several at a time.
func runFaults(t *testing.T, jobs []faultJob, tally *faultTally) {
	var workers sync.WaitGroup
	next := make(chan faultJob)
	for range 2 * runtime.GOMAXPROCS(0) { // a run waits as long as it works
		place := inMemory(t)
		workers.Go(func() {
			for job := range next {
				if t.Failed() && !long {
					continue
				}
				r := newFaultRun(job.scenario, job.kind, job.nth, place)
				r.plan.place = job.place
				if violation := r.perform(); violation != "" {
					t.Errorf("%s, call %d%s, %s (%v): %s", job.scenario.name, job.nth, job.place, job.kind.name, r.plan.first, violation)
				}
				tally.add(r)
			}
		})
	}
	for _, job := range jobs {
		next <- job
	}
	close(next)
	workers.Wait()
}

func report(t *testing.T, calls int, s *faultTally) {
	t.Logf("%d calls in the runs, %d made to fail in all, %d places of %d hit; poisoned %d, refused %d, harmless %d, slow %d, unmet %d; no violation: %t",
		calls, s.calls, placesHit(t, s.hit), len(listCalls(t)), s.poisoned, s.refused, sum(s.harmless), s.slow, s.unmet, !t.Failed())
	var kinds, harmless []string
	for i := range faultKinds {
		k := &faultKinds[i]
		sample := fmt.Sprintf("1 call of %d", k.every())
		if k.every() == 0 {
			sample = "a call from every place"
		}
		kinds = append(kinds, fmt.Sprintf("%s: %d (%s)", k.name, s.runs[k.name], sample))
	}
	for _, place := range slices.Sorted(maps.Keys(s.harmless)) {
		harmless = append(harmless, fmt.Sprintf("%s: %d", place, s.harmless[place]))
	}
	t.Logf("runs: %s", strings.Join(kinds, ", "))
	t.Logf("nobody was told, and all was well: %s", strings.Join(harmless, ", "))
}

// placesHit is how many places in the product were hit.
func placesHit(t *testing.T, hit siteSet) (n int) {
	for _, c := range listCalls(t) {
		if hit.hits(&c) {
			n++
		}
	}
	return n
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// unreachable are the places that no run hits, and why.
var unreachable = map[string]string{
	"(*spares).prepare: Dir.Remove, number 3": "a log must be retired while the helper prepares a spare, and the runs keep these apart, for their calls to come in one order",
}
