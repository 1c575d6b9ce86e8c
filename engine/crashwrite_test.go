package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
)

// crashWrite is what one writer of a run does: at most n operations, and what it returns is those that it did, and the
// version of the last.
type crashWrite struct {
	keys []string
	n    int
	do   func() ([]crashOp, engine.Version, error)
	// check says what is wrong with it in the state before it, at an engine time; nil if nothing can be.
	check func(before crashModel, now int64, ops []crashOp) error
}

// write performs at least n operations: by single writers, by several at a time, in batches, with conditions of all
// kinds, and reads between them.
func (r *crashRun) write(n int) {
	for end := len(r.history) + n; len(r.history) < end; {
		r.tick()
		switch r.rng.IntN(9) {
		case 0:
			r.burst(r.writes(1), false)
		case 1, 2:
			r.burst(r.writes(2+r.rng.IntN(crashGroups-1)), true)
		case 3:
			r.burst([]crashWrite{r.batch(2 + r.rng.IntN(crashGroups-1))}, false)
		case 4:
			r.burst([]crashWrite{r.refused()}, false)
		case 5:
			key := crashKey(r.rng.IntN(crashKeys))
			r.burst(append(r.writes(2), r.claim(key), r.claim(key), r.claim(key)), false)
		case 6:
			key := crashKey(r.rng.IntN(crashKeys))
			r.burst([]crashWrite{r.increment(key), r.increment(key), r.plain(r.operation())}, true)
		case 7:
			r.touch()
		case 8:
			r.read()
		}
	}
}

// burst lets writers go at once. Their order is known by what they are answered. With readers, somebody takes snapshots
// meanwhile.
func (r *crashRun) burst(writes []crashWrite, readers bool) {
	base, most := uint64(len(r.history)), uint64(0)
	var keys []string
	for _, w := range writes {
		most += uint64(w.n)
		keys = append(keys, w.keys...)
	}
	r.peeker.keys.Store(&keys)
	r.rec.Mark(issuedMark{base + most})
	results := make([][]crashOp, len(writes))
	var wg sync.WaitGroup
	for i, w := range writes {
		wg.Add(1)
		go func() {
			defer wg.Done()
			results[i] = r.perform1(w)
		}()
	}
	stop := make(chan struct{})
	snapshots := make(chan []heldSnapshot)
	if readers {
		go func() { snapshots <- r.snapshots(stop) }()
	}
	wg.Wait()
	if readers {
		close(stop)
	}
	r.enter(writes, results)
	r.rec.Mark(issuedMark{uint64(len(r.history))})
	if readers {
		for _, s := range <-snapshots {
			r.checkSnapshot(s)
		}
	}
}

// perform1 lets one writer go, marks what it was answered, and returns its operations with their versions.
func (r *crashRun) perform1(w crashWrite) []crashOp {
	ops, v, err := w.do()
	var refused *engine.ConditionError
	switch {
	case errors.As(err, &refused):
		var basis engine.Version
		if _, err := fmt.Sscanf(refused.Found, "version %d.%d", &basis.Epoch, &basis.Seq); err == nil {
			r.rec.Mark(readMark{basis.Seq})
			r.marked.bases.Add(1)
		}
		return nil
	case err != nil:
		r.t.Errorf("write: %v", err)
		return nil
	case len(ops) == 0:
		return nil
	}
	r.rec.Mark(acknowledgedMark{v.Seq})
	for i := range ops {
		ops[i].last = i == len(ops)-1
		ops[i].version = engine.Version{Epoch: v.Epoch, Seq: v.Seq - uint64(len(ops)-1-i)}
		ops[i].at = r.seen
	}
	return ops
}

// enter brings what was answered into the history, and checks what conditions have let pass.
func (r *crashRun) enter(writes []crashWrite, results [][]crashOp) {
	type result struct {
		write crashWrite
		ops   []crashOp
	}
	var done []result
	for i, ops := range results {
		if len(ops) > 0 {
			done = append(done, result{writes[i], ops})
		}
	}
	slices.SortFunc(done, func(a, b result) int { return int(a.ops[0].version.Seq) - int(b.ops[0].version.Seq) })
	for _, d := range done {
		require.EqualValues(r.t, len(r.history)+1, d.ops[0].version.Seq, "sequences are contiguous")
		if d.write.check != nil {
			require.NoError(r.t, d.write.check(r.model(), r.seen, d.ops))
		}
		r.history = append(r.history, d.ops...)
		r.written = true
		r.recorded = max(r.recorded, r.seen)
	}
}

// operation draws one. A set may have a deadline: long ago, soon, or far ahead.
func (r *crashRun) operation() crashOp {
	op := crashOp{key: crashKey(r.rng.IntN(crashKeys)), del: r.rng.IntN(6) == 0, last: true}
	if op.del {
		return op
	}
	size := 1 << r.rng.IntN(14)
	op.value = strings.Repeat(fmt.Sprintf("%08x.", r.rng.Uint32()), size/8+1)[:size]
	switch r.rng.IntN(6) {
	case 0:
		op.deadline = time.Unix(1, 0).UnixNano()
	case 1:
		op.deadline = time.Unix(1<<33, 1).UnixNano()
	case 2, 3:
		op.deadline = r.soon()
	}
	return op
}

// soon is a deadline within the run.
func (r *crashRun) soon() int64 {
	return r.seen + r.rng.Int64N(int64(60*time.Second))
}

func (op *crashOp) until() time.Time {
	if op.deadline == 0 {
		return time.Time{}
	}
	return time.Unix(0, op.deadline)
}

func (r *crashRun) perform(op crashOp) (engine.Version, error) {
	if op.del {
		return r.db.Delete(ctx, []byte(op.key))
	}
	return r.db.SetUntil(ctx, []byte(op.key), []byte(op.value), op.until())
}

// writes are n writers of one operation each.
func (r *crashRun) writes(n int) (out []crashWrite) {
	for range n {
		out = append(out, r.plain(r.operation()))
	}
	return out
}

func (r *crashRun) plain(op crashOp) crashWrite {
	return crashWrite{keys: []string{op.key}, n: 1, do: func() ([]crashOp, engine.Version, error) {
		v, err := r.perform(op)
		return []crashOp{op}, v, err
	}}
}

// apply is a writer of a batch with conditions.
func (r *crashRun) apply(b *engine.Batch, ops []crashOp) crashWrite {
	w := crashWrite{n: len(ops)}
	for _, op := range ops {
		w.keys = append(w.keys, op.key)
		if op.del {
			b.Delete([]byte(op.key))
		} else {
			b.SetUntil([]byte(op.key), []byte(op.value), op.until())
		}
	}
	w.do = func() ([]crashOp, engine.Version, error) {
		v, err := r.db.Apply(ctx, b)
		return ops, v, err
	}
	return w
}

// batch is a batch of n operations, with conditions of every kind that hold.
func (r *crashRun) batch(n int) crashWrite {
	var b engine.Batch
	model := r.model()
	for i := range crashKeys {
		key := crashKey(i)
		switch op, set := model.set(key, r.seen); {
		case r.rng.IntN(4) > 0:
		case !set:
			b.IfAbsent([]byte(key))
		case i%3 == 0:
			b.IfPresent([]byte(key))
		case i%3 == 1:
			b.IfVersion([]byte(key), op.version)
		default:
			b.IfValue([]byte(key), []byte(op.value))
		}
	}
	return r.apply(&b, r.operations(n))
}

func (r *crashRun) operations(n int) (ops []crashOp) {
	for range n {
		ops = append(ops, r.operation())
	}
	return ops
}

// refused is a batch of which one condition does not hold. It must be refused, and leave no trace.
func (r *crashRun) refused() crashWrite {
	var b engine.Batch
	b.IfAbsent([]byte("no such key"))
	key := crashKey(r.rng.IntN(crashKeys))
	op, set := r.model().set(key, r.seen)
	switch kind := r.rng.IntN(3); {
	case !set && kind == 0:
		b.IfPresent([]byte(key))
	case !set && kind == 1:
		b.IfVersion([]byte(key), op.version)
	case !set:
		b.IfValue([]byte(key), []byte(op.value))
	case kind == 0:
		b.IfAbsent([]byte(key))
	case kind == 1:
		b.IfVersion([]byte(key), engine.Version{Epoch: op.version.Epoch, Seq: op.version.Seq - 1})
	default:
		b.IfValue([]byte(key), []byte(op.value+"."))
	}
	w := r.apply(&b, r.operations(3))
	do := w.do
	w.do = func() ([]crashOp, engine.Version, error) {
		_, _, err := do()
		if !errors.Is(err, engine.ErrConditionFailed) {
			return nil, engine.Version{}, fmt.Errorf("a condition did not hold and was answered with %w", err)
		}
		r.rec.Mark(readMark{uint64(len(r.history))}) // nobody else writes
		return nil, engine.Version{}, err
	}
	r.marked.refused++
	return w
}

// claim sets a key if it is absent. Of several at once one may win; the others were refused because of it.
func (r *crashRun) claim(key string) crashWrite {
	var b engine.Batch
	b.IfAbsent([]byte(key))
	op := r.operation()
	op.key, op.del = key, false
	w := r.apply(&b, []crashOp{op})
	w.check = func(before crashModel, now int64, _ []crashOp) error {
		if _, set := before.set(key, now); set {
			return fmt.Errorf("%s was set and was claimed", key)
		}
		return nil
	}
	return w
}

// increment adds one to a number in a transaction.
func (r *crashRun) increment(key string) crashWrite {
	next := func(value string) string {
		n := 0
		_, _ = fmt.Sscanf(value, "count %d", &n) // another value counts as 0
		return fmt.Sprintf("count %d", n+1)
	}
	w := crashWrite{keys: []string{key}, n: 1, do: func() ([]crashOp, engine.Version, error) {
		op := crashOp{key: key}
		v, err := r.db.Update(ctx, func(tx *engine.Tx) error {
			value, _, err := tx.Get([]byte(key))
			op.value = next(string(value))
			tx.Set([]byte(key), []byte(op.value))
			return err
		})
		return []crashOp{op}, v, err
	}}
	w.check = func(before crashModel, now int64, ops []crashOp) error {
		value := ""
		if was, set := before.set(key, now); set {
			value = was.value
		}
		if ops[0].value != next(value) {
			return fmt.Errorf("%s was %.20q and became %q", key, value, ops[0].value)
		}
		return nil
	}
	return w
}

// touch gives a key that is set another deadline: it is renewed, or expires at last.
func (r *crashRun) touch() {
	key, model := crashKey(r.rng.IntN(crashKeys)), r.model()
	op, set := model.set(key, r.seen)
	op = crashOp{key: key, value: op.value, deadline: []int64{0, r.soon(), r.soon()}[r.rng.IntN(3)]}
	r.burst([]crashWrite{{keys: []string{key}, n: 1, do: func() ([]crashOp, engine.Version, error) {
		ok, err := r.db.Touch(ctx, []byte(key), op.until())
		switch {
		case err == nil && ok != set:
			return nil, engine.Version{}, fmt.Errorf("touch of %s: %v instead of %v", key, ok, set)
		case !ok:
			return nil, engine.Version{}, err
		}
		return []crashOp{op}, r.db.Version(), err
	}}}, false)
}

// expire lets time go on until a deadline of this run has come.
func (r *crashRun) expire(which func(deadlines []int64) int64) {
	var ahead []int64
	for _, op := range r.model() {
		if op.deadline > r.seen && op.deadline < r.seen+int64(time.Hour) {
			ahead = append(ahead, op.deadline)
		}
	}
	slices.Sort(ahead)
	require.NotEmpty(r.t, ahead, "keys that expire")
	until := which(ahead)
	r.clock.ns.Store(until - noon.UnixNano())
	r.look()
	require.Equal(r.t, until, r.seen)
}

// backup makes a backup, restores it, and compares that.
func (r *crashRun) backup() {
	var b bytes.Buffer
	v, err := r.db.Backup(ctx, &b)
	require.NoError(r.t, err)
	r.rec.Mark(readMark{v.Seq})
	opts := restore(r.t, b.Bytes(), r.clock.now)
	opts.Now = r.clock.now
	db, err := engine.Open(opts)
	require.NoError(r.t, err)
	model, err := r.history.at(v.Seq)
	require.NoError(r.t, err)
	require.NoError(r.t, model.compare(db, r.seen), "a backup")
	require.NoError(r.t, db.Close())
	r.marked.backups++
}

// read reads some keys. What was read is never lost.
func (r *crashRun) read() {
	model, last := r.model(), uint64(0)
	for range 5 {
		key := crashKey(r.rng.IntN(crashKeys))
		e, ok, err := r.db.Entry([]byte(key))
		require.NoError(r.t, err)
		want, set := model.set(key, r.seen)
		require.Equal(r.t, set, ok, "%s is %s instead of %s", key, describeEntry(e), want)
		if ok {
			require.True(r.t, want.is(e), "%s is %s instead of %s", key, describeEntry(e), want)
			last = max(last, e.Version.Seq)
		}
	}
	r.rec.Mark(readMark{last})
	r.marked.read++
}

// heldSnapshot is a snapshot of a run, and the engine time that it was taken at.
type heldSnapshot struct {
	*engine.Snapshot
	now int64
}

// snapshots takes snapshots until it is stopped, marks each, and returns some of them.
func (r *crashRun) snapshots(stop <-chan struct{}) (some []heldSnapshot) {
	last := uint64(0)
	for {
		s := heldSnapshot{r.db.Snapshot(), r.seen}
		if seq := s.Version().Seq; seq > last {
			r.rec.Mark(readMark{seq})
			last = seq
			some = append(some, s)
		}
		select {
		case <-stop:
			return some
		default:
			time.Sleep(20 * time.Microsecond)
		}
	}
}

// hold takes a snapshot that is compared again and again.
func (r *crashRun) hold() {
	s := heldSnapshot{r.db.Snapshot(), r.seen}
	r.rec.Mark(readMark{s.Version().Seq})
	r.held = append(r.held, s)
	r.checkHeld()
}

// checkHeld compares the snapshots that are held.
func (r *crashRun) checkHeld() {
	for _, s := range r.held {
		r.checkSnapshot(s)
	}
}

// checkSnapshot compares a snapshot with the model at its sequence.
func (r *crashRun) checkSnapshot(s heldSnapshot) {
	model, err := r.history.at(s.Version().Seq)
	require.NoError(r.t, err, "a snapshot")
	require.NoError(r.t, model.compareSnapshot(s.Snapshot, s.now))
}
