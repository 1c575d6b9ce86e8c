package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// layered is a database whose state is spread over a base, a frozen delta and a delta, and what it holds.
type layered struct {
	t     *testing.T
	rng   *rand.Rand
	opts  engine.Options
	in    *mmapiotest.Injector
	db    *engine.DB
	now   atomic.Int64 // wall clock, in ns
	model entries
}

// entries are keys with all there is to know of them.
type entries map[string]engine.Entry

// newLayered makes a database by steps: b writes and makes a checkpoint of it, f writes and begins a checkpoint that goes
// no further until the test ends, d writes.
func newLayered(t *testing.T, steps string, write func(l *layered)) *layered {
	t.Helper()
	l := &layered{t: t, rng: rand.New(rand.NewPCG(uint64(len(steps)), 1)), in: mmapiotest.NewInjector(mmapio.OpenDir), model: entries{}}
	l.now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	l.opts = quiet(t)
	l.opts.Sync = engine.SyncNone
	l.opts.Now = func() time.Time { return time.Unix(0, l.now.Load()) }
	l.opts.OpenDir = l.in.OpenDir
	l.db = enginetest.Open(t, l.opts)
	for _, step := range steps {
		write(l)
		switch step {
		case 'b':
			require.NoError(t, l.db.Checkpoint(ctx))
		case 'f':
			t.Cleanup(holdCheckpoint(t, l.db, l.in))
		}
	}
	return l
}

// holdCheckpoint begins a checkpoint, and returns when the delta is frozen. The checkpoint goes on when release is called, which
// waits for its end.
func holdCheckpoint(t *testing.T, db *engine.DB, in *mmapiotest.Injector) (release func()) {
	t.Helper()
	reached, leave, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	in.Add(mmapiotest.Fault{
		Match: func(op mmapiotest.Op) bool {
			return op.Kind == mmapiotest.Create && strings.HasPrefix(op.Name, "checkpoint.")
		},
		Before: func(mmapiotest.Op) { close(reached); <-leave },
	})
	go func() { done <- db.Checkpoint(ctx) }()
	select {
	case <-reached:
	case err := <-done:
		require.Fail(t, "the checkpoint was not held", "%v", err)
	}
	return sync.OnceFunc(func() {
		close(leave)
		assert.NoError(t, <-done)
	})
}

func (l *layered) set(key, value string, deadline time.Time) {
	l.t.Helper()
	v, err := l.db.SetUntil(ctx, []byte(key), []byte(value), deadline)
	require.NoError(l.t, err)
	l.model[key] = engine.Entry{Key: []byte(key), Value: []byte(value), Version: v, Deadline: deadline}
}

func (l *layered) delete(key string) {
	l.t.Helper()
	_, err := l.db.Delete(ctx, []byte(key))
	require.NoError(l.t, err)
	delete(l.model, key)
}

// writeSome changes about half of some keys.
func (l *layered) writeSome(keys []string) {
	now := time.Unix(0, l.now.Load()).UTC()
	for _, k := range keys {
		switch l.rng.IntN(10) {
		case 0, 1:
			l.delete(k)
		case 2:
			l.set(k, "", time.Time{})
		case 3:
			l.set(k, fmt.Sprintf("later %d", l.rng.Int()), now.Add(time.Hour))
		case 4:
			l.set(k, "soon", now.Add(time.Minute))
		case 5:
			l.set(k, string(bytesOf(k, l.rng.IntN(3000))), time.Time{})
		}
	}
}

// set is what is not due.
func (m entries) set(now int64) []engine.Entry {
	var out []engine.Entry
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if e := m[k]; e.Deadline.IsZero() || e.Deadline.UnixNano() > now {
			out = append(out, e)
		}
	}
	return out
}

// oddKeys are keys at the edges of what keys can be, and some plain ones.
func oddKeys() []string {
	keys := []string{"\x00", "\x00\x00", "\x00\xff", "a", "a\x00", "a\x00\x00", "ab", "\xfe\xff", "\xff", "\xff\x00", "\xff\xff", "\xff\xff\xff\xff\xff\xff\xff\xff\xff"}
	long := strings.Repeat("long", 16384)[:65534]
	keys = append(keys, long, long+"\x00", long+"\xff", strings.Repeat("\xff", 65535))
	for i := range 40 {
		keys = append(keys, fmt.Sprintf("key-%03d", i))
	}
	return keys
}

// edges are bounds at, just before and just after keys, and none.
func edges(keys []string) [][]byte {
	out := [][]byte{nil, nil, {}}
	for _, k := range keys {
		out = append(out, []byte(k))
		if len(k) < 100 {
			out = append(out, []byte(k+"\x00"), []byte(k[:len(k)-1]), append([]byte(k[:len(k)-1]), k[len(k)-1]+1))
		}
	}
	return out
}

// within are the entries from start to before end.
func within(all []engine.Entry, start, end []byte) (out []engine.Entry) {
	for _, e := range all {
		if bytes.Compare(e.Key, start) >= 0 && (end == nil || bytes.Compare(e.Key, end) < 0) {
			out = append(out, e)
		}
	}
	return out
}

// requirePairs checks what a sequence yields.
func requirePairs(t testing.TB, want []engine.Entry, got iter.Seq2[[]byte, []byte], what string, args ...any) {
	t.Helper()
	i := 0
	for k, v := range got {
		if i == len(want) || !bytes.Equal(k, want[i].Key) || !bytes.Equal(v, want[i].Value) {
			require.Fail(t, "wrong pair", "%s: number %d of %d is %.40q = %.40q", fmt.Sprintf(what, args...), i, len(want), k, v)
		}
		i++
	}
	require.Equal(t, len(want), i, what, args)
}

func reversed(e []engine.Entry) []engine.Entry {
	e = slices.Clone(e)
	slices.Reverse(e)
	return e
}

// requireRange checks all ways to go from start to before end.
func requireRange(t testing.TB, s *engine.Snapshot, all []engine.Entry, start, end []byte) {
	t.Helper()
	want := within(all, start, end)
	requirePairs(t, want, s.Scan(start, end), "Scan %.20q %.20q", start, end)
	requirePairs(t, reversed(want), s.Backward(start, end), "Backward %.20q %.20q", start, end)
	i := 0
	for e := range s.Entries(start, end) {
		if i < len(want) {
			require.Equal(t, want[i], e)
		}
		i++
	}
	require.Equal(t, len(want), i, "Entries %.20q %.20q", start, end)
	require.NoError(t, s.Err())
}

// requireGets checks every key, and some that never were.
func requireGets(t testing.TB, s *engine.Snapshot, all []engine.Entry, keys []string) {
	t.Helper()
	want := entries{}
	for _, e := range all {
		want[string(e.Key)] = e
	}
	for _, k := range append([]string{"", "never", "\xff\xff\xff"}, keys...) {
		e, ok, err := s.Entry([]byte(k))
		require.NoError(t, err)
		w, set := want[k]
		require.Equal(t, set, ok, "%.40q", k)
		if set {
			require.Equal(t, w, e)
		}
		v, ok, err := s.Get([]byte(k))
		require.NoError(t, err)
		require.Equal(t, set, ok)
		require.Equal(t, string(w.Value), string(v))
	}
}

// shapes are the ways in which a state can be spread over a base, a frozen delta and a delta.
var shapes = []string{"", "b", "d", "f", "bd", "bf", "fd", "bbd", "bfd"}

// Every range, forwards and backwards, over everything that a state can be made of, is that of a sorted model.
func TestScanAgainstModel(t *testing.T) {
	for _, shape := range shapes {
		t.Run("layers="+shape, func(t *testing.T) {
			keys := oddKeys()
			l := newLayered(t, shape, func(l *layered) { l.writeSome(keys) })
			early, earlyModel := l.db.Snapshot(), maps.Clone(l.model)
			earlyTime := l.now.Load()
			if strings.HasSuffix(shape, "d") {
				l.writeSome(keys)
			}
			l.now.Add(int64(2 * time.Minute)) // "soon" is past
			bounds := edges(keys)
			rounds := 150
			if raceDetector {
				rounds = 40
			}
			for _, c := range []struct {
				s   *engine.Snapshot
				all []engine.Entry
			}{{l.db.Snapshot(), l.model.set(l.now.Load())}, {early, earlyModel.set(earlyTime)}} {
				requireRange(t, c.s, c.all, nil, nil)
				requireGets(t, c.s, c.all, keys)
				for range rounds {
					requireRange(t, c.s, c.all, bounds[l.rng.IntN(len(bounds))], bounds[l.rng.IntN(len(bounds))])
				}
				for _, k := range keys[:12] {
					requireRange(t, c.s, c.all, []byte(k), []byte(k))
				}
				for _, p := range append(bounds, []byte("key-"), []byte("key-01")) {
					var want []engine.Entry
					for _, e := range c.all {
						if bytes.HasPrefix(e.Key, p) {
							want = append(want, e)
						}
					}
					requirePairs(t, want, c.s.Prefix(p), "Prefix %.20q", p)
					requirePairs(t, reversed(want), c.s.Backward(p, engine.PrefixEnd(p)), "backwards %.20q", p)
				}
			}
		})
	}
}

func TestPrefixEnd(t *testing.T) {
	for _, c := range []struct{ p, end string }{
		{"", ""}, {"a", "b"}, {"a\xff", "b"}, {"a\xff\xff", "b"}, {"\xff", ""}, {"\xff\xff", ""}, {"\x00", "\x01"}, {"a\xfe", "a\xff"}, {"\xff\x00\xff", "\xff\x01"},
	} {
		p := []byte(c.p)
		end := engine.PrefixEnd(p)
		assert.Equal(t, c.end, string(end), "%q", c.p)
		assert.Equal(t, c.end == "", end == nil, "%q", c.p)
		assert.Equal(t, c.p, string(p), "the argument is not changed")
	}
	assert.Nil(t, engine.PrefixEnd(nil))
}

// Large values go through the buffers of a scan between small ones.
func TestScanLargeValues(t *testing.T) {
	for _, shape := range []string{"b", "d", "bfd"} {
		n := 0
		l := newLayered(t, shape, func(l *layered) {
			for i := range 5 {
				l.set(fmt.Sprintf("%d-%d", i, n), string(bytesOf(fmt.Sprint(i), []int{1 << 20, 0, 3, 1<<20 - 1, 70_000}[i])), time.Time{})
			}
			n++
		})
		requireRange(t, l.db.Snapshot(), l.model.set(0), nil, nil)
	}
}

// plain is a database of keys in all layers, with deletes of each layer's keys in the next.
func plain(t *testing.T) *layered {
	part := 0
	return newLayered(t, "bfd", func(l *layered) {
		for i := range 30 {
			l.set(fmt.Sprintf("key-%02d-%d", i, part), fmt.Sprintf("value-%d-%d", i, part), time.Time{})
			if part > 0 && i%7 == 0 {
				l.delete(fmt.Sprintf("key-%02d-%d", i, part-1))
			}
		}
		part++
	})
}

// A sequence can be left early and ranged over again, and each range starts anew.
func TestScanLeftEarly(t *testing.T) {
	l := plain(t)
	s, all := l.db.Snapshot(), l.model.set(0)
	for _, seq := range []iter.Seq2[[]byte, []byte]{s.Scan(nil, nil), s.Prefix([]byte("key"))} {
		for stop := range len(all) {
			i := 0
			for k := range seq {
				require.Equal(t, all[i].Key, k)
				if i++; i > stop {
					break
				}
			}
		}
		requirePairs(t, all, seq, "after all that")
	}
	requireWell(t, l)
}

// Sequences run inside each other, the same one too, and what a step yields stays until the next step of its own range.
func TestScanNested(t *testing.T) {
	l := plain(t)
	s, all := l.db.Snapshot(), l.model.set(0)
	other := l.db.Snapshot()
	forwards, backwards := s.Scan(nil, nil), s.Backward(nil, nil)
	i := 0
	for k, v := range forwards {
		if i%10 == 0 {
			requirePairs(t, all, forwards, "the same sequence")
			requirePairs(t, reversed(all), backwards, "backwards")
			requirePairs(t, all[i:], other.Scan(k, nil), "from here on")
			requirePairs(t, all[:i], s.Scan(nil, k), "up to here")
			_, ok, err := s.Get(k)
			require.NoError(t, err)
			require.True(t, ok)
		}
		require.Equal(t, string(all[i].Key), string(k))
		require.Equal(t, string(all[i].Value), string(v))
		i++
	}
	require.Equal(t, len(all), i)
}

// The bounds are the caller's again when the method has returned: a sequence is ranged over later, perhaps more than once.
func TestScanKeepsNoBounds(t *testing.T) {
	l := plain(t)
	s, all := l.db.Snapshot(), l.model.set(0)
	start, end, prefix := bytes.Clone(all[5].Key), bytes.Clone(all[9].Key), []byte("key-0")
	scan, back, entries, under := s.Scan(start, end), s.Backward(start, end), s.Entries(start, end), s.Prefix(prefix)
	copy(start, "\xff\xff\xff")
	copy(end, "\x00\x00\x00")
	copy(prefix, "nothing")
	n := 0
	for e := range entries {
		if n < 4 {
			assert.Equal(t, all[5+n], e)
		}
		n++
	}
	assert.Equal(t, 4, n, "Entries")
	n = 0
	for k := range scan {
		assert.Equal(t, string(all[5+n].Key), string(k))
		n++
	}
	assert.Equal(t, 4, n, "Scan")
	n = 0
	for range back {
		n++
	}
	assert.Equal(t, 4, n, "Backward")
	n = 0
	for range under {
		n++
	}
	assert.Positive(t, n, "Prefix")
}

// Sequences are pulled, side by side, to the end and not, stopped and abandoned.
func TestScanPulled(t *testing.T) {
	l := plain(t)
	s, all := l.db.Snapshot(), l.model.set(0)
	forth, stopForth := iter.Pull2(s.Scan(nil, nil))
	back, stopBack := iter.Pull2(s.Backward(nil, nil))
	entry, stopEntry := iter.Pull(s.Entries(nil, nil))
	defer stopEntry()
	for i := range all {
		k, v, ok := forth()
		require.True(t, ok)
		require.Equal(t, all[i].Key, k)
		e, ok := entry()
		require.True(t, ok)
		require.Equal(t, all[i], e)
		last := all[len(all)-1-i]
		k2, v2, ok := back()
		require.True(t, ok)
		require.Equal(t, last.Key, k2)
		require.Equal(t, last.Value, v2)
		require.Equal(t, all[i].Value, v)
		if i == 20 {
			stopBack()
			break
		}
	}
	_, _, ok := back()
	require.False(t, ok)
	stopForth()
	stopForth()
	for range 3 { // nobody stops these
		next, _ := iter.Pull2(s.Scan(nil, nil))
		_, _, ok := next()
		require.True(t, ok)
	}
	requireWell(t, l)
}

// armed says whether faults panic in this goroutine.
func armed() bool {
	was := debug.SetPanicOnFault(false)
	debug.SetPanicOnFault(was)
	return was
}

// requireWell checks that nothing holds up writes, checkpoints and other scans, and that no guard was left armed.
func requireWell(t *testing.T, l *layered) {
	t.Helper()
	require.False(t, armed(), "a guard was left armed")
	done := make(chan error, 1)
	go func() {
		_, err := l.db.Set(ctx, []byte("zz"), nil)
		for range l.db.Snapshot().Backward(nil, nil) {
		}
		done <- err
	}()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(deadline):
		require.Fail(t, "a lock is held")
	}
}

// A loop body runs outside of any guard, and may end in any way.
func TestScanBodyPanics(t *testing.T) {
	l := plain(t)
	s := l.db.Snapshot()
	bodies := map[string]func(){
		"scan": func() {
			for range s.Scan(nil, nil) {
				requireUnarmed(t)
				panic("body")
			}
		},
		"backward": func() {
			for range s.Backward(nil, nil) {
				requireUnarmed(t)
				panic("body")
			}
		},
		"entries": func() {
			for range s.Entries(nil, nil) {
				requireUnarmed(t)
				panic("body")
			}
		},
		"nested": func() {
			for k := range s.Scan(nil, nil) {
				for range s.Backward(nil, k) {
				}
				for range s.Scan(k, nil) {
					panic("body")
				}
			}
		},
		"pulled": func() {
			next, stop := iter.Pull2(s.Scan(nil, nil))
			defer stop()
			_, _, _ = next()
			panic("body")
		},
	}
	for name, body := range bodies {
		require.PanicsWithValue(t, "body", body, name)
		requireWell(t, l)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range s.Scan(nil, nil) {
			runtime.Goexit()
		}
	}()
	<-ended
	requireWell(t, l)
	require.NoError(t, s.Err())

	// A fault in the body is the body's own, and ends as it would without a scan around it.
	was := debug.SetPanicOnFault(true)
	for range s.Scan(nil, nil) {
		require.True(t, armed(), "what the caller has chosen stays")
		break
	}
	debug.SetPanicOnFault(was)
}

func requireUnarmed(t *testing.T) {
	t.Helper()
	require.False(t, armed(), "the body runs inside a guard")
}

// A loop body may write, delete, make checkpoints and close the database: the scan goes on with what it began with.
func TestScanBodyUsesTheDatabase(t *testing.T) {
	opts := quiet(t)
	db := enginetest.Open(t, opts)
	m := entries{}
	for i := range 60 {
		k, v := fmt.Sprintf("%02d", i), fmt.Sprintf("value %d", i)
		at := set(t, db, k, v)
		m[k] = engine.Entry{Key: []byte(k), Value: []byte(v), Version: at}
		if i == 30 {
			require.NoError(t, db.Checkpoint(ctx))
		}
	}
	s, all, i := db.Snapshot(), m.set(0), 0
	for k, v := range s.Scan(nil, nil) {
		require.Equal(t, all[i].Key, k)
		require.Equal(t, all[i].Value, v)
		switch {
		case i == 55:
			require.NoError(t, db.Close())
		case i > 55:
		case i%10 == 5:
			require.NoError(t, db.Checkpoint(ctx))
		default:
			_, err := db.Delete(ctx, k)
			require.NoError(t, err)
			set(t, db, fmt.Sprintf("%02d", i+1), "changed")
			set(t, db, fmt.Sprintf("%02d+", i), "new")
		}
		i++
	}
	require.Equal(t, len(all), i)
	requireRange(t, s, all, nil, nil)
}

// Scans go on for long while writers set and delete, keys expire and checkpoints are made.
func TestScanBesideWriters(t *testing.T) {
	var clock atomic.Int64 // stands still when the writers do
	now := func() time.Time { return time.Unix(1<<31, clock.Load()) }
	opts := quiet(t)
	opts.Sync, opts.Now = engine.SyncNone, now
	db := enginetest.Open(t, opts)
	m := entries{}
	const keys = 400
	for i := range keys {
		k := fmt.Sprintf("%04d", i)
		v := string(stamp(0, i, i%50))
		m[k] = engine.Entry{Key: []byte(k), Value: []byte(v), Version: set(t, db, k, v)}
		if i == keys/2 {
			require.NoError(t, db.Checkpoint(ctx))
		}
	}
	s, all := db.Snapshot(), m.set(0)
	stop, failures := make(chan struct{}), make(chan error, 8)
	var wg sync.WaitGroup
	worker := func(work func(n int) error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := work(n); err != nil {
					failures <- err
					return
				}
			}
		}()
	}
	for w := 1; w <= 3; w++ {
		worker(func(n int) error {
			k := fmt.Appendf(nil, "%04d", (n*7+w)%(keys+100))
			var err error
			switch n % 4 {
			case 0:
				_, err = db.Delete(ctx, k)
			case 1:
				_, err = db.SetUntil(ctx, k, stamp(w, n, n%300), now().Add(10))
				clock.Add(1)
			default:
				_, err = db.Set(ctx, k, stamp(w, n, n%300))
			}
			return err
		})
	}
	worker(func(int) error { return db.Checkpoint(ctx) })
	worker(func(int) error { // scans of what is being written
		now, last := db.Snapshot(), []byte(nil)
		for k, v := range now.Scan(nil, nil) {
			if _, _, ok := readStamp(v); !ok || last != nil && bytes.Compare(k, last) <= 0 {
				return fmt.Errorf("%q after %q: a stamp %v", k, last, ok)
			}
			last = append(last[:0], k...)
		}
		return now.Err()
	})
	for range 15 {
		requireRange(t, s, all, nil, nil)
		i := 0
		for k := range s.Scan(nil, nil) { // slowly
			require.Equal(t, all[i].Key, k)
			if i++; i%20 == 0 {
				runtime.Gosched()
				if _, ok, err := s.Get(k); err != nil || !ok {
					require.Fail(t, "get", "%v, %v", ok, err)
				}
			}
		}
	}
	close(stop)
	wg.Wait()
	close(failures)
	require.NoError(t, errors.Join(slices.Collect(received(failures))...))
	require.Positive(t, db.Stats().Checkpoints)
}

func received[T any](c <-chan T) iter.Seq[T] {
	return func(yield func(T) bool) {
		for v := range c {
			if !yield(v) {
				return
			}
		}
	}
}
