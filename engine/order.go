package engine

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/tongpengdl/small-db/mmapio"
)

// order is the first records of a delta in key order: runs that lie one after the other in the references. Older runs come
// first, and each was made from at least runGrowth times as many records as the next, so there are few. It never changes.
//
// That is the idea of the log-structured merge tree (O'Neil, Cheng, Gawlick and O'Neil, 1996) with nothing on disk. It is
// made when a scan asks for it, out of the references, and the next scan sorts only what has come since. A commit knows nothing of it.
type order struct {
	n    int // records in it
	runs []*run
}

// runGrowth is how many times as large as the next a run is at least.
const runGrowth = 4

// orders are what readers of a delta have sorted so far.
type orders struct {
	mu     sync.Mutex            // one sorts, the others wait and find it done
	latest atomic.Pointer[order] // of the most records
	whole  atomic.Pointer[run]   // all keys of a delta that was frozen
}

// order returns the first n records in key order. They were published.
func (d *delta) order(n int) (*order, error) {
	if o := d.orders.latest.Load(); o != nil && o.n == n {
		return o, nil
	}
	d.orders.mu.Lock()
	defer d.orders.mu.Unlock()
	latest := d.orders.latest.Load()
	if latest == nil {
		latest = new(order)
	}
	o, err := d.extend(latest, n)
	if err == nil && n > latest.n {
		d.orders.latest.Store(o)
	}
	return o, err
}

// extend returns the order of the first n records. Of what is sorted already it takes the runs that hold no later ones.
func (d *delta) extend(sorted *order, n int) (*order, error) {
	o := new(order)
	for _, r := range sorted.runs {
		if o.n+r.of > n {
			break
		}
		o.runs = append(o.runs, r)
		o.n += r.of
	}
	if o.n == n {
		return o, nil
	}
	r, err := d.sort(o.n, n)
	if err != nil {
		return nil, err
	}
	for k := len(o.runs); k > 0 && o.runs[k-1].of < runGrowth*r.of; k-- {
		r = mergeRuns(o.runs[k-1], r)
		o.runs = o.runs[:k-1]
	}
	o.runs, o.n = append(o.runs, r), n
	return o, nil
}

// sort returns a run of the records from index from up to to.
func (d *delta) sort(from, to int) (r *run, err error) {
	defer runtime.KeepAlive(d)
	defer mmapio.Recover(mmapio.Arm(), &err)
	s := sorter{delta: d, items: make([]sortItem, 0, to-from)}
	if err := d.references.places(from, to, s.add); err != nil {
		return nil, err
	}
	if err := s.read(); err != nil {
		return nil, err
	}
	return s.run(), nil
}

// sortedKeys returns the last record of every key of a delta that was frozen. What an older record of a key was does
// not matter here, not even whether it can be read. interrupted says why to give up; it is asked now and then, and may be nil.
func (d *delta) sortedKeys(interrupted func() error) (r *run, err error) {
	if r := d.orders.whole.Load(); r != nil {
		return r, nil
	}
	d.orders.mu.Lock()
	defer d.orders.mu.Unlock()
	if r := d.orders.whole.Load(); r != nil {
		return r, nil
	}
	defer runtime.KeepAlive(d)
	defer mmapio.Recover(mmapio.Arm(), &err)
	s := sorter{delta: d, interrupted: interrupted, items: make([]sortItem, 0, d.table.entries.Load())}
	if err := d.table.places(s.add); err != nil {
		return nil, err
	}
	if err := s.read(); err != nil {
		return nil, err
	}
	r = s.run()
	d.orders.whole.Store(r)
	d.orders.latest.Store(nil) // snapshots of before keep theirs
	return r, nil
}

// interruptStride is after how many records the work of a checkpoint asks whether to give up.
const interruptStride = 64
