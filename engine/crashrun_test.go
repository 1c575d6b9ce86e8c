package engine_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// crashOp is an operation of the recorded run.
type crashOp struct {
	key, value string
	del        bool
	deadline   time.Time // of a set; the zero time for none
	last       bool      // of its batch: a crash may leave no other one as the last
}

// Marks in the trace.
type (
	issuedMark       struct{ seq uint64 }        // operations up to seq are being handed over
	acknowledgedMark struct{ seq uint64 }        // operations up to seq were acknowledged, or served after a recovery
	checkpointMark   struct{ generation uint64 } // a checkpoint was acknowledged
	closedMark       struct{}                    // Close returned without an error
	openingMark      struct{}                    // Open was called
)

// crashRun is a recorded run: about 200 operations with everything that moves files.
type crashRun struct {
	t       *testing.T
	seed    uint64
	sync    engine.SyncMode
	rng     *rand.Rand
	rec     *mmapiotest.Recorder
	dir     string
	db      *engine.DB
	history []crashOp // by sequence, from 1: history[seq-1]
	trace   mmapiotest.Trace
	judged  results
}

const (
	crashKeys   = 40
	crashValue  = 8 << 10 // longest value
	crashGroups = 8       // most writers at a time, and most operations in a batch
)

// A set may have a deadline, which has passed long ago or lies far ahead.
var crashPast, crashFuture = time.Unix(1, 0), time.Unix(1<<33, 1)

func crashKey(i int) string { return fmt.Sprintf("key-%03d", i) }

func (r *crashRun) options(dir string) engine.Options {
	return engine.Options{
		Dir: dir, Create: true, Sync: r.sync, LogFileBytes: 64 << 10,
		DisableBackgroundCheckpoint: true, OpenDir: r.rec.OpenDir,
	}
}

// recordCrashRun performs the run.
func recordCrashRun(t *testing.T, sync engine.SyncMode, seed uint64) *crashRun {
	r := &crashRun{
		t: t, seed: seed, sync: sync, rng: rand.New(rand.NewPCG(seed, 0)),
		rec: mmapiotest.NewRecorder(), dir: t.TempDir(), judged: results{results: map[uint64]outcome{}},
	}
	r.open()
	for range 4 { // the third and the fourth retire logs that were made since the open, which are recycled
		r.write(20)
		r.checkpoint()
	}
	r.write(15)
	r.close()
	r.open()
	r.write(25)
	r.checkpoint()
	r.write(15)
	r.killInsideAWrite()
	r.open()
	r.write(10)
	r.killInsideASwitch()
	r.open()
	r.write(10)
	r.checkpoint()
	r.write(30)
	r.checkpoint()
	r.write(30)
	r.close()
	r.trace = r.rec.Trace()
	r.requireVariety()
	return r
}

func (r *crashRun) open() {
	r.rec.Mark(openingMark{})
	db, err := engine.Open(r.options(r.dir))
	require.NoError(r.t, err)
	r.db = db
	seq := db.Version().Seq
	require.LessOrEqual(r.t, seq, uint64(len(r.history)))
	r.history = r.history[:seq] // what a kill has cost
	r.rec.Mark(acknowledgedMark{seq})
}

func (r *crashRun) close() {
	require.NoError(r.t, r.db.Close())
	r.rec.Mark(closedMark{})
}

func (r *crashRun) checkpoint() {
	require.NoError(r.t, r.db.Checkpoint(ctx))
	r.rec.Mark(checkpointMark{r.db.Stats().Generation})
}

// write performs n operations, some by single writers, some by several at a time, some in batches.
func (r *crashRun) write(n int) {
	for end := len(r.history) + n; len(r.history) < end; {
		switch r.rng.IntN(3) {
		case 0:
			r.burst(1)
		case 1:
			r.burst(2 + r.rng.IntN(crashGroups-1))
		case 2:
			r.batch(2 + r.rng.IntN(crashGroups-1))
		}
	}
}

// operation draws one.
func (r *crashRun) operation() crashOp {
	op := crashOp{key: crashKey(r.rng.IntN(crashKeys)), del: r.rng.IntN(5) == 0, last: true}
	if !op.del {
		size := 1 << r.rng.IntN(14)
		op.value = strings.Repeat(fmt.Sprintf("%08x.", r.rng.Uint32()), size/8+1)[:size]
		op.deadline = []time.Time{{}, {}, crashFuture, crashPast}[r.rng.IntN(4)]
	}
	return op
}

// burst performs n operations by as many writers at once. Their order is known by what they are answered.
func (r *crashRun) burst(n int) {
	base := uint64(len(r.history))
	r.rec.Mark(issuedMark{base + uint64(n)})
	ops := make([]crashOp, n)
	for i := range ops {
		ops[i] = r.operation()
	}
	ordered := make([]crashOp, n)
	var wg sync.WaitGroup
	for _, op := range ops {
		wg.Add(1)
		go func() {
			defer wg.Done()
			v, err := r.perform(op)
			if err != nil {
				r.t.Errorf("write: %v", err)
				return
			}
			r.rec.Mark(acknowledgedMark{v.Seq})
			ordered[v.Seq-base-1] = op
		}()
	}
	wg.Wait()
	r.history = append(r.history, ordered...)
}

func (r *crashRun) perform(op crashOp) (engine.Version, error) {
	if op.del {
		return r.db.Delete(ctx, []byte(op.key))
	}
	return r.db.SetUntil(ctx, []byte(op.key), []byte(op.value), op.deadline)
}

func (r *crashRun) batch(n int) {
	r.rec.Mark(issuedMark{uint64(len(r.history) + n)})
	var b engine.Batch
	b.IfAbsent([]byte("no such key"))
	for i := range n {
		op := r.operation()
		op.last = i == n-1
		if op.del {
			b.Delete([]byte(op.key))
		} else {
			b.SetUntil([]byte(op.key), []byte(op.value), op.deadline)
		}
		r.history = append(r.history, op)
	}
	v, err := r.db.Apply(ctx, &b)
	require.NoError(r.t, err)
	require.EqualValues(r.t, len(r.history), v.Seq)
	r.rec.Mark(acknowledgedMark{v.Seq})
}

// killInsideAWrite ends the process while a frame has reached the page cache and not the disk.
func (r *crashRun) killInsideAWrite() {
	r.rec.KillAtNextWrite(func(op mmapiotest.Op) bool { return strings.HasSuffix(op.Site.Func, "(*liveLog).write") })
	op := r.operation()
	r.history = append(r.history, op)
	r.rec.Mark(issuedMark{uint64(len(r.history))})
	_, err := r.perform(op)
	require.ErrorIs(r.t, err, engine.ErrIndeterminate)
	require.ErrorIs(r.t, r.db.Close(), engine.ErrPoisoned)
}

// killInsideASwitch ends the process while newVersion has reached the page cache and not the disk.
func (r *crashRun) killInsideASwitch() {
	r.rec.KillAtNextWrite(func(op mmapiotest.Op) bool { return op.Name == format.NewVersionName })
	require.ErrorIs(r.t, r.db.Checkpoint(ctx), mmapiotest.ErrKilled)
	require.Error(r.t, r.db.Close())
}

// requireVariety makes sure that the run had what it is meant to have.
func (r *crashRun) requireVariety() {
	checkpoints, rotations, recycled, removed, several := 0, 0, 0, 0, 0
	for i, op := range r.trace {
		_, fromLog := format.ParseLogName(op.Name)
		_, toLog := format.ParseLogName(op.NewName)
		switch {
		case op.Kind == mmapiotest.Rename && toLog:
			rotations++
		case op.Kind == mmapiotest.Rename && fromLog && op.NewName == format.SpareName:
			recycled++
		case op.Kind == mmapiotest.Rename && op.NewName == format.VersionName:
			checkpoints++
		case op.Kind == mmapiotest.Remove && fromLog:
			removed++
		case i > 0 && op.Kind == mmapiotest.Mark && r.trace[i-1].Kind == mmapiotest.Mark:
			several++ // acknowledgements in a row: one group
		}
	}
	require.GreaterOrEqual(r.t, checkpoints, 4, "one of them by the creation")
	require.GreaterOrEqual(r.t, rotations, 8)
	require.Positive(r.t, recycled)
	require.Positive(r.t, removed)
	require.Positive(r.t, several)
}

// modelAt is the state after the operation with this sequence.
func (r *crashRun) modelAt(seq uint64) (map[string]string, error) {
	if seq > uint64(len(r.history)) {
		return nil, fmt.Errorf("sequence %d was never issued", seq)
	}
	if seq > 0 && !r.history[seq-1].last {
		return nil, errors.New("half a batch is there")
	}
	model := map[string]string{}
	for _, op := range r.history[:seq] {
		if op.del || op.deadline == crashPast {
			delete(model, op.key)
		} else {
			model[op.key] = op.value
		}
	}
	return maps.Clone(model), nil
}

// traceBounds are the bounds at each op of a trace.
func traceBounds(trace mmapiotest.Trace) []bounds {
	out := make([]bounds, len(trace)+1)
	var b bounds
	for i, op := range trace {
		out[i] = b
		switch m := op.Value.(type) {
		case issuedMark:
			b.issued = max(b.issued, m.seq)
		case acknowledgedMark:
			b.acknowledged = max(b.acknowledged, m.seq)
		case checkpointMark:
			b.generation = m.generation
		case closedMark:
			b.closed = true
		case openingMark:
			b.closed = false
		}
	}
	out[len(trace)] = b
	return out
}
