package main_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// maxKilledValue is the size of the largest value that the owners write, in bytes.
const maxKilledValue = 64 << 10

// traffic is a number of owners at work on a server, until it dies or is told to end.
type traffic struct {
	l       *ledger
	workers []*worker
	running sync.WaitGroup
	writes  atomic.Int64 // acknowledged
	ending  atomic.Bool  // set before the server is ended in whatever way: from then on requests may fail
}

// worker is one owner. It is for one goroutine; its result is there once the traffic has ended.
type worker struct {
	t      *traffic
	c      *client
	own    []*entry
	rng    *rand.Rand
	result tally
	red    bool // a write was answered with an unknown outcome, after which the server must be unhealthy
	fault  error
}

// startTraffic connects n owners, drawn from rng, and sets them to work.
func startTraffic(t *testing.T, l *ledger, s *server, n int, rng *rand.Rand) *traffic {
	t.Helper()
	work := &traffic{l: l}
	for _, i := range rng.Perm(len(l.owners))[:n] {
		c, err := newClient(s)
		require.NoError(t, err)
		work.workers = append(work.workers, &worker{t: work, c: c, own: l.owners[i], rng: rand.New(rand.NewPCG(rng.Uint64(), 0))})
	}
	for _, w := range work.workers {
		work.running.Go(w.run)
	}
	return work
}

// wait returns what all have done, once they have, and what was wrong with it.
func (work *traffic) wait() (total tally, err error) {
	work.running.Wait()
	for _, w := range work.workers {
		w.c.close()
		total.add(w.result)
		err = errors.Join(err, w.fault)
	}
	return total, err
}

// await waits until n writes are acknowledged.
func (work *traffic) await(t *testing.T, n int64) {
	t.Helper()
	for started := time.Now(); work.writes.Load() < n; time.Sleep(100 * time.Microsecond) {
		require.Less(t, time.Since(started), 2*time.Minute, "%d of %d writes are acknowledged", work.writes.Load(), n)
	}
}

// red reports whether a write was answered with an unknown outcome. It is for after wait.
func (work *traffic) red() bool {
	return slices.ContainsFunc(work.workers, func(w *worker) bool { return w.red })
}

// readsAfter is how many keys an owner still reads from a server that takes no writes.
const readsAfter = 20

// run works until a write fails. Then it only reads.
func (w *worker) run() {
	for w.step() {
	}
	for range readsAfter {
		if w.fault != nil {
			return
		}
		w.read(w.any())
	}
}

func (w *worker) any() *entry { return w.t.l.entries[w.rng.IntN(len(w.t.l.entries))] }

// step does one thing and reports whether to go on.
func (w *worker) step() bool {
	if w.rng.IntN(4) == 0 {
		return w.read(w.any())
	}
	return w.change()
}

// change sets or deletes one of its keys and reports whether to go on.
func (w *worker) change() bool {
	e := w.own[w.rng.IntN(len(w.own))]
	before := e.value()
	if before != nil && w.rng.IntN(5) == 0 {
		return w.write(e, nil)
	}
	value := w.draw()
	for slices.Equal(value, before) { // else nobody could tell whether it took place
		value = w.draw()
	}
	return w.write(e, value)
}

// draw returns a value of 1 byte to maxKilledValue, small ones as often as large ones.
func (w *worker) draw() []byte {
	value := make([]byte, min(maxKilledValue, int(math.Exp(w.rng.Float64()*math.Log(maxKilledValue+1)))))
	for i := range value {
		value[i] = byte(w.rng.Uint32())
	}
	return value
}

// read reads a key and judges what came.
func (w *worker) read(e *entry) bool {
	oldest := e.oldest()
	value, err := get(w.c, e)
	switch {
	case err == nil:
		w.result.reads++
		w.fail(e.read(oldest, value))
	case !w.t.ending.Load():
		w.fail(fmt.Errorf("nobody has ended the server: %w", err))
	}
	return err == nil && w.fault == nil
}

// write sets a key, or deletes it if value is nil.
func (w *worker) write(e *entry, value []byte) bool {
	method, body := "DELETE", []byte(nil)
	if value != nil {
		var err error
		method = "PUT"
		if body, err = encode(value, false); err != nil {
			w.fail(err)
			return false
		}
	}
	e.issue(value)
	status, answer, err := w.c.do(method, e.path(), body)
	switch {
	case err != nil:
		w.result.unknown++
	case status == http.StatusOK && string(answer) == "{\"ok\":true}\n":
		e.acknowledge()
		w.t.writes.Add(1)
		if value == nil {
			w.result.deletes++
		} else {
			w.result.sets++
		}
		return true
	case status == http.StatusGatewayTimeout:
		w.red = true
		w.result.unknown++
	case status >= http.StatusInternalServerError:
		e.refuse()
		w.result.refused++
	default:
		w.fail(fmt.Errorf("%s %s: %d %s", method, e.key, status, answer))
	}
	if !w.t.ending.Load() {
		w.fail(fmt.Errorf("nobody has ended the server: %s %s: %d %s, %v", method, e.key, status, answer, err))
	}
	return false
}

// fail notes the first thing that is wrong.
func (w *worker) fail(err error) {
	if w.fault == nil {
		w.fault = err
	}
}
