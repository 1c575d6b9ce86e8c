package engine_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
)

var ctx = context.Background()

// long lets tests take minutes instead of seconds.
var long = enginetest.Long()

// deadline is how long a test waits for what must happen before it gives up. It never decides what is right.
const deadline = 60 * time.Second

// eventually waits until done.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for started := time.Now(); !done(); time.Sleep(time.Millisecond) {
		require.Less(t, time.Since(started), deadline, what)
	}
}

// quiet is a database that does nothing by itself, of small logs.
func quiet(t testing.TB) engine.Options {
	return engine.Options{Dir: t.TempDir(), Create: true, LogFileBytes: 64 << 10, DisableBackgroundCheckpoint: true}
}

// inMemory is a directory on a file system in memory, where there is one: for tests that open thousands of
// times and judge no disk.
func inMemory(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "engine")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// again closes a database and opens it again.
func again(t testing.TB, db *engine.DB, opts engine.Options) *engine.DB {
	t.Helper()
	require.NoError(t, db.Close())
	return enginetest.Open(t, opts)
}

func set(t testing.TB, db *engine.DB, key, value string) engine.Version {
	t.Helper()
	v, err := db.Set(ctx, []byte(key), []byte(value))
	require.NoError(t, err)
	return v
}

// bytesOf returns n bytes that no other key or n has.
func bytesOf(key string, n int) []byte {
	seed := sha256.Sum256(fmt.Appendf(nil, "%s/%d", key, n))
	rng := rand.NewChaCha8(seed)
	b := make([]byte, n)
	rng.Read(b)
	return b
}

// shadow is what a database must hold.
type shadow map[string]string

// check compares all keys of the shadow, those in absent, and the count. All three ways to read must agree.
func (m shadow) check(t testing.TB, db *engine.DB, absent ...string) {
	t.Helper()
	require.EqualValues(t, len(m), db.Stats().Keys)
	for k, want := range m {
		requireValue(t, db, k, want)
	}
	for _, k := range absent {
		if _, has := m[k]; !has {
			requireAbsent(t, db, k)
		}
	}
}

func requireValue(t testing.TB, db *engine.DB, key, want string) {
	t.Helper()
	got, ok, err := db.Get([]byte(key))
	if err != nil || !ok || string(got) != want {
		require.Fail(t, "wrong value", "%.40q: %d bytes %.40q, %t, %v; want %d bytes %.40q", key, len(got), got, ok, err, len(want), want)
	}
	got, ok, err = db.AppendGet([]byte("before"), []byte(key))
	if err != nil || !ok || string(got) != "before"+want {
		require.Fail(t, "wrong value", "AppendGet %.40q: %d bytes, %t, %v", key, len(got), ok, err)
	}
	called := 0
	ok, err = db.View([]byte(key), func(value []byte) error {
		called++
		if string(value) != want {
			return fmt.Errorf("%d bytes", len(value))
		}
		return nil
	})
	if err != nil || !ok || called != 1 {
		require.Fail(t, "wrong value", "View %.40q: %t, %v, called %d times", key, ok, err, called)
	}
}

func requireAbsent(t testing.TB, db *engine.DB, key string) {
	t.Helper()
	got, ok, err := db.AppendGet([]byte("before"), []byte(key))
	if err != nil || ok || string(got) != "before" {
		require.Fail(t, "not absent", "%.40q: %.40q, %t, %v", key, got, ok, err)
	}
	ok, err = db.View([]byte(key), func([]byte) error { panic("there is nothing to view") })
	if err != nil || ok {
		require.Fail(t, "not absent", "View %.40q: %t, %v", key, ok, err)
	}
}

// stamp is a value that says who wrote it and when, and of which any byte that changes shows.
func stamp(writer, n, size int) []byte {
	b := make([]byte, 16+size+32)
	binary.BigEndian.PutUint64(b, uint64(writer))
	binary.BigEndian.PutUint64(b[8:], uint64(n))
	for i := range size {
		b[16+i] = byte(writer + n + i)
	}
	sum := sha256.Sum256(b[:16+size])
	copy(b[16+size:], sum[:])
	return b
}

// readStamp takes a stamp apart.
func readStamp(b []byte) (writer, n int, ok bool) {
	if len(b) < 48 {
		return 0, 0, false
	}
	body := b[:len(b)-32]
	sum := sha256.Sum256(body)
	if string(sum[:]) != string(b[len(body):]) {
		return 0, 0, false
	}
	return int(binary.BigEndian.Uint64(b)), int(binary.BigEndian.Uint64(b[8:])), true
}

// files reads a directory: name to content.
func files(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	out := map[string][]byte{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if !errors.Is(err, fs.ErrNotExist) { // the helper may just be renaming it
			require.NoError(t, err)
			out[e.Name()] = data
		}
	}
	return out
}

// restoreFiles makes a directory hold exactly these files.
func restoreFiles(t testing.TB, dir string, want map[string][]byte) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, os.Remove(filepath.Join(dir, e.Name())))
	}
	for name, data := range want {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
}

// collect runs the garbage collector until done.
func collect(t *testing.T, what string, done func() bool) {
	t.Helper()
	eventually(t, what, func() bool { runtime.GC(); return done() })
}

// footerOf is the footer of a checkpoint.
func footerOf(t testing.TB, checkpoint []byte) format.Footer {
	header, err := format.DecodeCheckpointHeader(checkpoint[:format.CheckpointHeaderLen])
	require.NoError(t, err)
	size := len(checkpoint)
	footer, err := format.DecodeFooter(checkpoint[size-format.FooterLen:], header.Salt, uint64(size))
	require.NoError(t, err)
	return footer
}

// flip changes one bit of a file.
func flip(t testing.TB, path string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], offset)
	require.NoError(t, err)
	b[0] ^= 1 << (offset % 8)
	_, err = f.WriteAt(b[:], offset)
	require.NoError(t, err)
}
