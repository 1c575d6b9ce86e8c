package engine_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"pgregory.net/rapid"

	"github.com/tongpengdl/small-db/engine"
)

// modelMachine is a database and the model of it, which take the same steps.
type modelMachine struct {
	t       rapid.TB
	root    string // of the directories
	opened  int    // directories so far
	opts    engine.Options
	reopens func() engine.Options // what it is opened with next
	clock   *modelClock
	db      *engine.DB
	batch   engine.Batch // used again and again

	modelState
	sealed    int64 // engine time that the files tell for certain
	written   bool  // since it was opened
	steps     int
	began     int64 // engine time at which the step began
	values    int   // made in this step
	snapshots [modelSnapshots]*modelSnapshot
}

// modelSnapshots is how many snapshots are held at the most.
const modelSnapshots = 4

// modelSnapshot is a snapshot and what it must show.
type modelSnapshot struct {
	*engine.Snapshot
	modelState
}

// modelClock is a wall clock that moves when it is told to, also backwards.
type modelClock struct{ ns atomic.Int64 }

func (c *modelClock) now() time.Time { return time.Unix(0, c.ns.Load()) }

// newModelMachine opens an empty database below root.
func newModelMachine(t rapid.TB, root string, options func() engine.Options) *modelMachine {
	m := &modelMachine{t: t, root: root, reopens: options, clock: new(modelClock)}
	m.clock.ns.Store(time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC).UnixNano())
	m.entries = make(map[string]modelEntry)
	m.tick()
	m.sealed = m.time
	m.must("make a directory", os.Mkdir(root, 0o700))
	m.open(m.newDir(), true)
	m.version = engine.Version{Epoch: m.db.Version().Epoch}
	m.check()
	return m
}

// end closes the database and removes its directories.
func (m *modelMachine) end() {
	if err := m.db.Close(); err != nil {
		m.t.Errorf("close: %v", err)
	}
	if err := os.RemoveAll(m.root); err != nil {
		m.t.Errorf("remove: %v", err)
	}
}

func (m *modelMachine) newDir() string {
	m.opened++
	return filepath.Join(m.root, fmt.Sprint(m.opened))
}

func (m *modelMachine) open(dir string, create bool) {
	m.opts = m.reopens()
	m.opts.Dir, m.opts.Create, m.opts.Now = dir, create, m.clock.now
	db, err := engine.Open(m.opts)
	if err != nil {
		m.t.Fatalf("open: %v", err)
	}
	m.db, m.written = db, false
}

// tick is what the engine does when it asks for the time.
func (m *modelMachine) tick() int64 {
	m.time = max(m.time, m.clock.ns.Load())
	return m.time
}

// do takes a step.
func (m *modelMachine) do(s modelStep) {
	m.steps++
	m.values, m.began = 0, m.time
	m.perform(s)
	m.check()
}

func (m *modelMachine) perform(s modelStep) {
	if s.Last && (s.Kind == stepBackup || s.Kind == stepReopen || s.Kind == stepCrash) {
		m.turnBack()
	}
	switch s.Kind {
	case stepSet, stepSetUntil, stepDelete:
		m.write(s)
	case stepTouch:
		m.touch(s)
	case stepBatch:
		m.apply(s)
	case stepTogether:
		m.together(s)
	case stepUpdate:
		m.update(s)
	case stepRefused:
		m.refused(s)
	case stepRead:
		m.read(s)
	case stepSnapshot:
		m.snapshots[s.N%modelSnapshots] = m.snapshot()
	case stepScan:
		m.scan(s)
	case stepClock:
		m.moveClock(s)
	case stepDump:
		m.checkAll(m.db, &m.modelState)
	case stepCheckpoint:
		m.must("checkpoint", m.db.Checkpoint(ctx))
	case stepBackup:
		m.backup(s)
	case stepReopen:
		m.reopen(s)
	case stepCrash:
		m.crash()
	default:
		m.t.Fatalf("no such step: %q", s.Kind)
	}
}

func (m *modelMachine) must(what string, err error) {
	if err != nil {
		m.t.Fatalf("%s: %v", what, err)
	}
}

// check is what must hold after every step: the exact count, the version, that nothing is damaged, and one key in all ways.
func (m *modelMachine) check() {
	m.tick()
	s := m.db.Stats()
	if s.Keys != m.count() || s.Version != m.version {
		m.t.Fatalf("%d keys, version %v; want %d, %v", s.Keys, s.Version, m.count(), m.version)
	}
	if s.Failure != nil || s.Damage != nil || s.CheckpointFailure != nil {
		m.t.Fatalf("failure %v, damage %v, checkpoint %v", s.Failure, s.Damage, s.CheckpointFailure)
	}
	m.checkKey(m.db, &m.modelState, modelKeys[m.steps%len(modelKeys)])
}

// checkKey reads a key in all ways.
func (m *modelMachine) checkKey(db *engine.DB, state *modelState, key string) {
	want, set := state.get(key)
	entry, ok, err := db.Entry([]byte(key))
	m.compare("entry", key, entry, ok, err, state)
	value, ok, err := db.Get([]byte(key))
	if err != nil || ok != set || string(value) != want.value {
		m.t.Fatalf("get %.20q: %s, %t, %v; want %s, %t", key, brief(value), ok, err, brief(want.value), set)
	}
	value, ok, err = db.AppendGet([]byte("before"), []byte(key))
	if err != nil || ok != set || string(value) != "before"+want.value {
		m.t.Fatalf("append %.20q: %s, %t, %v; want %s, %t", key, brief(value), ok, err, brief(want.value), set)
	}
	called := false
	ok, err = db.View([]byte(key), func(value []byte) error {
		called = true
		if string(value) != want.value {
			return fmt.Errorf("%s; want %s", brief(value), brief(want.value))
		}
		return nil
	})
	if err != nil || ok != set || called != set {
		m.t.Fatalf("view %.20q: %t, %v; want %t", key, ok, err, set)
	}
}

// compare compares what there is to know of a key.
func (m *modelMachine) compare(what, key string, got engine.Entry, ok bool, err error, state *modelState) {
	want, set := state.get(key)
	switch {
	case err != nil || ok != set:
		m.t.Fatalf("%s %.20q: %t, %v; want %t", what, key, ok, err, set)
	case ok && !want.is(key, got):
		m.t.Fatalf("%s %.20q: %s; want %v", what, key, briefly(got), want)
	}
}

// is reports whether an entry is this one.
func (e modelEntry) is(key string, got engine.Entry) bool {
	return string(got.Key) == key && string(got.Value) == e.value && got.Version == e.version && got.Deadline.Equal(timeOf(e.deadline))
}

func (e modelEntry) String() string {
	return fmt.Sprintf("{%s %v %v}", brief(e.value), e.version, timeOf(e.deadline))
}

func briefly(e engine.Entry) string {
	return fmt.Sprintf("%.20q {%s %v %v}", e.Key, brief(e.Value), e.Version, e.Deadline)
}

func brief[T string | []byte](value T) string { return fmt.Sprintf("%.24q[%d]", value, len(value)) }

// checkAll compares a database with a state in all ways.
func (m *modelMachine) checkAll(db *engine.DB, state *modelState) {
	for _, key := range modelKeys {
		m.checkKey(db, state, key)
	}
	s := &modelSnapshot{db.Snapshot(), *state}
	m.checkEntries(s, nil, nil, -1)
	m.checkPairs(s, "forward", s.Scan(nil, nil), s.keys(nil, nil), -1, false)
	m.must("scan", s.Err())
}

// moveClock moves the wall clock, mostly to somewhere near a deadline, sometimes back.
func (m *modelMachine) moveClock(s modelStep) {
	wall := m.clock.ns.Load()
	next := m.soon()
	switch {
	case s.N == 0:
		wall++
	case s.N < 3 && next != 0:
		wall = next
	case s.N == 3 && next != 0:
		wall = next - 1
	case s.N == 4:
		wall -= int64(time.Hour)
	case s.N == 5:
		wall = m.time - 1
	default:
		wall += int64(s.N) * int64(time.Second) / 2
	}
	m.clock.ns.Store(wall)
}

// turnBack lets a key fall due, sees to it that this is noticed, and sets the wall clock back.
func (m *modelMachine) turnBack() {
	if next := m.soon(); next != 0 {
		m.clock.ns.Store(next)
		m.check()
		m.clock.ns.Store(next - int64(time.Hour))
	}
}

// soon is the next deadline, if it does not lie years ahead; 0 otherwise.
func (m *modelMachine) soon() int64 {
	if next := m.nextDeadline(); next-m.time < int64(24*time.Hour) {
		return next
	}
	return 0
}

// reopen closes the database and opens it again.
func (m *modelMachine) reopen(s modelStep) {
	if m.written { // otherwise Close has nothing to seal
		m.sealed = m.tick()
	}
	m.must("close", m.db.Close())
	m.checkClosed()
	m.rewind()
	m.open(m.opts.Dir, s.Flag)
	if r := m.db.Stats().Recovery; !r.Clean || r.Created || len(r.Repaired) > 0 {
		m.t.Fatalf("not closed cleanly: %+v", r)
	}
}

// rewind makes up for what no frame has recorded: that somebody has asked for the time. Where the wall clock has
// been set back since, a database that is opened again could not know.
func (m *modelMachine) rewind() {
	if m.time > m.sealed {
		m.clock.ns.Store(max(m.time, m.clock.ns.Load()))
	}
}

func (m *modelMachine) checkClosed() {
	_, _, err := m.db.Entry([]byte("a"))
	_, err2 := m.db.Apply(ctx, new(engine.Batch))
	_, err3 := m.db.Update(ctx, func(*engine.Tx) error { panic("nothing to update") })
	s := m.db.Snapshot()
	for _, err := range []error{err, err2, err3, s.Err(), m.db.Checkpoint(ctx)} {
		if err != engine.ErrClosed {
			m.t.Fatalf("after close: %v", err)
		}
	}
	for range s.Scan(nil, nil) {
		m.t.Fatalf("after close: a key")
	}
	if got := m.db.Stats(); got.Keys != m.count() || got.Version != m.version {
		m.t.Fatalf("after close: %d keys, version %v; want %d, %v", got.Keys, got.Version, m.count(), m.version)
	}
}

// crash goes on with a copy of the directory, which is what a killed process would have left.
func (m *modelMachine) crash() {
	dir := m.newDir()
	m.copyDir(m.opts.Dir, dir)
	m.must("close", m.db.Close())
	m.must("remove", os.RemoveAll(m.opts.Dir))
	m.rewind()
	wrote := m.written
	m.open(dir, false)
	r := m.db.Stats().Recovery
	if r.Created || wrote && r.Clean || len(r.Repaired) > 0 {
		m.t.Fatalf("after a crash: %+v", r)
	}
	if !r.Clean {
		m.version.Epoch++
		m.written = true // it has a new log
	}
	m.checkAll(m.db, &m.modelState)
}

// copyDir copies a directory as it was at one moment: nobody writes, and if files were made, renamed or removed meanwhile in
// the background it starts again.
func (m *modelMachine) copyDir(from, to string) {
	for {
		before := m.list(from)
		err := os.CopyFS(to, os.DirFS(from))
		if m.list(from) == before {
			m.must("copy", err)
			return
		}
		m.must("remove", os.RemoveAll(to))
	}
}

// list says which files a directory holds.
func (m *modelMachine) list(dir string) string {
	entries, err := os.ReadDir(dir)
	m.must("list", err)
	var b strings.Builder
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			fmt.Fprintln(&b, e.Name(), info.Size(), info.ModTime(), info.Sys().(*syscall.Stat_t).Ino)
		}
	}
	return b.String()
}
