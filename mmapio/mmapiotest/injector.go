package mmapiotest

import (
	"io/fs"
	"sync"

	"github.com/tongpengdl/small-db/mmapio"
)

// Fault is what an Injector does to a call.
type Fault struct {
	// Match chooses calls. It is called with the lock of the Injector held. Default: those whose Kind.Mutates.
	Match func(Op) bool
	// Nth is which of the chosen calls is hit, from 1, counted since the fault was added. Default: 1.
	Nth int
	// ForGood hits all chosen calls after it too.
	ForGood bool
	// Err is what the call returns, in a *fs.PathError; the real call is not made, but see Short and After. nil makes the real call.
	Err error
	// Short writes the first half of the bytes before a WriteAt returns Err.
	Short bool
	// After makes the real call before Err is returned: the call has its effect and fails all the same. A close always lets go of
	// its descriptor, so to let one fail otherwise keeps the lock of the directory until the garbage collector runs.
	After bool
	// Before, if not nil, runs before anything else, with no lock of the Injector held: to wait, to look, to kill. Under a
	// Recorder its lock is held, so there it may only look; over one it may do anything.
	Before func(Op)

	seen int // chosen calls so far; under the lock of the Injector
}

// hits counts the call and says whether the fault applies to it.
func (f *Fault) hits(op Op) bool {
	if f.Match == nil && !op.Kind.Mutates() || f.Match != nil && !f.Match(op) {
		return false
	}
	f.seen++
	nth := max(f.Nth, 1)
	return f.seen == nth || f.ForGood && f.seen > nth
}

// Injector makes chosen calls on directories and their files fail. All methods may be called concurrently.
type Injector struct {
	under OpenFunc

	mu     sync.Mutex
	faults []*Fault
	calls  int
	hits   int
}

// NewInjector returns an injector over another OpenDir. Each call is shown to all faults, and the first that hits it counts.
func NewInjector(under OpenFunc, faults ...Fault) *Injector {
	in := &Injector{under: under}
	for _, f := range faults {
		in.Add(f)
	}
	return in
}

// Add adds a fault, after those that are there.
func (in *Injector) Add(f Fault) {
	f.seen = 0
	in.mu.Lock()
	defer in.mu.Unlock()
	in.faults = append(in.faults, &f)
}

// Clear takes all faults out: the disk is well again.
func (in *Injector) Clear() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.faults = nil
}

// Calls is the number of mutating calls so far, the failed ones with them.
func (in *Injector) Calls() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.calls
}

// Hits is the number of calls that faults were applied to.
func (in *Injector) Hits() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.hits
}

// OpenDir opens a directory as the OpenDir below does; it can fail by a fault that matches it.
func (in *Injector) OpenDir(path string, create bool) (mmapio.Dir, error) {
	var under mmapio.Dir
	err := in.call(0, &Op{Kind: OpenDir, Name: path, Site: callSite()}, func(*Op) (err error) {
		under, err = in.under(path, create)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &dir{layer: in, under: under}, nil
}

// call performs one call, or the fault that hits it.
func (in *Injector) call(_ life, op *Op, do func(op *Op) error) error {
	f := in.choose(*op)
	if f == nil {
		return do(op)
	}
	if f.Before != nil {
		f.Before(*op)
	}
	if f.Err == nil {
		return do(op)
	}
	if f.Short && op.Kind == WriteAt {
		op.Data = op.Data[:len(op.Data)/2]
	}
	if f.After || f.Short && op.Kind == WriteAt {
		if err := do(op); err != nil {
			return err
		}
	}
	return &fs.PathError{Op: op.Kind.String(), Path: op.Name, Err: f.Err}
}

// choose counts the call and returns the fault that hits it, or nil.
func (in *Injector) choose(op Op) (hit *Fault) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if op.Kind.Mutates() {
		in.calls++
	}
	for _, f := range in.faults {
		if f.hits(op) && hit == nil {
			hit = f
		}
	}
	if hit != nil {
		in.hits++
	}
	return hit
}
