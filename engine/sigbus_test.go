package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
)

// siege is a database one of whose mapped files becomes unreadable while everything that reads it is going on. Some of it runs in a child
// process, so it collects what is wrong instead of failing a test.
type siege struct {
	opts   engine.Options
	victim string // what the names of the files begin with that are broken
	db     *engine.DB
	want   shadow   // what must be read, if anything is
	sorted []string // its keys
	before *engine.Snapshot

	moment  atomic.Int32 // 0 before the files are broken, 1 while they are, 2 after
	broken  atomic.Bool
	still   sync.Mutex   // nothing is written while it is held
	intact  atomic.Int64 // bytes of each broken file that are as they were
	workers sync.WaitGroup
	ready   sync.WaitGroup

	mu      sync.Mutex
	wrongs  []error
	failed  map[string]int // reads refused, by what they were
	served  map[string]int
	written shadow // acknowledged
}

const (
	besiegedBase, besiegedDelta = 600, 300 // keys
	besiegedLog                 = 64 << 10
)

func besiegedOptions(dir string) engine.Options {
	return engine.Options{Dir: dir, Create: true, LogFileBytes: besiegedLog, DisableBackgroundCheckpoint: true, Sync: engine.SyncNone}
}

// prepareSiege makes a database with keys in its checkpoint, keys in several logs after it, and keys in both, and closes it.
func prepareSiege(opts engine.Options) (shadow, error) {
	db, err := engine.Open(opts)
	if err != nil {
		return nil, err
	}
	want := shadow{}
	fill := func(from, to, step int, text string) {
		var b engine.Batch
		for i := from; i < to && err == nil; i += step {
			key := fmt.Sprintf("k%04d", i)
			want[key] = strings.Repeat(fmt.Sprintf("%s-%d.", text, i), 60+i%7)
			b.Set([]byte(key), []byte(want[key]))
			if i%20 == 19 {
				_, err = db.Apply(ctx, &b)
				b.Reset()
			}
		}
		if err == nil {
			_, err = db.Apply(ctx, &b)
		}
	}
	fill(0, besiegedBase, 1, "base")
	if err == nil {
		err = db.Checkpoint(ctx)
	}
	fill(besiegedBase, besiegedBase+besiegedDelta, 1, "delta")
	fill(0, besiegedBase, 50, "again")
	return want, errors.Join(err, db.Close())
}

// begin opens what prepareSiege has made.
func (s *siege) begin() (err error) {
	s.failed, s.served, s.written = map[string]int{}, map[string]int{}, shadow{}
	s.sorted = slices.Sorted(maps.Keys(s.want))
	if s.db, err = engine.Open(s.opts); err == nil {
		s.before = s.db.Snapshot()
	}
	return err
}

func (s *siege) wrong(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrongs = append(s.wrongs, fmt.Errorf(format, args...))
}

// refused judges the error of a read: nil, or one that names a broken file.
func (s *siege) refused(what string, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.served[what]++
		return false
	}
	s.failed[what]++
	var place *format.CorruptionError
	if !errors.As(err, &place) || !errors.Is(err, engine.ErrCorrupt) || !strings.HasPrefix(place.File, s.victim) ||
		place.Offset < s.intact.Load()-format.BlockSize { // a record may begin before what is broken
		s.wrongs = append(s.wrongs, fmt.Errorf("%s: not an error of a broken file: %w", what, err))
	}
	return true
}

// work runs a reader: a few times before the file is broken, while it is, and n times after.
func (s *siege) work(n int, turn func(rng *rand.Rand, i int)) {
	s.ready.Add(1)
	s.workers.Go(func() {
		rng := rand.New(rand.NewPCG(uint64(n), 6))
		ready := sync.OnceFunc(s.ready.Done)
		for i := 0; n > 0; i++ {
			if s.broken.Load() {
				n--
			}
			turn(rng, i)
			ready()
			runtime.Gosched()
		}
	})
}

// readers begins everything that reads.
func (s *siege) readers() {
	for range 2 {
		s.work(2000, func(rng *rand.Rand, _ int) {
			s.value("get", rng, func(key []byte) ([]byte, bool, error) { return s.db.Get(key) })
		})
	}
	s.work(1000, func(rng *rand.Rand, _ int) {
		s.value("view", rng, func(key []byte) (seen []byte, ok bool, err error) {
			ok, err = s.db.View(key, func(v []byte) error { seen = bytes.Clone(v); return nil })
			return seen, ok, err
		})
	})
	s.work(1000, func(rng *rand.Rand, i int) {
		from := s.before
		if i%2 == 0 {
			from = s.db.Snapshot()
		}
		s.value("snapshot", rng, from.Get)
	})
	s.work(1000, func(rng *rand.Rand, _ int) {
		if _, ok, err := s.db.Get(fmt.Appendf(nil, "none%d", rng.Uint64())); !s.refused("get of nothing", err) && ok {
			s.wrong("a key that was never set is there")
		}
	})
	s.work(6, func(_ *rand.Rand, i int) { s.scan(i%2 == 1) })
	s.work(3, func(*rand.Rand, int) { s.backup() })
}

// value reads a key. A view at the moment at which the bytes were changed is not judged: it sees them as they lie in the file. Whatever is
// copied was verified in the copy.
func (s *siege) value(what string, rng *rand.Rand, read func(key []byte) ([]byte, bool, error)) {
	key := s.sorted[rng.IntN(len(s.sorted))]
	began := s.moment.Load()
	v, ok, err := read([]byte(key))
	if s.refused(what, err) || ok && string(v) == s.want[key] || what == "view" && began < 2 && s.moment.Load() > 0 {
		return
	}
	s.wrong("%s %s: %t, %d bytes %.20q instead of %.20q", what, key, ok, len(v), v, s.want[key])
}

// scan goes through all keys in either direction: it yields the right ones without a gap, and says so if it does not come to the end.
func (s *siege) scan(backward bool) {
	snapshot, n := s.db.Snapshot(), 0
	seq := snapshot.Prefix([]byte("k"))
	if backward {
		seq = snapshot.Backward([]byte("k"), []byte("l"))
	}
	for k, v := range seq {
		at := n
		if backward {
			at = len(s.sorted) - 1 - n
		}
		if n >= len(s.sorted) || string(k) != s.sorted[at] || string(v) != s.want[s.sorted[at]] {
			s.wrong("scan, backward %t: entry %d is %s with %.20q", backward, n, k, v)
			return
		}
		n++
	}
	if !s.refused("scan", snapshot.Err()) && n != len(s.sorted) {
		s.wrong("a scan ended without an error after %d keys of %d", n, len(s.sorted))
	}
}

// backup is a whole one, or none.
func (s *siege) backup() {
	var b bytes.Buffer
	if _, err := s.db.Backup(ctx, &b); s.refused("backup", err) {
		return
	}
	dir, err := os.MkdirTemp(memoryDir(), "restored")
	if err != nil {
		s.wrong("%w", err)
		return
	}
	defer os.RemoveAll(dir)
	opts := besiegedOptions(dir)
	if err := engine.Restore(opts, &b); err != nil {
		s.wrong("a backup that succeeded: %w", err)
		return
	}
	db, err := engine.Open(opts)
	if err != nil {
		s.wrong("a backup that succeeded: %w", err)
		return
	}
	for k, want := range s.want {
		if v, ok, err := db.Get([]byte(k)); err != nil || !ok || string(v) != want {
			s.wrong("a backup that succeeded has %s as %t, %.20q, %w", k, ok, v, err)
			break
		}
	}
	if err := db.Close(); err != nil {
		s.wrong("%w", err)
	}
}

// writers begins what writes, and checkpoints, which go on or say why not.
func (s *siege) writers() {
	s.work(60, func(rng *rand.Rand, i int) {
		key, value := fmt.Sprintf("w%d", i), fmt.Sprint("written ", i)
		if i%3 == 2 { // once more what it is, over a record that may be broken
			key = s.sorted[rng.IntN(len(s.sorted))]
			value = s.want[key]
		}
		s.still.Lock()
		_, err := s.db.Set(ctx, []byte(key), []byte(value))
		s.still.Unlock()
		if err != nil {
			s.wrong("write: %w", err)
			return
		}
		s.mu.Lock()
		s.written[key] = value
		s.mu.Unlock()
		if v, ok, err := s.db.Get([]byte(key)); !s.refused("get of what was written", err) && (!ok || string(v) != value) {
			s.wrong("%s is %t, %.20q", key, ok, v)
		}
	})
	s.work(3, func(*rand.Rand, int) {
		if s.broken.Load() { // else it would replace what is to be broken
			s.refused("checkpoint", s.db.Checkpoint(ctx))
		}
	})
}

// end waits for all that goes on, and closes the database: nothing may hang.
func (s *siege) end() error {
	if err := ended("readers and writers", s.workers.Wait); err != nil {
		return err
	}
	stats := s.db.Stats()
	switch {
	case stats.Failure != nil:
		s.wrong("the log is well: %w", stats.Failure)
	case len(s.failed) > 0 && !errors.Is(stats.Damage, engine.ErrCorrupt):
		s.wrong("damage was met and is not reported: %v", stats.Damage)
	case len(s.failed) == 0:
		s.wrong("nothing was refused, of %v", s.served)
	case s.failed["get"] == 0 || s.served["get"] == 0 || s.failed["scan"] == 0 || s.failed["backup"] == 0:
		s.wrong("too little: refused %v, served %v", s.failed, s.served)
	}
	if err := ended("close", func() { s.wrongIf(s.db.Close()) }); err != nil {
		return err
	}
	return errors.Join(s.wrongs...)
}

func (s *siege) wrongIf(err error) {
	if err != nil {
		s.wrong("%w", err)
	}
}

// ended runs what must end.
func ended(what string, do func()) error {
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
		return nil
	case <-time.After(deadline):
		stacks := make([]byte, 1<<20)
		return fmt.Errorf("%s: still waiting\n%s", what, stacks[:runtime.Stack(stacks, true)])
	}
}

// breakage breaks a file of so many bytes, and returns how many of them are intact.
type breakage = func(path string, size int64, rng *rand.Rand) (intact int64, err error)

// breakages are what may befall a file. One that not all systems have is in another file.
var breakages = map[string]breakage{
	"cut to nothing": func(path string, _ int64, _ *rand.Rand) (int64, error) { return 0, os.Truncate(path, 0) },
	"cut": func(path string, size int64, rng *rand.Rand) (int64, error) {
		keep := format.BlockSize + rng.Int64N(size/2)
		return keep, os.Truncate(path, keep)
	},
}

// victims are the files that are broken, by what their names begin with, of a database that prepareSiege has made. All of a kind are, for a
// checkpoint may replace one by another.
var victims = []string{"checkpoint.", "logfile."}

// It returns what they held.
func (s *siege) breakFiles(how breakage, rng *rand.Rand) (map[string][]byte, error) {
	s.still.Lock() // what is written in between would not be mended
	defer s.still.Unlock()
	defer s.broken.Store(true)
	paths, err := filepath.Glob(filepath.Join(s.opts.Dir, s.victim+"[0-9]*"))
	s.moment.Store(1)
	defer s.moment.Store(2)
	held, least := map[string][]byte{}, int64(math.MaxInt64)
	for _, path := range paths {
		data, e := os.ReadFile(path)
		if err = errors.Join(err, e); err == nil {
			var intact int64
			held[path] = data
			intact, err = how(path, int64(len(data)), rng)
			least = min(least, intact)
		}
	}
	s.intact.Store(least)
	return held, err
}

// mend puts back what was cut out of the files, and leaves what was written since: what was cut reads as zeros now, and so did what lies
// beyond the end of what was written before.
func mend(held map[string][]byte) error {
	for path, before := range held {
		now, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for i := range min(len(now), len(before)) {
			before[i] |= now[i]
		}
		if err := os.WriteFile(path, before, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// openBroken opens the database whose files are broken: that is refused with the place, or repaired, or what can be read is right.
// Other errors of an open may be allowed.
func (s *siege) openBroken(locked bool, allowed ...error) error {
	opts := s.opts
	opts.WarmUp, opts.LockMemory = engine.WarmUpWait, locked
	db, err := engine.Open(opts)
	if err != nil {
		if !errorsIsAny(err, append(allowed, engine.ErrCorrupt)...) {
			return fmt.Errorf("open broken files: %w", err)
		}
		return nil
	}
	for k, want := range s.want {
		v, ok, err := db.Get([]byte(k))
		if err == nil && (!ok || string(v) != want) || err != nil && !errors.Is(err, engine.ErrCorrupt) {
			return fmt.Errorf("opened again: %s is %t, %.20q, %w", k, ok, v, err)
		}
	}
	return db.Close()
}

// openMended opens the database once its files are well again: everything is there.
func (s *siege) openMended() error {
	opts := s.opts
	opts.WarmUp, opts.LockMemory = engine.WarmUpOff, false
	db, err := engine.Open(opts)
	if err != nil {
		return fmt.Errorf("after the files were mended: %w", err)
	}
	all := maps.Clone(s.want)
	maps.Copy(all, s.written)
	return errors.Join(sameState(db, all), db.Close())
}

// Mapped files are cut and punched while everything reads them: what cannot be read is refused with the place and the rest is right,
// the process lives, writes go on, nothing hangs, nothing is left running, and once the files are mended all is there.
func TestFilesCutUnderReaders(t *testing.T) {
	rounds := enginetest.Times(12, 300)
	rng := rand.New(rand.NewPCG(enginetest.Seed(t, 1), 6))
	kinds := slices.Sorted(maps.Keys(breakages))
	opts := besiegedOptions(inMemory(t))
	want, err := prepareSiege(opts)
	require.NoError(t, err)
	whole := files(t, opts.Dir)
	failed, served := map[string]int{}, map[string]int{}
	idle := runtime.NumGoroutine()
	for round := range rounds {
		restoreFiles(t, opts.Dir, whole)
		s := &siege{opts: opts, victim: victims[round%len(victims)], want: want}
		s.opts.WarmUp = engine.WarmUpMode(round % 3)
		s.opts.LockMemory = round%4 > 1 && os.Getuid() == 0
		kind := kinds[round/len(victims)%len(kinds)]
		what := fmt.Sprintf("round %d: %s* is %s", round, s.victim, kind)
		require.NoError(t, s.begin(), what)
		s.readers()
		s.writers()
		s.ready.Wait()
		held, err := s.breakFiles(breakages[kind], rng)
		require.NoError(t, err, what)
		require.NoError(t, s.end(), what)
		require.NoError(t, s.openBroken(os.Getuid() == 0), what)
		require.NoError(t, mend(held))
		require.NoError(t, s.openMended(), what)
		for k, n := range s.failed {
			failed[k] += n
		}
		for k, n := range s.served {
			served[k] += n
		}
	}
	eventually(t, "goroutines left", func() bool { return runtime.NumGoroutine() <= idle })
	t.Logf("%d rounds of %v: refused %v, served %v, nothing wrong, nothing left running", rounds, kinds, failed, served)
}
