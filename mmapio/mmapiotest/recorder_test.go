package mmapiotest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

func TestRecorderRecordsEveryCall(t *testing.T) {
	r, d := record(t)
	require.NoError(t, d.Lock("LOCK"))
	f := put(t, d, "a", []byte("hello"))
	n, err := f.Size()
	require.NoError(t, err)
	assert.EqualValues(t, 5, n)
	buf := make([]byte, 3)
	_, err = f.ReadAt(buf, 2)
	require.NoError(t, err)
	assert.Equal(t, "llo", string(buf))
	require.NoError(t, f.Flush(0, 5))
	require.NoError(t, f.Sync())
	require.NoError(t, f.Evict())
	require.NoError(t, d.Rename("a", "b"))
	require.NoError(t, d.Sync())
	names, err := d.Names()
	require.NoError(t, err)
	assert.Equal(t, []string{"LOCK", "b"}, names)
	require.NoError(t, f.Close())
	_, err = d.Open("a", mmapio.Read)
	require.ErrorIs(t, err, fs.ErrNotExist)
	g, err := d.Open("b", mmapio.WriteDurable)
	require.NoError(t, err)
	assert.Equal(t, "b", g.Name())
	_, err = g.WriteAt([]byte("J"), 0)
	require.NoError(t, err)
	require.NoError(t, d.Remove("b"))
	r.Mark(17)
	require.NoError(t, d.Close())

	tr := r.Trace()
	assert.Equal(t, []mmapiotest.Kind{
		mmapiotest.OpenDir, mmapiotest.LockDir, mmapiotest.Create, mmapiotest.WriteAt, mmapiotest.Size, mmapiotest.ReadAt,
		mmapiotest.Flush, mmapiotest.Sync, mmapiotest.Evict, mmapiotest.Rename, mmapiotest.SyncDir, mmapiotest.Names,
		mmapiotest.CloseFile, mmapiotest.Open, mmapiotest.Open, mmapiotest.WriteAt, mmapiotest.Remove, mmapiotest.Mark, mmapiotest.CloseDir,
	}, kinds(tr))
	for i, op := range tr {
		switch op.Kind {
		case mmapiotest.Create, mmapiotest.WriteAt, mmapiotest.Size, mmapiotest.ReadAt, mmapiotest.Flush, mmapiotest.Sync,
			mmapiotest.Evict, mmapiotest.Rename, mmapiotest.CloseFile, mmapiotest.Remove:
			assert.Equal(t, 1, op.Inode, "one file under two names: %d %s", i, op)
		}
		if op.Kind != mmapiotest.Mark {
			assert.True(t, strings.HasPrefix(op.Site.Func, "mmapiotest_test."), "%d %s", i, op)
			assert.True(t, strings.HasPrefix(op.Site.Line, "mmapiotest/"), "%d %s", i, op)
		}
	}
	assert.Equal(t, []byte("hello"), tr[3].Data)
	assert.False(t, tr[3].Durable)
	assert.ErrorIs(t, tr[13].Err, fs.ErrNotExist)
	assert.True(t, tr[15].Durable)
	assert.Equal(t, 17, tr[17].Value)
	assert.Equal(t, "write b [0,+1) durably in "+tr[15].Site.String(), tr[15].String())
}

func TestRecorderCopiesWhatIsWritten(t *testing.T) {
	r, d := record(t)
	data := []byte("before")
	f := put(t, d, "a", data)
	copy(data, "after!")
	require.NoError(t, f.Close())
	tr := r.Trace()
	assert.Equal(t, "before", string(tr.Crash(atEnd(tr), mmapiotest.Everything, 0)["a"]))
}

func TestRecorderBeginsWithTheFilesThatAreThere(t *testing.T) {
	path := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(path, "a"), []byte("old"), 0o600))
	r := mmapiotest.NewRecorder()
	d, err := r.OpenDir(path, true)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(path, "b"), []byte("behind its back"), 0o600))
	require.NoError(t, d.Rename("b", "c"))
	require.NoError(t, os.WriteFile(filepath.Join(path, "b"), []byte("again"), 0o600))
	_, err = d.Open("b", mmapio.Read)
	require.NoError(t, err)
	tr := r.Trace()
	assert.Equal(t, mmapiotest.Image{"a": []byte("old")}, tr.Crash(mmapiotest.Cut{Op: 2}, mmapiotest.SyncedOnly, 0))
	assert.Equal(t, mmapiotest.Image{"a": []byte("old"), "b": []byte("again"), "c": []byte("behind its back")},
		tr.Crash(atEnd(tr), mmapiotest.Everything, 0))
}

func TestRecorderIsForOneDirectory(t *testing.T) {
	r, d := record(t)
	_, err := r.OpenDir(t.TempDir(), false)
	require.ErrorContains(t, err, "use another")
	_, err = r.OpenDir(d.Path()+"/", false)
	require.NoError(t, err)
	_, err = mmapiotest.NewRecorder().OpenDir(filepath.Join(d.Path(), "none"), false)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestRecorderLeavesOutTheLockFile(t *testing.T) {
	r, d := record(t)
	require.NoError(t, d.Lock("LOCK"))
	r.Kill()
	again := mmapiotest.NewRecorder() // to which the lock file is there from the beginning
	e, err := again.OpenDir(d.Path(), false)
	require.NoError(t, err)
	require.NoError(t, e.Lock("LOCK"))
	assert.Empty(t, again.Trace().Crash(mmapiotest.Cut{}, mmapiotest.Everything, 0))
	tr := again.Trace()
	assert.Empty(t, tr.Crash(atEnd(tr), mmapiotest.Everything, 0))
}

// What each goroutine wrote is in the trace in the order in which that goroutine wrote it.
func TestRecorderIsConcurrent(t *testing.T) {
	r, d := record(t)
	const writers, writes = 8, 50
	var wg sync.WaitGroup
	for w := range writers {
		f, err := d.Create(fmt.Sprint(w))
		require.NoError(t, err)
		wg.Go(func() {
			for i := range writes {
				r.Mark([2]int{w, i})
				_, err := f.WriteAt([]byte{byte(i)}, int64(i))
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	next := make(map[string]int64)
	for _, op := range r.Trace() {
		if op.Kind == mmapiotest.WriteAt {
			assert.Equal(t, next[op.Name], op.Off)
			next[op.Name]++
		}
	}
	assert.Len(t, next, writers)
	tr := r.Trace()
	assert.Equal(t, onDisk(t, d.Path()), tr.Crash(atEnd(tr), mmapiotest.Everything, 0))
}

func TestKill(t *testing.T) {
	r, d := record(t)
	require.NoError(t, d.Lock("LOCK"))
	f := put(t, d, "a", fill('A', page))
	require.NoError(t, d.Sync())
	m, err := mmapio.Map(f, page)
	require.NoError(t, err)
	r.Kill()

	_, err = f.WriteAt([]byte("x"), 0)
	require.ErrorIs(t, err, mmapiotest.ErrKilled)
	_, err = f.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, mmapiotest.ErrKilled)
	_, err = f.Size()
	require.ErrorIs(t, err, mmapiotest.ErrKilled)
	for _, err := range []error{f.Sync(), f.Flush(0, 1), f.Evict(), d.Sync(), d.Rename("a", "b"), d.Remove("a"), d.Lock("LOCK"), d.Close(), f.Close()} {
		require.ErrorIs(t, err, mmapiotest.ErrKilled)
	}
	_, err = d.Create("b")
	require.ErrorIs(t, err, mmapiotest.ErrKilled)
	_, err = d.Open("a", mmapio.Read)
	require.ErrorIs(t, err, mmapiotest.ErrKilled)
	_, err = d.Names()
	require.ErrorIs(t, err, mmapiotest.ErrKilled)
	require.Equal(t, byte('A'), m.Bytes()[0], "a mapping outlives the descriptor")
	tr := r.Trace()
	require.Equal(t, mmapiotest.Kill, tr[len(tr)-1].Kind, "the dead leave no trace")

	// The next process gets the lock and finds the page cache as it was, no more durable.
	d, err = r.OpenDir(d.Path(), false)
	require.NoError(t, err)
	require.NoError(t, d.Lock("LOCK"))
	f, err = d.Open("a", mmapio.Write)
	require.NoError(t, err)
	tr = r.Trace()
	require.Equal(t, 1, tr[len(tr)-1].Inode)
	assert.Equal(t, "a=", sketch(tr.Crash(atEnd(tr), mmapiotest.SyncedOnly, 0), page))
	assert.Equal(t, "a=A", sketch(tr.Crash(atEnd(tr), mmapiotest.Everything, 0), page))
	require.NoError(t, f.Sync())
	tr = r.Trace()
	assert.Equal(t, "a=A", sketch(tr.Crash(atEnd(tr), mmapiotest.SyncedOnly, 0), page))
}

func TestKillAtNextWrite(t *testing.T) {
	r, d := record(t)
	f := put(t, d, "a", fill('A', page))
	require.NoError(t, f.Sync())
	require.NoError(t, d.Sync())
	g, err := d.Open("a", mmapio.WriteDurable)
	require.NoError(t, err)
	r.KillAtNextWrite(func(op mmapiotest.Op) bool { return op.Durable && op.Name == "a" })
	_, err = f.WriteAt(fill('B', page), page)
	require.NoError(t, err, "this one is not meant")
	_, err = g.WriteAt(fill('C', page), 0)
	require.ErrorIs(t, err, mmapiotest.ErrKilled)
	require.ErrorIs(t, g.Sync(), mmapiotest.ErrKilled)

	tr := r.Trace()
	assert.Equal(t, "a=A", sketch(tr.Crash(atEnd(tr), mmapiotest.SyncedOnly, 0), page))
	assert.Equal(t, "a=CB", sketch(onDisk(t, d.Path()), page))
	d, err = r.OpenDir(d.Path(), false)
	require.NoError(t, err)
	f, err = d.Open("a", mmapio.Write)
	require.NoError(t, err)
	_, err = f.WriteAt(fill('D', page), 2*page)
	require.NoError(t, err, "it kills once")
	require.NoError(t, f.Sync())
	tr = r.Trace()
	assert.Equal(t, "a=CBD", sketch(tr.Crash(atEnd(tr), mmapiotest.SyncedOnly, 0), page))
}

// prepare stands for code under test that calls mmapio on its way to a file.
func prepare(d mmapio.Dir, name string) error {
	if err := mmapio.Prepare(d, name, 2*page, nil); err != nil {
		return err
	}
	f, err := d.Open(name, mmapio.Write)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncTwice syncs the same directory at two lines.
func syncTwice(d mmapio.Dir) error {
	if err := d.Sync(); err != nil {
		return err
	}
	return d.Sync()
}

func openDurably(d mmapio.Dir, name string) (mmapio.File, error) {
	return d.Open(name, mmapio.WriteDurable)
}

func TestSyncSites(t *testing.T) {
	r, d := record(t)
	require.NoError(t, prepare(d, "a"))
	require.NoError(t, prepare(d, "b"))
	require.NoError(t, syncTwice(d))
	f, err := openDurably(d, "a")
	require.NoError(t, err)
	_, err = f.WriteAt(fill('A', page), 0)
	require.NoError(t, err)
	tr := r.Trace()
	i := slices.IndexFunc(tr, func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.WriteAt })
	assert.Equal(t, "mmapio.WritePieces < mmapiotest_test.prepare", tr[i].Site.Func, "who called for whom")
	const (
		file    = "file sync in mmapiotest_test.prepare"
		first   = "directory sync in mmapiotest_test.syncTwice, number 1"
		second  = "directory sync in mmapiotest_test.syncTwice, number 2"
		durable = "durable writes opened in mmapiotest_test.openDurably"
	)
	require.Equal(t, []string{first, second, durable, file}, tr.SyncSites())
	all := sketch(tr.Crash(atEnd(tr), mmapiotest.SyncedOnly, 0), page)
	assert.Equal(t, "a=A. b=..", all)
	for site, want := range map[string]string{
		file:    "a=A b=", // a durable write makes as much of the size durable as it needs
		first:   all,
		second:  all,
		durable: "a=.. b=..",
		"none":  all,
	} {
		less := tr.WithoutSync(site)
		require.Len(t, less, len(tr))
		assert.Equal(t, want, sketch(less.Crash(atEnd(tr), mmapiotest.SyncedOnly, 0), page), site)
		assert.NotContains(t, less.SyncSites(), site)
	}
	none := tr.WithoutSync(first).WithoutSync("directory sync in mmapiotest_test.syncTwice")
	assert.Empty(t, none.Crash(atEnd(tr), mmapiotest.SyncedOnly, 0))
	assert.Equal(t, "a=A. b=..", sketch(tr.Crash(atEnd(tr), mmapiotest.SyncedOnly, 0), page), "the trace itself is as it was")
}

func TestRecorderOverInjector(t *testing.T) {
	disk := errors.New("disk")
	in := mmapiotest.NewInjector(mmapio.OpenDir, mmapiotest.Fault{
		Match: func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.WriteAt }, Nth: 2, Err: disk, Short: true,
	})
	r := mmapiotest.NewRecorderOver(in.OpenDir)
	d, err := r.OpenDir(t.TempDir(), false)
	require.NoError(t, err)
	f := put(t, d, "a", fill('A', page))
	require.NoError(t, d.Sync())
	n, err := f.WriteAt(fill('B', 2*page), page)
	require.ErrorIs(t, err, disk)
	require.Equal(t, page, n)
	require.NoError(t, f.Sync())

	tr := r.Trace()
	assert.Equal(t, "a=A", sketch(tr.Crash(atEnd(tr), mmapiotest.SyncedOnly, 0), page), "a failed write stays in doubt")
	assert.Equal(t, "a=ABB", sketch(tr.Crash(atEnd(tr), mmapiotest.Everything, 0), page))
	around, err := mmapio.OpenAround(d, "a")
	require.NoError(t, err)
	_, err = around.ReadAt(make([]byte, 2*page), 0)
	require.NoError(t, err)
	tr = r.Trace()
	assert.Equal(t, "a=AB", sketch(tr.Crash(atEnd(tr), mmapiotest.SyncedOnly, 0), page), "the disk has been asked")
}
