package engine_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// order makes the calls come in the same order in each run up to the first failure: while the helper prepares a spare, the others wait. It
// also watches what a poisoned database writes.
func (r *faultRun) order() mmapiotest.Fault {
	return mmapiotest.Fault{
		Match: func(op mmapiotest.Op) bool {
			at := op.Site.Func
			if r.silent.Load() && op.Kind.Mutates() && !strings.Contains(at, "(*spares)") {
				r.afterPoison.CompareAndSwap(nil, &op)
			}
			switch {
			case strings.Contains(at, "(*DB).firstLog"):
				r.small = true
			case strings.Contains(at, "(*spares).claim"), strings.Contains(at, "(*spares).make"):
				r.small = false
			case op.Kind == mmapiotest.Rename && strings.Contains(at, "(*DB).baptise"):
				r.expect.Store(!r.small)
			}
			return r.expect.Load() && (strings.Contains(at, "(*liveLog).write") || strings.Contains(at, "(*DB).writeCheckpoint"))
		},
		ForGood: true,
		Before:  func(mmapiotest.Op) { r.settle() },
	}
}

// settle waits for the spare that the helper prepares.
func (r *faultRun) settle() {
	for r.expect.Load() && !r.plan.begun() {
		if _, err := os.Lstat(filepath.Join(r.dir, format.SpareName)); err == nil {
			r.expect.Store(false)
			return
		}
		time.Sleep(20 * time.Microsecond)
	}
}

// hold is called while a call is slow: reads go on, and so do writes, unless it is one of the calls that they wait for. It returns when others
// have come on, or are seen to wait.
func (r *faultRun) hold(op mmapiotest.Op) {
	if long {
		defer time.Sleep(2 * time.Second)
	}
	db := r.db.Load()
	if db == nil || r.closing.Load() { // nobody else is served
		return
	}
	for range 3 {
		if got, ok, err := db.Get([]byte("anchor")); err != nil || ok && string(got) != string(bytesOf("anchor", len(got))) {
			r.stuck.Store(fmt.Sprintf("a read while a call is slow: %d bytes, %v", len(got), err))
		}
	}
	buf := make([]byte, 64<<10)
	stack := string(buf[:runtime.Stack(buf, false)])
	if strings.Contains(stack, "(*spares).help(") {
		if !strings.HasPrefix(op.Site.Func, "mmapio.") { // under the lock for which a rotation may wait
			return
		}
		for from, i := r.steps.Load(), 0; r.steps.Load() < from+2 && !r.closing.Load(); i++ {
			r.patience(i, "the run does not come on while the helper is slow: "+op.String())
		}
		return
	}
	writer := make(chan string, 1)
	r.holding.Store(true)
	go func() {
		var header [64]byte
		writer <- strings.Join(strings.Fields(string(header[:runtime.Stack(header[:], false)]))[:2], " ")
		_, err := db.Set(ctx, []byte("slow"), []byte("while a call was slow"))
		r.slow <- err
	}()
	id := <-writer
	waited := strings.Contains(stack, "(*pipeline).run(") || strings.Contains(stack, "(*spares).") // what a write may have to wait for
	for i := 0; len(r.slow) == 0; i++ {
		if waited && waits(id) {
			return
		}
		r.patience(i, "a write does not come on while a call is slow: "+op.String())
	}
}

// waits reports whether a goroutine waits inside the pipeline.
func waits(id string) bool {
	all := make([]byte, 1<<20)
	_, rest, _ := strings.Cut("\n\n"+string(all[:runtime.Stack(all, true)]), "\n\n"+id+" ")
	own, _, _ := strings.Cut(rest, "\n\n")
	return strings.Contains(own, "(*pipeline).submit") && (strings.HasPrefix(own, "[chan receive") || strings.HasPrefix(own, "[sync.Mutex.Lock"))
}

// patience waits a little, and not for ever.
func (r *faultRun) patience(i int, what string) {
	time.Sleep(20 * time.Microsecond)
	if i > int(deadline/(20*time.Microsecond)) {
		panic(what)
	}
}

// answerSlow takes the answer to the write that came while a call was slow.
func (r *faultRun) answerSlow() {
	if what := r.stuck.Load(); what != nil {
		r.violate("%v", what)
	}
	if !r.holding.Load() {
		return
	}
	switch err := <-r.slow; {
	case err == nil:
		r.model["slow"] = "while a call was slow"
		r.seq++
	case !errors.Is(err, engine.ErrClosed) || r.db.Load() != nil:
		r.violate("a write that came while a call was slow: %v", err)
	}
	r.holding.Store(false)
}
