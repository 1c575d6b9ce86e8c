package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

var errDisk = errors.New("input/output error")

// backup makes one, and checks that it is a whole checkpoint.
func backup(t testing.TB, db *engine.DB) (engine.Version, []byte) {
	t.Helper()
	var b bytes.Buffer
	v, err := db.Backup(ctx, &b)
	require.NoError(t, err)
	require.NoError(t, ckpt.Verify(bytes.NewReader(b.Bytes()), int64(b.Len()), "backup"))
	return v, b.Bytes()
}

// target is where to restore: a directory that does not exist yet.
func target(t testing.TB) engine.Options {
	return engine.Options{Dir: filepath.Join(inMemory(t), "restored"), LogFileBytes: 64 << 10, DisableBackgroundCheckpoint: true, Sync: engine.SyncNone}
}

func restore(t testing.TB, data []byte, now ...func() time.Time) engine.Options {
	t.Helper()
	opts := target(t)
	if len(now) > 0 {
		opts.Now = now[0]
	}
	require.NoError(t, engine.Restore(opts, bytes.NewReader(data)))
	return opts
}

// requireNoDatabase checks that a directory holds none.
func requireNoDatabase(t testing.TB, opts engine.Options, what string) {
	t.Helper()
	opts.Create = false
	db, err := engine.Open(opts)
	if err == nil {
		n := db.Stats().Keys
		require.NoError(t, db.Close())
		require.Fail(t, "there is a database", "%s: of %d keys", what, n)
	}
	require.ErrorIs(t, err, engine.ErrNoDatabase, what)
}

// Whatever a state is spread over, its backup restored is the same: keys, values, deadlines and versions. It goes on from there.
func TestBackupAndRestore(t *testing.T) {
	for _, shape := range shapes {
		t.Run("layers="+shape, func(t *testing.T) {
			keys := oddKeys()
			l := newLayered(t, shape, func(l *layered) { l.writeSome(keys) })
			all := l.model.set(l.now.Load())
			v, data := backup(t, l.db)
			require.Equal(t, l.db.Version(), v)

			opts := restore(t, data, l.opts.Now)
			db := enginetest.Open(t, opts)
			requireRange(t, db.Snapshot(), all, nil, nil)
			requireGets(t, db.Snapshot(), all, keys)
			require.EqualValues(t, len(all), db.Stats().Keys)
			require.True(t, db.Stats().Recovery.Clean)
			require.False(t, db.Stats().Recovery.Created)
			require.Equal(t, v.Seq, db.Version().Seq)
			require.Greater(t, db.Version().Epoch, v.Epoch)

			l.now.Add(int64(2 * time.Minute))
			requireRange(t, db.Snapshot(), l.model.set(l.now.Load()), nil, nil)
			at := set(t, db, "after", "restore")
			require.Equal(t, v.Seq+1, at.Seq)
			require.Greater(t, at.Epoch, v.Epoch)
			require.NoError(t, db.Checkpoint(ctx))
			requireValue(t, again(t, db, opts), "after", "restore")
		})
	}
}

// A backup of a backup of a backup, written to in between and not, and of nothing.
func TestBackupOfARestoredDatabase(t *testing.T) {
	db := enginetest.Open(t, quiet(t))
	m := entries{}
	var last engine.Version
	for generation := range 5 {
		v, data := backup(t, db)
		require.Equal(t, db.Version(), v)
		opts := restore(t, data)
		db = enginetest.Open(t, opts)
		require.Greater(t, db.Version().Epoch, last.Epoch)
		last = db.Version()
		requireRange(t, db.Snapshot(), m.set(0), nil, nil)
		if generation%2 == 1 {
			k := fmt.Sprint(generation)
			m[k] = engine.Entry{Key: []byte(k), Value: []byte("v"), Version: set(t, db, k, "v")}
		}
		if generation == 3 {
			require.NoError(t, db.Checkpoint(ctx))
		}
	}
}

// A backup made while writers and checkpoints go on is the state at its version, exactly.
func TestBackupBesideWriters(t *testing.T) {
	opts := quiet(t)
	opts.Sync = engine.SyncNone
	db := enginetest.Open(t, opts)
	type written struct {
		key, value string
		del        bool
	}
	var mu sync.Mutex
	history := map[uint64]written{}
	var writers sync.WaitGroup
	var over atomic.Bool
	for w := range 4 {
		writers.Add(1)
		go func() {
			defer writers.Done()
			for n := 0; !over.Load(); n++ {
				op := written{fmt.Sprintf("%03d", (n*13+w)%150), fmt.Sprintf("%d of %d", n, w), n%6 == 0}
				var v engine.Version
				var err error
				if op.del {
					v, err = db.Delete(ctx, []byte(op.key))
				} else {
					v, err = db.Set(ctx, []byte(op.key), []byte(op.value))
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				history[v.Seq] = op
				mu.Unlock()
			}
		}()
	}
	writers.Add(1)
	go func() {
		defer writers.Done()
		for !over.Load() {
			if err := db.Checkpoint(ctx); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	type made struct {
		at   engine.Version
		data []byte
	}
	var backups []made
	for len(backups) < 12 {
		before := db.Snapshot().Version()
		v, data := backup(t, db)
		require.GreaterOrEqual(t, v.Seq, before.Seq, "what was acknowledged before is in it")
		if n := len(backups); n == 0 || v.Seq > backups[n-1].at.Seq {
			backups = append(backups, made{v, data})
		}
	}
	over.Store(true)
	writers.Wait()

	m, seq := entries{}, uint64(0)
	for _, b := range backups {
		for seq < b.at.Seq {
			seq++
			op, ok := history[seq]
			require.True(t, ok, "operation %d", seq)
			if op.del {
				delete(m, op.key)
			} else {
				m[op.key] = engine.Entry{Key: []byte(op.key), Value: []byte(op.value), Version: engine.Version{Epoch: b.at.Epoch, Seq: seq}}
			}
		}
		restored := enginetest.Open(t, restore(t, b.data))
		requireRange(t, restored.Snapshot(), m.set(0), nil, nil)
		require.NoError(t, restored.Close())
	}
}

// limitedWriter takes so many bytes, and then fails, or takes half and says nothing.
type limitedWriter struct {
	left   int
	silent bool
	most   int // longest call
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	w.most = max(w.most, len(p))
	if w.left -= len(p); w.left >= 0 {
		return len(p), nil
	}
	if w.silent {
		return len(p) / 2, nil
	}
	return 0, errDisk
}

// A writer that fails is the end of that backup and of nothing else.
func TestBackupToFailingWriter(t *testing.T) {
	l := newLayered(t, "bfd", func(l *layered) {
		for i := range 10 {
			l.set(fmt.Sprint(i), string(bytesOf(fmt.Sprint(i), 90_000)), time.Time{})
		}
	})
	_, data := backup(t, l.db)
	for _, left := range []int{0, 1, 300_000, len(data) - 1} {
		_, err := l.db.Backup(ctx, &limitedWriter{left: left})
		require.ErrorIs(t, err, errDisk, "%d bytes", left)
		_, err = l.db.Backup(ctx, &limitedWriter{left: left, silent: true})
		require.ErrorIs(t, err, io.ErrShortWrite, "%d bytes", left)
	}
	w := &limitedWriter{left: len(data)}
	v, err := l.db.Backup(ctx, w)
	require.NoError(t, err)
	require.Equal(t, l.db.Version(), v)
	require.LessOrEqual(t, w.most, 256<<10)
	require.NoError(t, l.db.Stats().Damage)
	require.PanicsWithValue(t, "writer", func() {
		_, _ = l.db.Backup(ctx, writerFunc(func([]byte) (int, error) { panic("writer") }))
	})
	requireWell(t, l)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A backup whose writer takes its time holds up no write, no checkpoint and no other backup.
func TestBackupToSlowWriter(t *testing.T) {
	db := enginetest.Open(t, quiet(t))
	for i := range 20 {
		set(t, db, fmt.Sprint(i), string(bytesOf("value", 40_000)))
	}
	calls := 0
	var data bytes.Buffer
	v, err := db.Backup(ctx, writerFunc(func(p []byte) (int, error) {
		calls++
		assert.False(t, armed(), "the writer runs inside a guard")
		set(t, db, "0", fmt.Sprint("call ", calls))
		_, err := db.Delete(ctx, []byte("7"))
		require.NoError(t, err)
		require.NoError(t, db.Checkpoint(ctx))
		_, err = db.Backup(ctx, io.Discard)
		require.NoError(t, err)
		return data.Write(p)
	}))
	require.NoError(t, err)
	require.Greater(t, calls, 2)
	require.EqualValues(t, 20, v.Seq)
	restored := enginetest.Open(t, restore(t, data.Bytes()))
	for i := range 20 {
		requireValue(t, restored, fmt.Sprint(i), string(bytesOf("value", 40_000)))
	}
}

// A context that ends ends a backup soon: before the next piece is written, and not only after many records.
func TestBackupCancelled(t *testing.T) {
	for _, c := range []struct {
		what       string
		keys, size int
	}{{"few large values", 24, 300_000}, {"many small values", 40_000, 20}} {
		t.Run(c.what, func(t *testing.T) {
			opts := quiet(t)
			opts.Sync, opts.LogFileBytes = engine.SyncNone, 16<<20
			db := enginetest.Open(t, opts)
			var b engine.Batch
			for i := range c.keys {
				b.Set(fmt.Append(nil, i), bytesOf("value", c.size))
			}
			_, err := db.Apply(ctx, &b)
			require.NoError(t, err)
			ended, cancel := context.WithCancel(ctx)
			cancel()
			_, err = db.Backup(ended, io.Discard)
			require.ErrorIs(t, err, context.Canceled)
			require.NotErrorIs(t, err, engine.ErrIndeterminate)

			for _, at := range []int{1, 4} {
				ended, cancel := context.WithCancel(ctx)
				calls := 0
				_, err = db.Backup(ended, writerFunc(func(p []byte) (int, error) {
					if calls++; calls == at {
						cancel()
					}
					return len(p), nil
				}))
				assert.ErrorIs(t, err, context.Canceled, "ended in call %d", at)
				assert.LessOrEqual(t, calls, at+4, "ended in call %d: a segment is on its way", at)
			}
			_, err = db.Backup(ctx, io.Discard)
			require.NoError(t, err)
		})
	}
}

// A backup that waits for its turn can be called off.
func TestBackupCalledOff(t *testing.T) {
	db := enginetest.Open(t, quiet(t))
	ended, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error)
	for range 4 {
		go func() { _, err := db.Set(ctx, []byte("k"), nil); done <- err }()
		go func() { _, err := db.Backup(ended, io.Discard); done <- err }()
	}
	cancel()
	for range 8 {
		if err := <-done; err != nil {
			require.ErrorIs(t, err, context.Canceled)
			require.NotErrorIs(t, err, engine.ErrIndeterminate)
		}
	}
	_, err := db.Backup(ctx, io.Discard)
	require.NoError(t, err)
}

func TestBackupOfClosedDatabase(t *testing.T) {
	db := enginetest.Open(t, quiet(t))
	set(t, db, "k", "v")
	require.NoError(t, db.Close())
	calls := 0
	_, err := db.Backup(ctx, writerFunc(func(p []byte) (int, error) { calls++; return len(p), nil }))
	require.ErrorIs(t, err, engine.ErrClosed)
	require.Zero(t, calls)
}

// A backup that is under way when the database is closed goes on to its end.
func TestBackupOutlivesClose(t *testing.T) {
	db := enginetest.Open(t, quiet(t))
	set(t, db, "k", string(bytesOf("k", 600_000)))
	var data bytes.Buffer
	_, err := db.Backup(ctx, writerFunc(func(p []byte) (int, error) {
		assert.NoError(t, db.Close())
		return data.Write(p)
	}))
	require.NoError(t, err)
	requireValue(t, enginetest.Open(t, restore(t, data.Bytes())), "k", string(bytesOf("k", 600_000)))
}

// After a failure of the log reads go on, and a backup only reads. It holds what was acknowledged.
func TestBackupOfPoisonedDatabase(t *testing.T) {
	for _, short := range []bool{false, true} {
		in := mmapiotest.NewInjector(mmapio.OpenDir)
		opts := quiet(t)
		opts.OpenDir = in.OpenDir
		db := enginetest.Open(t, opts)
		want := shadow{}
		for i := range 10 {
			want[fmt.Sprint(i)] = "v"
			set(t, db, fmt.Sprint(i), "v")
		}
		in.Add(mmapiotest.Fault{Match: toTheLog, Err: errDisk, Short: short, ForGood: true})
		_, err := db.Set(ctx, []byte("lost"), []byte("v"))
		require.ErrorIs(t, err, engine.ErrIndeterminate)
		v, data := backup(t, db)
		require.EqualValues(t, 10, v.Seq)
		restored := enginetest.Open(t, restore(t, data))
		want.check(t, restored, "lost")
		set(t, restored, "more", "v")
	}
}

// After an open nothing has been written: there is no live log yet.
func TestBackupAfterOpen(t *testing.T) {
	for _, closed := range []bool{true, false} {
		opts := quiet(t)
		db := enginetest.Open(t, opts)
		set(t, db, "a", "1")
		require.NoError(t, db.Checkpoint(ctx))
		set(t, db, "b", "2")
		image := files(t, opts.Dir)
		require.NoError(t, db.Close())
		if !closed {
			restoreFiles(t, opts.Dir, image)
		}
		db = enginetest.Open(t, opts)
		before := slices.Sorted(maps.Keys(files(t, opts.Dir)))
		for range 2 {
			v, data := backup(t, db)
			require.Equal(t, db.Version(), v)
			shadow{"a": "1", "b": "2"}.check(t, enginetest.Open(t, restore(t, data)))
		}
		require.Equal(t, before, slices.Sorted(maps.Keys(files(t, opts.Dir))), "a backup writes nothing here")
	}
}

// The restored history shares no version with what the original has written since the backup, not even after it has crashed: else
// a condition (IfVersion) of a client that knows one history would hold in the other.
func TestRestoredVersionsAreNew(t *testing.T) {
	opts := quiet(t)
	db := enginetest.Open(t, opts)
	set(t, db, "k", "before")
	_, data := backup(t, db)

	given := map[engine.Version]string{}
	for crash := range 3 {
		given[set(t, db, "k", "of the original")] = fmt.Sprintf("original after %d crashes", crash)
		image := files(t, opts.Dir)
		require.NoError(t, db.Close())
		restoreFiles(t, opts.Dir, image)
		db = enginetest.Open(t, opts)
	}
	for copied := range 2 { // nor do two copies
		restored := enginetest.Open(t, restore(t, data))
		for range 3 {
			v := set(t, restored, "k", "of a copy")
			other, taken := given[v]
			assert.False(t, taken, "copy %d gives %v again, which was given by: %s", copied, v, other)
			given[v] = fmt.Sprintf("copy %d", copied)
		}
	}
}

// What was due when the backup was made stays due where the wall clock is behind.
func TestRestoreResurrectsNothing(t *testing.T) {
	l := newLayered(t, "d", func(l *layered) {
		l.set("short", "v", time.Unix(0, l.now.Load()).Add(time.Minute))
		l.set("long", "v", time.Unix(0, l.now.Load()).Add(24*time.Hour).UTC())
	})
	started := l.now.Load()
	l.now.Add(int64(time.Hour))
	requireAbsent(t, l.db, "short") // everybody has seen that it is gone
	_, data := backup(t, l.db)
	behind := func() time.Time { return time.Unix(0, started).Add(time.Second) }
	db := enginetest.Open(t, restore(t, data, behind))
	requireValue(t, db, "long", "v")
	requireAbsent(t, db, "short")
	delete(l.model, "short")
	requireRange(t, db.Snapshot(), l.model.set(started), nil, nil)
}

// requireNotRestored checks that Restore refuses an input, leaves no database, and works with a good one right after.
func requireNotRestored(t *testing.T, opts engine.Options, r io.Reader, good []byte, what string) error {
	t.Helper()
	err := engine.Restore(opts, r)
	require.Error(t, err, what)
	requireNoDatabase(t, opts, what)
	if good != nil {
		require.NoError(t, engine.Restore(opts, bytes.NewReader(good)), what)
		db, err := engine.Open(opts)
		require.NoError(t, err, what)
		require.EqualValues(t, 60, db.Stats().Keys, what)
		require.NoError(t, db.Close())
		require.NoError(t, os.RemoveAll(opts.Dir))
	}
	return err
}

// goodBackup is one of 60 keys.
func goodBackup(t *testing.T) []byte {
	l := newLayered(t, "bd", func(l *layered) {
		for i := range 60 {
			var until time.Time
			if i%3 == 0 {
				until = time.Unix(1<<33, 0)
			}
			l.set(fmt.Sprint(i), string(bytesOf(fmt.Sprint(i), 10*i)), until)
		}
	})
	_, data := backup(t, l.db)
	return data
}

// Bytes that are no backup, or not a whole one, are refused as that; nothing is put in place, and a good one can follow.
func TestRestoreRefuses(t *testing.T) {
	good := goodBackup(t)
	opts := target(t)
	refuse := func(what string, data []byte, retry bool) {
		t.Helper()
		var next []byte
		if retry {
			next = good
		}
		require.ErrorIs(t, requireNotRestored(t, opts, bytes.NewReader(data), next, what), engine.ErrNotBackup, what)
	}
	refuse("nothing", nil, true)
	for n, i := 1, 0; n < len(good); n, i = n*4/3+1, i+1 {
		refuse(fmt.Sprintf("first %d bytes", n), good[:n], i%5 == 0)
		refuse(fmt.Sprintf("all but %d bytes", n), good[:len(good)-n], false)
		refuse(fmt.Sprintf("without the first %d bytes", n), good[n:], false)
	}
	for _, garbage := range []int{1, 8, 4096, 300_000} {
		refuse(fmt.Sprintf("%d zeros more", garbage), append(slices.Clone(good), make([]byte, garbage)...), false)
		refuse(fmt.Sprintf("%d bytes more", garbage), append(slices.Clone(good), bytesOf("garbage", garbage)...), false)
	}
	refuse("twice", append(slices.Clone(good), good...), true)
	refuse("random", bytesOf("random", 100_000), true)
	refuse("zeros", make([]byte, len(good)), false)
	for at := 0; at < len(good); at += 211 {
		data := slices.Clone(good)
		data[at] ^= 1 << (at % 8)
		refuse(fmt.Sprintf("bit %d of byte %d flipped", at%8, at), data, false)
	}
}

// The checkpoint of a database that has gone on is a part of its state only.
func TestRestoreRefusesCheckpoints(t *testing.T) {
	good := goodBackup(t)
	opts := quiet(t)
	db := enginetest.Open(t, opts)
	for range 2 {
		set(t, db, "k", "v")
		require.NoError(t, db.Checkpoint(ctx))
	}
	for n := uint64(2); n <= 3; n++ {
		data, err := os.ReadFile(filepath.Join(opts.Dir, format.CheckpointName(n)))
		require.NoError(t, err)
		err = requireNotRestored(t, target(t), bytes.NewReader(data), good, format.CheckpointName(n))
		require.ErrorIs(t, err, engine.ErrNotBackup)
	}
	for _, name := range []string{format.VersionName, format.LogName(3)} {
		data, err := os.ReadFile(filepath.Join(opts.Dir, name))
		require.NoError(t, err)
		require.ErrorIs(t, requireNotRestored(t, target(t), bytes.NewReader(data), good, name), engine.ErrNotBackup)
	}
}

// A reader that fails is not to be mistaken for one that has ended.
func TestRestoreFromFailingReader(t *testing.T) {
	good := goodBackup(t)
	for _, n := range []int{0, 1, 4096, len(good) / 2, len(good) - 1, len(good)} {
		for _, failure := range []error{errDisk, io.ErrClosedPipe} {
			what := fmt.Sprintf("%v after %d of %d bytes", failure, n, len(good))
			for name, r := range map[string]io.Reader{
				"then":    io.MultiReader(bytes.NewReader(good[:n]), iotest.ErrReader(failure)),
				"at once": iotest.DataErrReader(io.MultiReader(bytes.NewReader(good[:n]), iotest.ErrReader(failure))),
			} {
				err := requireNotRestored(t, target(t), r, nil, what+", "+name)
				require.ErrorIs(t, err, failure, what)
			}
		}
	}
	for name, r := range map[string]io.Reader{
		"a byte at a time": iotest.OneByteReader(bytes.NewReader(good)), "halves": iotest.HalfReader(bytes.NewReader(good)),
		"the end with the data": iotest.DataErrReader(bytes.NewReader(good)),
	} {
		require.NoError(t, engine.Restore(target(t), r), name)
	}
}

// A transfer that was cut short says so with io.ErrUnexpectedEOF: an error of the reader as any other, not its end.
func TestRestoreFromReaderCutShort(t *testing.T) {
	good := goodBackup(t)
	for _, n := range []int{0, 4096, len(good)} {
		r := io.MultiReader(bytes.NewReader(good[:n]), iotest.ErrReader(io.ErrUnexpectedEOF))
		assert.ErrorIs(t, engine.Restore(target(t), r), io.ErrUnexpectedEOF, "after %d of %d bytes", n, len(good))
	}
}

// Restore never touches what is there already.
func TestRestoreIntoWhatIsThere(t *testing.T) {
	good := goodBackup(t)
	unread := iotest.ErrReader(errors.New("it was read"))

	opts := target(t)
	require.NoError(t, os.Mkdir(opts.Dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(opts.Dir, "notes.txt"), []byte("mine"), 0o600))
	require.ErrorIs(t, engine.Restore(opts, unread), engine.ErrNotEmpty)
	require.Equal(t, map[string][]byte{"notes.txt": []byte("mine")}, files(t, opts.Dir))

	opts = target(t)
	opts.Create = true
	db := enginetest.Open(t, opts)
	set(t, db, "k", "mine")
	err := engine.Restore(opts, unread)
	require.True(t, errorsIsAny(err, engine.ErrNotEmpty, engine.ErrLocked), "open: %v", err)
	requireValue(t, db, "k", "mine")
	set(t, db, "k2", "mine")
	require.NoError(t, db.Close())
	before := files(t, opts.Dir)
	require.ErrorIs(t, engine.Restore(opts, unread), engine.ErrNotEmpty, "closed")
	delete(before, format.LockName)
	after := files(t, opts.Dir)
	delete(after, format.LockName)
	require.Equal(t, before, after)

	// Its version is lost: that is damage, not room.
	require.NoError(t, os.Remove(filepath.Join(opts.Dir, format.VersionName)))
	require.Error(t, engine.Restore(opts, bytes.NewReader(good)))
	require.NoError(t, os.WriteFile(filepath.Join(opts.Dir, format.VersionName), before[format.VersionName], 0o600))
	db = enginetest.Open(t, opts)
	requireValue(t, db, "k2", "mine")

	opts = target(t)
	dir, err := mmapio.OpenDir(opts.Dir, true)
	require.NoError(t, err)
	require.NoError(t, dir.Lock(format.LockName))
	require.ErrorIs(t, engine.Restore(opts, unread), engine.ErrLocked)
	require.NoError(t, dir.Close())
	require.NoError(t, engine.Restore(opts, bytes.NewReader(good)), "the lock file alone is no hindrance")

	require.Error(t, engine.Restore(engine.Options{}, bytes.NewReader(good)))
	require.NoError(t, engine.Restore(target(t), bytes.NewReader(good)))
}

// A database that another process makes between the first look and the lock is not written over.
func TestRestoreBesideAnotherCreation(t *testing.T) {
	good := goodBackup(t)
	opts := target(t)
	other := opts
	other.Create = true
	in := mmapiotest.NewInjector(mmapio.OpenDir, mmapiotest.Fault{
		Match: func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.LockDir },
		Before: func(mmapiotest.Op) {
			db, err := engine.Open(other)
			require.NoError(t, err)
			set(t, db, "k", "acknowledged")
			require.NoError(t, db.Close())
		},
	})
	opts.OpenDir = in.OpenDir
	assert.ErrorIs(t, engine.Restore(opts, bytes.NewReader(good)), engine.ErrNotEmpty)
	db, err := engine.Open(other)
	require.NoError(t, err)
	defer db.Close()
	requireValue(t, db, "k", "acknowledged")
}

// Whatever call of a restore fails: it says so, there is no database, or it is not known whether there is one, and to try again is right.
func TestRestoreFaults(t *testing.T) {
	good := goodBackup(t)
	for _, short := range []bool{false, true} {
		for nth := 1; ; nth++ {
			var hit mmapiotest.Op
			seen := 0
			in := mmapiotest.NewInjector(mmapio.OpenDir, mmapiotest.Fault{
				Match: func(op mmapiotest.Op) bool {
					is := op.Kind.Mutates() && op.Kind != mmapiotest.CloseFile && op.Kind != mmapiotest.OpenDir && (!short || op.Kind == mmapiotest.WriteAt)
					if is {
						seen++
					}
					if is && seen == nth {
						hit = op
					}
					return is
				},
				Nth: nth, Err: errDisk, Short: short,
			})
			opts := target(t)
			opts.Sync = engine.SyncDsync
			opts.OpenDir = in.OpenDir
			err := engine.Restore(opts, bytes.NewReader(good))
			if in.Hits() == 0 {
				require.NoError(t, err)
				require.Greater(t, nth, 5)
				break
			}
			what := fmt.Sprintf("call %d, %s", nth, strings.TrimSpace(hit.String()))
			opts.OpenDir = nil
			if err == nil { // it did not matter: then all is there
				db, err := engine.Open(opts)
				require.NoError(t, err, what)
				require.EqualValues(t, 60, db.Stats().Keys, what)
				require.NoError(t, db.Close())
				continue
			}
			require.ErrorIs(t, err, errDisk, what)
			unknown := errors.Is(err, engine.ErrIndeterminate)
			t.Run(fmt.Sprintf("short=%t/call=%d", short, nth), func(t *testing.T) {
				db, err := engine.Open(opts)
				if err == nil && unknown {
					require.EqualValues(t, 60, db.Stats().Keys, what)
					require.NoError(t, db.Close())
					return
				}
				if err == nil {
					require.NoError(t, db.Close())
					require.Fail(t, "there is a database", what)
				}
				require.ErrorIs(t, err, engine.ErrNoDatabase, what)
				require.NoError(t, engine.Restore(opts, bytes.NewReader(good)), "%s: again", what)
				db, err = engine.Open(opts)
				require.NoError(t, err)
				require.EqualValues(t, 60, db.Stats().Keys)
				require.NoError(t, db.Close())
			})
		}
	}
}

// A disk that fails for good in the middle of a restore, or fails to read, or is full: no database or all of it, and once the disk is
// well, or another, what is left can be restored into.
func TestRestoreOnBadDisk(t *testing.T) {
	good := goodBackup(t)
	reads := func(op mmapiotest.Op) bool {
		return op.Kind == mmapiotest.ReadAt || op.Kind == mmapiotest.Open || op.Kind == mmapiotest.Size || op.Kind == mmapiotest.Names
	}
	mutates := func(op mmapiotest.Op) bool { return op.Kind.Mutates() && op.Kind != mmapiotest.OpenDir }
	grows := func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.WriteAt || op.Kind == mmapiotest.Create }
	for name, fault := range map[string]mmapiotest.Fault{
		"dead":  {Match: mutates, ForGood: true, Err: errDisk},
		"reads": {Match: reads, Err: errDisk},
		"full":  {Match: grows, ForGood: true, Err: syscall.ENOSPC},
	} {
		t.Run(name, func(t *testing.T) {
			for nth := 1; ; nth++ {
				fault.Nth = nth
				in := mmapiotest.NewInjector(mmapio.OpenDir, fault)
				opts := target(t)
				opts.Sync, opts.OpenDir = engine.SyncDsync, in.OpenDir
				err := engine.Restore(opts, bytes.NewReader(good))
				if in.Hits() == 0 {
					require.NoError(t, err)
					require.Greater(t, nth, 3)
					return
				}
				require.ErrorIs(t, err, fault.Err, "call %d", nth)
				require.NotErrorIs(t, err, engine.ErrNotBackup, "call %d: it is the disk's fault", nth)
				if name == "full" {
					require.ErrorIs(t, err, engine.ErrDiskFull, "call %d", nth)
				}
				opts.OpenDir = nil
				db, err := engine.Open(opts)
				if err != nil {
					require.ErrorIs(t, err, engine.ErrNoDatabase, "call %d", nth)
					if err := engine.Restore(opts, bytes.NewReader(good)); !assert.NoError(t, err, "call %d, then again", nth) {
						continue
					}
					db, err = engine.Open(opts)
					require.NoError(t, err, "call %d", nth)
				}
				require.EqualValues(t, 60, db.Stats().Keys, "call %d", nth)
				require.NoError(t, db.Close())
			}
		})
	}
}

// A power cut in the middle of a restore leaves no database or all of it, and what is left can be restored into; after the restore
// has returned all of it is there.
func TestRestoreCrashImages(t *testing.T) {
	good := goodBackup(t)
	rec := mmapiotest.NewRecorder()
	opts := target(t)
	opts.Sync, opts.OpenDir = engine.SyncDsync, rec.OpenDir
	require.NoError(t, engine.Restore(opts, bytes.NewReader(good)))
	trace := rec.Trace()
	opts.OpenDir = nil
	opts.Dir = inMemory(t)
	seen := map[uint64]bool{}
	none, whole, stuck := 0, 0, map[string]string{}
	replayer := trace.Replayer()
	for _, cut := range trace.Cuts() {
		for _, mode := range mmapiotest.Modes() {
			image := replayer.Image(cut, mode, 1)
			if hash := image.Hash(); seen[hash] && cut.Op < len(trace) {
				continue
			} else {
				seen[hash] = true
			}
			what := fmt.Sprintf("%s, %s: %v", describe(trace, cut), mode, image.Names())
			require.NoError(t, image.WriteTo(opts.Dir))
			db, err := engine.Open(opts)
			if err == nil {
				whole++
				require.EqualValues(t, 60, db.Stats().Keys, what)
				require.Empty(t, db.Stats().Recovery.Repaired, what)
				requireValue(t, db, "59", string(bytesOf("59", 590)))
				_, err = db.Set(ctx, []byte("more"), nil)
				require.NoError(t, err, what)
				require.NoError(t, db.Close(), what)
				continue
			}
			none++
			require.Less(t, cut.Op, len(trace), "%s: the restore was acknowledged", what)
			require.ErrorIs(t, err, engine.ErrNoDatabase, what)
			require.NoError(t, image.WriteTo(opts.Dir))
			if err := engine.Restore(opts, bytes.NewReader(good)); err != nil {
				stuck[err.Error()] = what
			}
		}
	}
	t.Logf("%d images without a database, %d with all of it", none, whole)
	require.Positive(t, none)
	require.Positive(t, whole)
	require.Empty(t, stuck, "restoring again is right after a crash")
}
