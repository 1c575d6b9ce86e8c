package mmapiotest_test

import (
	"io/fs"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// inject opens a new directory through a new injector.
func inject(t *testing.T, faults ...mmapiotest.Fault) (*mmapiotest.Injector, mmapio.Dir) {
	t.Helper()
	in := mmapiotest.NewInjector(mmapio.OpenDir, faults...)
	d, err := in.OpenDir(t.TempDir(), false)
	require.NoError(t, err)
	return in, d
}

func isSync(op mmapiotest.Op) bool { return op.Kind == mmapiotest.Sync }

// The mutating calls fail one after the other, whatever they are, and a failed call has no effect.
func TestInjectorFailsTheNthMutatingCall(t *testing.T) {
	steps := []struct {
		kind string
		call func(d mmapio.Dir, f mmapio.File) error
	}{
		{"write", func(_ mmapio.Dir, f mmapio.File) error { _, err := f.WriteAt([]byte("x"), 0); return err }},
		{"flush", func(_ mmapio.Dir, f mmapio.File) error { return f.Flush(0, 1) }},
		{"sync", func(_ mmapio.Dir, f mmapio.File) error { return f.Sync() }},
		{"rename", func(d mmapio.Dir, _ mmapio.File) error { return d.Rename("a", "b") }},
		{"sync directory", func(d mmapio.Dir, _ mmapio.File) error { return d.Sync() }},
		{"remove", func(d mmapio.Dir, _ mmapio.File) error { return d.Remove("a") }},
		{"create", func(d mmapio.Dir, _ mmapio.File) error { _, err := d.Create("c"); return err }},
	}
	for nth, failing := range steps {
		in, d := inject(t)
		f := put(t, d, "a", nil)
		put(t, d, "b", nil)
		before := in.Calls()
		in.Add(mmapiotest.Fault{Nth: nth + 1, Err: syscall.EIO})
		for i, step := range steps {
			_, _ = f.Size() // reading calls do not count
			_, _ = d.Names()
			err := step.call(d, f)
			if i == nth {
				require.ErrorIs(t, err, syscall.EIO, step.kind)
				var where *fs.PathError
				require.ErrorAs(t, err, &where)
				require.Equal(t, failing.kind, where.Op)
			} else if step.kind == "remove" && failing.kind != "rename" {
				require.ErrorIs(t, err, fs.ErrNotExist, "the rename was real")
			} else {
				require.NoError(t, err, step.kind)
			}
		}
		assert.Equal(t, before+len(steps), in.Calls())
		assert.Equal(t, 1, in.Hits())
		size, err := f.Size()
		require.NoError(t, err)
		assert.Equal(t, failing.kind != "write", size == 1, "a failed write writes nothing")
	}
}

func TestInjectorForGood(t *testing.T) {
	in, d := inject(t, mmapiotest.Fault{Match: isSync, Nth: 2, ForGood: true, Err: syscall.ENOSPC})
	f := put(t, d, "a", []byte("x"))
	require.NoError(t, f.Sync())
	for range 3 {
		require.ErrorIs(t, f.Sync(), syscall.ENOSPC)
	}
	_, err := f.WriteAt([]byte("y"), 0)
	require.NoError(t, err, "only what matches")
	assert.Equal(t, 3, in.Hits())
	in.Clear()
	require.NoError(t, f.Sync())
}

func TestInjectorShortWrite(t *testing.T) {
	in, d := inject(t, mmapiotest.Fault{Match: func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.WriteAt }, Err: syscall.EIO, Short: true})
	f, err := d.Create("b")
	require.NoError(t, err)
	n, err := f.WriteAt([]byte("abcdef"), 1)
	require.ErrorIs(t, err, syscall.EIO)
	assert.Equal(t, 3, n)
	assert.Equal(t, 1, in.Hits())
	buf := make([]byte, 10)
	n, _ = f.ReadAt(buf, 0)
	assert.Equal(t, "\x00abc", string(buf[:n]))
}

// A call can fail and have had its effect.
func TestInjectorAfter(t *testing.T) {
	in, d := inject(t)
	f := put(t, d, "a", []byte("x"))
	fail := func(kind mmapiotest.Kind, call func() error) {
		t.Helper()
		in.Add(mmapiotest.Fault{Match: func(op mmapiotest.Op) bool { return op.Kind == kind }, Err: syscall.EIO, After: true})
		require.ErrorIs(t, call(), syscall.EIO, kind)
		in.Clear()
	}
	fail(mmapiotest.WriteAt, func() error {
		n, err := f.WriteAt([]byte("abc"), 0)
		assert.Equal(t, 3, n)
		return err
	})
	size, err := f.Size()
	require.NoError(t, err)
	assert.EqualValues(t, 3, size)
	fail(mmapiotest.Rename, func() error { return d.Rename("a", "b") })
	names, err := d.Names()
	require.NoError(t, err)
	assert.Equal(t, []string{"b"}, names)
	fail(mmapiotest.CloseFile, f.Close)
	require.ErrorIs(t, f.Close(), fs.ErrClosed)

	require.NoError(t, d.Lock("LOCK"))
	fail(mmapiotest.CloseDir, d.Close)
	again, err := mmapio.OpenDir(d.Path(), false)
	require.NoError(t, err)
	require.NoError(t, again.Lock("LOCK"), "the lock is let go")
	require.NoError(t, again.Close())

	in.Add(mmapiotest.Fault{Match: func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.OpenDir }, Err: syscall.EIO, After: true})
	_, err = in.OpenDir(filepath.Join(t.TempDir(), "none"), false)
	require.ErrorIs(t, err, fs.ErrNotExist, "what the real call says comes first")
}

// A write that the system cuts short is an error, whatever the system says of it: so callers need not count. Beyond the largest size of
// a file (RLIMIT_FSIZE) a write of several bytes succeeds in part, and then fails.
func TestRealShortWrite(t *testing.T) {
	const limit = 10_000
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	d, err := mmapio.OpenDir(t.TempDir(), false)
	require.NoError(t, err)
	defer d.Close()
	f := put(t, d, "a", nil)
	durable, err := d.Open("a", mmapio.WriteDurable)
	require.NoError(t, err)

	var before syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	limited := before
	limited.Cur = limit
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited))
	var errs []error
	for _, f := range []mmapio.File{f, durable} {
		_, err := f.WriteAt(fill('A', page), limit-page/2)
		errs = append(errs, err, mmapio.WritePieces(f, fill('A', page), limit-page/2))
	}
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before))
	for _, err := range errs {
		require.ErrorIs(t, err, syscall.EFBIG)
	}
	size, err := f.Size()
	require.NoError(t, err)
	require.EqualValues(t, limit, size, "half of it was written")
}

func TestInjectorOtherCalls(t *testing.T) {
	for kind, call := range map[mmapiotest.Kind]func(in *mmapiotest.Injector, d mmapio.Dir, f mmapio.File) error{
		mmapiotest.OpenDir: func(in *mmapiotest.Injector, d mmapio.Dir, _ mmapio.File) error {
			_, err := in.OpenDir(d.Path(), false)
			return err
		},
		mmapiotest.LockDir: func(_ *mmapiotest.Injector, d mmapio.Dir, _ mmapio.File) error { return d.Lock("LOCK") },
		mmapiotest.Open: func(_ *mmapiotest.Injector, d mmapio.Dir, _ mmapio.File) error {
			_, err := d.Open("a", mmapio.Read)
			return err
		},
		mmapiotest.Names: func(_ *mmapiotest.Injector, d mmapio.Dir, _ mmapio.File) error { _, err := d.Names(); return err },
		mmapiotest.ReadAt: func(_ *mmapiotest.Injector, _ mmapio.Dir, f mmapio.File) error {
			_, err := f.ReadAt(make([]byte, 1), 0)
			return err
		},
		mmapiotest.Size:      func(_ *mmapiotest.Injector, _ mmapio.Dir, f mmapio.File) error { _, err := f.Size(); return err },
		mmapiotest.Evict:     func(_ *mmapiotest.Injector, _ mmapio.Dir, f mmapio.File) error { return f.Evict() },
		mmapiotest.CloseFile: func(_ *mmapiotest.Injector, _ mmapio.Dir, f mmapio.File) error { return f.Close() },
		mmapiotest.CloseDir:  func(_ *mmapiotest.Injector, d mmapio.Dir, _ mmapio.File) error { return d.Close() },
	} {
		in, d := inject(t)
		f := put(t, d, "a", []byte("x"))
		in.Add(mmapiotest.Fault{Match: func(op mmapiotest.Op) bool { return op.Kind == kind }, Err: syscall.EIO})
		require.ErrorIs(t, call(in, d, f), syscall.EIO, kind)
		require.NoError(t, call(in, d, f), kind)
	}
}

func TestInjectorBefore(t *testing.T) {
	var seen []mmapiotest.Op
	started, goOn := make(chan bool), make(chan bool)
	_, d := inject(t,
		mmapiotest.Fault{Match: isSync, Before: func(mmapiotest.Op) { close(started); <-goOn }},
		mmapiotest.Fault{ForGood: true, Before: func(op mmapiotest.Op) { seen = append(seen, op) }})
	f := put(t, d, "a", []byte("x"))
	done := make(chan error)
	go func() { done <- f.Sync() }()
	<-started
	_, err := f.WriteAt([]byte("y"), 0) // goes on while the sync waits
	require.NoError(t, err)
	close(goOn)
	require.NoError(t, <-done)
	require.Len(t, seen, 3)
	assert.Equal(t, mmapiotest.Create, seen[0].Kind)
	assert.Equal(t, "mmapiotest_test.put", seen[0].Site.Func)
}

// An injector over a recorder keeps what it fails out of the trace.
func TestInjectorOverRecorder(t *testing.T) {
	r := mmapiotest.NewRecorder()
	in := mmapiotest.NewInjector(r.OpenDir, mmapiotest.Fault{Match: isSync, Err: syscall.EIO})
	d, err := in.OpenDir(t.TempDir(), false)
	require.NoError(t, err)
	f := put(t, d, "a", []byte("x"))
	require.ErrorIs(t, f.Sync(), syscall.EIO)
	require.NoError(t, f.Sync())
	assert.Equal(t, []mmapiotest.Kind{mmapiotest.OpenDir, mmapiotest.Create, mmapiotest.WriteAt, mmapiotest.Sync}, kinds(r.Trace()))
	assert.Equal(t, "mmapiotest_test.put", r.Trace()[2].Site.Func)
	r.Kill()
	require.ErrorIs(t, f.Sync(), mmapiotest.ErrKilled)
}
