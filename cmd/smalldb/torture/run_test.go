package torture_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/cmd/smalldb/torture"
	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

func TestMain(m *testing.M) {
	if lie := os.Getenv(torture.ChildVariable); lie != "" {
		if err := torture.Child(os.Stdin, os.Stdout, lies[lie]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// lies are stores of the process that is killed. But for the first each breaks a promise.
var lies = map[string]torture.OpenFunc{
	"none":                  torture.Engine,
	"loses a write":         lying(func(l *liar) { l.lose = true }),
	"serves before durable": lying(func(l *liar) { l.early = true }),
	"serves a wrong value":  lying(func(l *liar) { l.wrong = true }),
	"does not delete":       lying(func(l *liar) { l.resurrect = true }),
	"does not say no":       lying(func(l *liar) { l.never = true }),
	"goes on without a log": lying(func(l *liar) { l.deaf = true }),
	"disk fails": func(opts engine.Options) (torture.Store, error) { // which is no lie
		toTheLog := func(op mmapiotest.Op) bool { return op.Durable }
		worn := mmapiotest.NewInjector(mmapio.OpenDir, mmapiotest.Fault{Match: toTheLog, Nth: 20, ForGood: true, Err: syscall.EIO})
		opts.OpenDir = worn.OpenDir
		return torture.Engine(opts)
	},
	"falls over": func(opts engine.Options) (torture.Store, error) {
		time.AfterFunc(time.Millisecond, func() { panic("a bug") })
		return torture.Engine(opts)
	},
}

// lateLies are stores of the process that judges.
var lateLies = map[string]torture.OpenFunc{
	"does not sync": func(opts engine.Options) (torture.Store, error) {
		opts.Sync = engine.SyncNone
		return torture.Engine(opts)
	},
	"serves half a batch":   lying(func(l *liar) { l.half = true }),
	"hides a key":           lying(func(l *liar) { l.hide = true }),
	"ignores damage":        lying(func(l *liar) { l.ignore = true }),
	"repairs what was well": lying(func(l *liar) { l.repairs = true }),
	"does not open": func(engine.Options) (torture.Store, error) {
		return nil, fmt.Errorf("x: %w", engine.ErrCorrupt)
	},
}

// liar is a database that lies in one way, now and then.
type liar struct {
	torture.Store
	calls                                                                   atomic.Int64
	lose, early, wrong, never, resurrect, deaf, hide, half, ignore, repairs bool

	inFlight atomic.Pointer[engine.Entry] // with early: what is served
}

func lying(how func(*liar)) torture.OpenFunc {
	return func(opts engine.Options) (torture.Store, error) {
		s, err := torture.Engine(opts)
		if err != nil {
			return nil, err
		}
		l := &liar{Store: s}
		how(l)
		return l, nil
	}
}

// now reports whether this call lies.
func (l *liar) now() bool { return l.calls.Add(1)%16 == 0 }

func (l *liar) Set(ctx context.Context, key, value []byte) (engine.Version, error) {
	switch {
	case l.lose && l.now():
		v := l.Version()
		v.Seq++
		return v, nil
	case l.early && l.now():
		v := l.Version()
		l.inFlight.Store(&engine.Entry{Key: bytes.Clone(key), Value: bytes.Clone(value), Version: engine.Version{Epoch: v.Epoch, Seq: v.Seq + 1}})
		<-ctx.Done() // it is never durable
		return engine.Version{}, ctx.Err()
	}
	v, err := l.Store.Set(ctx, key, value)
	if l.deaf && errors.Is(err, engine.ErrPoisoned) {
		v = l.Version()
		v.Seq++
		return v, nil
	}
	return v, err
}

func (l *liar) Delete(ctx context.Context, key []byte) (engine.Version, error) {
	if l.resurrect {
		return l.Store.Apply(ctx, setOf("another", "value")) // takes a sequence, as the delete would
	}
	return l.Store.Delete(ctx, key)
}

func setOf(key, value string) *engine.Batch {
	var b engine.Batch
	b.Set([]byte(key), []byte(value))
	return &b
}

func (l *liar) Apply(ctx context.Context, b *engine.Batch) (engine.Version, error) {
	v, err := l.Store.Apply(ctx, b)
	if l.never && err != nil {
		v = l.Version()
		v.Seq += uint64(b.Len())
		return v, nil
	}
	return v, err
}

func (l *liar) Entry(key []byte) (engine.Entry, bool, error) {
	if e := l.inFlight.Load(); e != nil && bytes.Equal(e.Key, key) {
		return *e, true, nil
	}
	if l.hide && string(key) == hiddenKey {
		return engine.Entry{}, false, nil
	}
	e, ok, err := l.Store.Entry(key)
	if l.ignore && err != nil {
		return engine.Entry{}, false, nil
	}
	if l.wrong && ok && l.now() {
		e.Value[len(e.Value)-1] ^= 1
	}
	return e, ok, err
}

// hiddenKey is set by a third of all writes.
const hiddenKey = "marker-00"

func (l *liar) Scan(each func(engine.Entry)) error {
	last := l.lastOfBatch()
	err := l.Store.Scan(func(e engine.Entry) {
		if l.hide && string(e.Key) == hiddenKey || l.half && e.Version.Seq == last {
			return
		}
		each(e)
	})
	if l.ignore {
		return nil
	}
	return err
}

// lastOfBatch is the sequence of the last operation that shows, if it is one of a batch and not its first; else 0.
func (l *liar) lastOfBatch() (last uint64) {
	index := 0
	_ = l.Store.Scan(func(e engine.Entry) {
		if r, err := torture.Parse(e.Value); err == nil && e.Version.Seq > last {
			last, index = e.Version.Seq, r.Index
		}
	})
	if index == 0 {
		return 0
	}
	return last
}

func (l *liar) Repaired() []string {
	if l.repairs {
		return []string{"version"}
	}
	return l.Store.Repaired()
}

// options are those of a run whose child lies so.
func options(t *testing.T, lie string) torture.Options {
	return torture.Options{
		Dir: filepath.Join(t.TempDir(), "d"), Seed: enginetest.Seed(t, 1), Clients: 4, ValueBytes: 2048, Open: torture.Engine,
		Child: func() (*exec.Cmd, error) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), torture.ChildVariable+"="+lie)
			return cmd, nil
		},
	}
}

// TestHolds: what does not lie holds, and leaves nothing behind.
func TestHolds(t *testing.T) {
	opts := options(t, "none")
	opts.For = time.Duration(enginetest.Times(1, 60)) * time.Second
	var shown int64
	opts.Progress = func(checked int64, _ time.Duration) { shown = checked }
	r, err := torture.Run(t.Context(), opts)
	require.NoError(t, err)
	t.Logf("%+v", r)
	require.True(t, r.Held, r.Violation)
	assert.NoDirExists(t, opts.Dir)
	assert.Equal(t, r.Checked, shown)
	for what, n := range map[string]int64{"kills": r.Kills, "power cuts": r.PowerCuts, "copies": r.Copies, "acknowledged": r.Acknowledged,
		"unknown": r.Unknown, "reads": r.Reads, "cycles": r.Cycles - 3, "median": int64(r.Median)} {
		assert.Positive(t, n, what)
	}
	assert.Equal(t, r.Copies, r.CopiesExact+r.CopiesRepaired+r.CopiesPartly+r.CopiesRefused)
}

// inMemory is a directory where many can be made and lost quickly.
func inMemory(t *testing.T) string {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err != nil || !info.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(shm, "torture")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestLies: each lie is found, and the evidence is kept. One after the other: a process that begins has for a moment the locks of this one.
func TestLies(t *testing.T) {
	wants := map[string]string{
		"loses a write": "operation", "serves before durable": "operation", "serves a wrong value": "never written",
		"does not delete": "never written|nobody has written", "does not say no": "cannot hold|log had failed|operation", "goes on without a log": "log had failed|operation",
		"falls over": "a bug", "does not sync": "operation|no byte was damaged", "hides a key": "marker-00|lost", "ignores damage": "damaged copy",
		"repairs what was well": "no damage", "serves half a batch": "half a batch|lost|a get as", "does not open": "no byte was damaged",
	}
	try := func(name string, opts torture.Options) {
		t.Run(name, func(t *testing.T) {
			opts.For, opts.Dir = time.Minute, filepath.Join(inMemory(t), "d")
			r, err := torture.Run(t.Context(), opts)
			require.NoError(t, err)
			require.False(t, r.Held)
			assert.Regexp(t, wants[name], r.Violation)
			said, err := os.ReadFile(filepath.Join(r.Evidence, "violation.json"))
			require.NoError(t, err)
			assert.True(t, json.Valid(said))
			assert.Contains(t, string(said), `"Dir": "`+r.Evidence)
			assert.FileExists(t, filepath.Join(r.Evidence, "events.ndjson"))
			t.Logf("after %d cycles and %d directories: %s", r.Cycles, r.Checked, r.Violation)
		})
	}
	for name := range lies {
		if name != "none" && name != "disk fails" {
			try(name, options(t, name))
		}
	}
	for name, open := range lateLies {
		opts := options(t, "none")
		opts.Open = open
		try(name, opts)
	}
}

// TestDiskFails: a disk that fails is no broken promise, and no proof of anything.
func TestDiskFails(t *testing.T) {
	opts := options(t, "disk fails")
	opts.For, opts.Dir = time.Minute, filepath.Join(inMemory(t), "d")
	r, err := torture.Run(t.Context(), opts)
	require.ErrorContains(t, err, "has failed: outcome unknown: ")
	assert.False(t, r.Held)
	assert.Empty(t, r.Violation)
}
