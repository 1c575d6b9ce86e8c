package torture

import (
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// ChildVariable is set in the environment of the process that is to be killed.
const ChildVariable = "SMALLDB_TORTURE_CHILD"

// life is what a child does.
type life struct {
	Dir               string
	Number, Seed      uint64
	Clients           int
	ValueBytes        int
	LogFileBytes      int64
	CheckpointUpdates uint64
	SyncData          bool // instead of the default
	Faults            []fault
}

// fault is a call on the disk that fails, or takes long.
type fault struct {
	Among   string        // which calls: see faultClasses
	Nth     int           // of them, from 1
	ForGood bool          // and all later ones
	Errno   syscall.Errno // 0 for none
	Short   bool          // a write does its first half
	Slow    time.Duration
}

// faultClasses are the calls that a fault may be among.
var faultClasses = map[string]func(mmapiotest.Op) bool{
	"any":   func(op mmapiotest.Op) bool { return op.Kind.Mutates() },
	"log":   func(op mmapiotest.Op) bool { return op.Durable },
	"files": func(op mmapiotest.Op) bool { return op.Kind.Mutates() && op.Name != "" && !op.Durable },
	"names": func(op mmapiotest.Op) bool {
		return op.Kind == mmapiotest.Create || op.Kind == mmapiotest.Rename || op.Kind == mmapiotest.Remove || op.Kind == mmapiotest.SyncDir
	},
}

// drawFaults draws some.
func drawFaults(rng *rand.Rand) []fault {
	faults := make([]fault, 1+rng.IntN(4))
	for i := range faults {
		among := []string{"any", "log", "files", "names"}[rng.IntN(4)]
		nth := 1 + rng.IntN(1<<rng.IntN(8)) // the first ones rather than later ones: slow disks do not come far
		f := fault{Among: among, Nth: nth, ForGood: rng.IntN(4) == 0, Short: rng.IntN(3) == 0}
		switch rng.IntN(5) {
		case 0, 1:
			f.Errno = syscall.EIO
		case 2, 3:
			f.Errno = syscall.ENOSPC
		default:
			f.Slow, f.ForGood = time.Duration(rng.IntN(60))*time.Millisecond, false
		}
		faults[i] = f
	}
	return faults
}

// options are those of a database in a directory.
func (l *life) options(dir string) engine.Options {
	opts := engine.Options{Dir: dir, Create: true, LogFileBytes: l.LogFileBytes, CheckpointUpdates: l.CheckpointUpdates}
	if l.SyncData {
		opts.Sync = engine.SyncData
	}
	return opts
}

// Child is the process that is to be killed: it reads from in what to do, does it, and tells every event on out before the
// next one happens. It returns when the store takes no writes any more, or does not open. When in ends, its parent
// is gone, and so is the process.
func Child(in io.Reader, out io.Writer, open OpenFunc) error {
	var l life
	if err := json.NewDecoder(in).Decode(&l); err != nil {
		return fmt.Errorf("torture: what to do: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		os.Exit(1)
	}()
	teller := newTeller(out)
	opts := l.options(l.Dir)
	if len(l.Faults) > 0 {
		opts.OpenDir = injector(l.Faults, teller.tell).OpenDir
	}
	store, err := open(opts)
	if err != nil {
		teller.tell(event{Kind: openFailed, Text: err.Error(), Damaged: errors.Is(err, engine.ErrCorrupt)})
		return nil
	}
	teller.tell(event{Kind: opened, Seq: store.Version().Seq})
	w := &workload{store: store, tell: teller.tell, life: l.Number, seed: l.Seed, clients: l.Clients, valueBytes: l.ValueBytes}
	w.run(context.Background())
	return nil
}

// injector makes calls fail, and tells of each before it does.
func injector(faults []fault, tell func(event)) *mmapiotest.Injector {
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	for _, f := range faults {
		hit := mmapiotest.Fault{Match: faultClasses[f.Among], Nth: f.Nth, ForGood: f.ForGood, Short: f.Short}
		if f.Errno != 0 {
			hit.Err = f.Errno
		}
		hit.Before = func(op mmapiotest.Op) {
			e := event{Kind: failed, Text: fmt.Sprintf("%s: %v after %v", op, f.Errno, f.Slow)}
			if op.Durable && f.Errno != 0 {
				e.Kind = logFailed
			}
			time.Sleep(f.Slow)
			tell(e)
		}
		in.Add(hit)
	}
	return in
}

// teller writes events, one after the other, each at once.
type teller struct {
	mu  sync.Mutex
	enc *gob.Encoder
}

func newTeller(out io.Writer) *teller { return &teller{enc: gob.NewEncoder(out)} }

func (t *teller) tell(e event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.enc.Encode(e) != nil { // nobody listens
		os.Exit(1)
	}
}

// listen reads what a child tells until it ends, and calls heard with each event; one that is cut off does not count.
func listen(in io.Reader, heard func(event)) {
	dec := gob.NewDecoder(in)
	for {
		var e event
		if dec.Decode(&e) != nil {
			return
		}
		heard(e)
	}
}
