package engine

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// request is what one writer hands to the pipeline: operations, or a task. It is
// the pipeline's from submit until its group is done.
type request struct {
	ops        []op
	conditions []condition
	bytes      int          // size of the records
	weight     int          // bytes that the pipeline holds for it: the records, and what the conditions are about
	version    Version      // of its last operation; set by commit
	err        error        // why it was left out of its group, which may be committed all the same; set by commit
	task       func() error // what to run between two groups instead; such a request has a group of its own
	single     [1]op        // backs ops for a single operation
}

// group is the requests that one durable write commits.
type group struct {
	requests []*request
	ops      int
	weight   int
	bytes    int           // size of the records of those that commit has admitted
	err      error         // the outcome of all; written before done is closed
	done     chan struct{} // nil for a group whose only writer commits it itself
	read     bool          // what the requests point to will not be read any more; under mu of the pipeline
}

// pipeline puts the requests of any number of writers in order, gathers them
// into groups and commits one group at a time. What it does with a group is a function it is handed, so that it can be
// tested without a disk.
//
//	submit ──► gather into groups ──► commit (by whoever holds the pipeline) ──► done
//
// Exactly one goroutine holds the pipeline, and only that one calls commit. A writer that finds it
// free takes it, commits its own request and gives it back; if others have come meanwhile, it
// passes it on to the flusher, a dedicated goroutine, which keeps it as long as requests come.
// There is no timer. Before it takes a group the flusher lets the writers run whom it has just answered; else
// it would start again before they return, and groups would be half as large.
type pipeline struct {
	commit func(*group) error // called by the holder; it calls wasRead

	mu       sync.Mutex
	allRead  sync.Cond    // signalled when a group was read, if somebody waits for that
	leaving  int          // writers that wait for allRead
	room     sync.Cond    // signalled when queued falls; for writers that wait for room
	groups   []*group     // gathered, the last one still open
	queued   int          // weight of groups
	held     bool         // somebody holds the pipeline
	stopped  error        // why nothing is taken in any more; nil while it runs
	idle     sync.Cond    // signalled when the pipeline is given back
	expect   int          // requests in the last group that was taken: what to make room for in the next
	waiting  atomic.Int64 // operations in the first group; stored under mu, so that gather needs none
	wake     chan struct{}
	finished chan struct{} // closed when the flusher has ended

	hoped   int   // operations that the next group should have: those of the last one, whose writers may come again, and those that wait; the holder's
	own     group // of a writer that commits by itself; the holder's
	ownList [1]*request
	limit   pipelineLimit
}

// pipelineLimit bounds what gathers, in bytes of weight.
type pipelineLimit struct {
	group int // a group closes before it would exceed this, unless it is one request
	queue int // beyond this, writers wait
}

const (
	// gatherYields is how many yields in a row may bring no operation before the flusher takes the group.
	gatherYields = 2
	// gatherTime is how long the flusher waits for a group to gather at the most.
	gatherTime = 100 * time.Microsecond
)

func newPipeline(limit pipelineLimit, commit func(*group) error) *pipeline {
	p := &pipeline{commit: commit, limit: limit, wake: make(chan struct{}, 1), finished: make(chan struct{})}
	p.room.L, p.idle.L, p.allRead.L = &p.mu, &p.mu, &p.mu
	go p.flush()
	return p
}

// submit hands a request over and waits until it is committed. If ctx ends before the request's
// group is taken, nothing of it is written and the error is that of ctx; after that the outcome is unknown (ErrIndeterminate), and
// abandoned is true: the request is still the pipeline's.
func (p *pipeline) submit(ctx context.Context, r *request) (abandoned bool, err error) {
	p.mu.Lock()
	if err := p.waitForRoom(ctx); err != nil {
		p.mu.Unlock()
		return false, err
	}
	if !p.held {
		p.held = true
		p.mu.Unlock()
		return false, outcome(p.commitOwn(r), r)
	}
	g := p.enqueue(r)
	p.mu.Unlock()

	ended := ctx.Done()
	if ended == nil { // a receive costs less than half of a select
		<-g.done
		return false, outcome(g.err, r)
	}
	select {
	case <-g.done:
		return false, outcome(g.err, r)
	case <-ended:
		return p.abandon(ctx, g, r)
	}
}

// outcome is that of a request whose group had this outcome. What a request was left out for may itself rest on the group.
func outcome(group error, r *request) error {
	if group != nil {
		return group
	}
	return r.err
}

// waitForRoom returns when the queue has room or nothing is taken in any more. The caller holds mu.
func (p *pipeline) waitForRoom(ctx context.Context) error {
	if p.stopped == nil && p.queued >= p.limit.queue {
		stop := context.AfterFunc(ctx, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.room.Broadcast()
		})
		defer stop()
	}
	for p.stopped == nil && p.queued >= p.limit.queue && ctx.Err() == nil {
		p.room.Wait()
	}
	if p.stopped != nil {
		return p.stopped
	}
	return ctx.Err()
}

// enqueue adds the request to the last group, or to a new one. The caller holds mu.
func (p *pipeline) enqueue(r *request) *group {
	var g *group
	if n := len(p.groups); n > 0 {
		g = p.groups[n-1]
	}
	if g == nil || r.task != nil || g.requests[0].task != nil || g.weight+r.weight > p.limit.group {
		g = &group{done: make(chan struct{}), requests: make([]*request, 0, p.expect)}
		p.groups = append(p.groups, g)
	}
	g.requests = append(g.requests, r)
	g.ops += len(r.ops)
	g.weight += r.weight
	p.queued += r.weight
	p.noteFirst()
	return g
}

// noteFirst keeps up waiting. The caller holds mu.
func (p *pipeline) noteFirst() {
	ops := 0
	if len(p.groups) > 0 {
		ops = p.groups[0].ops
	}
	p.waiting.Store(int64(ops))
}

// abandon is the end of a request whose context ended first.
func (p *pipeline) abandon(ctx context.Context, g *group, r *request) (bool, error) {
	if p.withdraw(g, r) {
		return false, ctx.Err()
	}
	// The group was taken. What the request points to belongs to the caller
	// again when this returns, so wait until it has been read.
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving++
	for !g.read {
		p.allRead.Wait()
	}
	p.leaving--
	select {
	case <-g.done:
		return false, outcome(g.err, r)
	default:
		return true, fmt.Errorf("%w: %w", ErrIndeterminate, ctx.Err())
	}
}

// wasRead says that what the requests of a group point to will not be read any more. The holder calls it.
func (p *pipeline) wasRead(g *group) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g.read = true
	if p.leaving > 0 {
		p.allRead.Broadcast()
	}
}

// withdraw takes the request out of its group if nobody has taken the group.
func (p *pipeline) withdraw(g *group, r *request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, waiting := range p.groups {
		if waiting != g {
			continue
		}
		for j := range g.requests {
			if g.requests[j] == r {
				g.requests = append(g.requests[:j], g.requests[j+1:]...)
				break
			}
		}
		g.ops -= len(r.ops)
		g.weight -= r.weight
		p.queued -= r.weight
		if len(g.requests) == 0 {
			p.groups = append(p.groups[:i], p.groups[i+1:]...)
		}
		p.noteFirst()
		p.room.Broadcast()
		return true
	}
	return false
}

// commitOwn commits a request whose writer has just taken the pipeline, and gives it back or on.
func (p *pipeline) commitOwn(r *request) error {
	defer p.passOn() // if commit panics, too
	p.hoped = len(r.ops)
	p.ownList[0] = r
	p.own = group{requests: p.ownList[:], ops: len(r.ops), weight: r.weight}
	return p.run(&p.own)
}

// passOn hands the pipeline to the flusher if somebody waits, and gives it back otherwise. The caller is the holder.
func (p *pipeline) passOn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.groups) > 0 {
		p.wake <- struct{}{} // the flusher holds it now
	} else {
		p.giveBack()
	}
}

// giveBack ends the holding. The caller is the holder and holds mu.
func (p *pipeline) giveBack() {
	p.held = false
	p.idle.Broadcast()
}

// run does what a group asks for. The caller is the holder.
func (p *pipeline) run(g *group) error {
	if task := g.requests[0].task; task != nil {
		return task()
	}
	return p.commit(g)
}

// flush is the flusher. Each wake hands it the pipeline.
func (p *pipeline) flush() {
	defer close(p.finished)
	for range p.wake {
		for g := p.take(); g != nil; g = p.take() {
			g.err = p.run(g)
			p.hoped = g.ops + int(p.waiting.Load())
			close(g.done)
			p.wasRead(g) // it may have failed before
		}
	}
}

// take waits until a group has gathered and takes it; nil if there is none, and then the pipeline is given back.
func (p *pipeline) take() *group {
	p.gather()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.groups) == 0 {
		p.giveBack()
		return nil
	}
	g := p.groups[0]
	p.groups = p.groups[1:]
	p.queued -= g.weight
	p.expect = len(g.requests)
	p.noteFirst()
	p.room.Broadcast()
	return g
}

// gather yields to the writers until as many operations have come as there is hope for, or no more come. (Seen: without those that waited already in that hope, and
// with half of gatherTime, groups of 256 writers had 160 operations instead of 186, and a tenth fewer were committed in a second.)
func (p *pipeline) gather() {
	var started time.Time
	ops := int(p.waiting.Load())
	for fruitless := 0; ops < p.hoped && fruitless < gatherYields; {
		if started.IsZero() {
			started = time.Now()
		} else if time.Since(started) > gatherTime {
			return
		}
		runtime.Gosched()
		before := ops
		if ops = int(p.waiting.Load()); ops > before {
			fruitless = 0
		} else {
			fruitless++
		}
	}
}

// between runs task while no group is being committed, after all requests that were submitted before it.
func (p *pipeline) between(ctx context.Context, task func() error) error {
	_, err := p.submit(ctx, &request{task: task})
	return err
}

// stop makes every later submit fail with reason, waits until what was submitted before is done, and ends
// the flusher. It is called once; from then on nobody holds the pipeline.
func (p *pipeline) stop(reason error) {
	p.mu.Lock()
	p.stopped = reason
	p.room.Broadcast()
	for p.held || len(p.groups) > 0 {
		p.idle.Wait()
	}
	p.mu.Unlock()
	close(p.wake)
	<-p.finished
}
