package engine_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
)

// keepChanging changes some bytes of a file again and again, in what is mapped of it, and puts them back, until the test ends.
func keepChanging(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	info, err := f.Stat()
	require.NoError(t, err)
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	const n, pause = 64, 40_000
	own := bytes.Clone(data[at:][:n])
	var stop atomic.Bool
	var done sync.WaitGroup
	done.Go(func() {
		rng := rand.New(rand.NewPCG(1, 2))
		for turn := 0; !stop.Load(); turn++ {
			if turn%2 == 0 {
				clear(data[at:][:n])
			} else {
				copy(data[at:], own)
			}
			for range rng.IntN(pause) {
				if stop.Load() {
					break
				}
			}
			runtime.Gosched()
		}
		copy(data[at:], own)
	})
	t.Cleanup(func() {
		stop.Store(true)
		done.Wait()
		require.NoError(t, unix.Munmap(data))
	})
}

// TestReadsBesideChanges: while the bytes of a record are changing where they are mapped, a read of it is right or refused, in a checkpoint and
// in a log: what was verified is what is returned.
func TestReadsBesideChanges(t *testing.T) {
	opts := quiet(t)
	opts.LogFileBytes = 1 << 20
	db := enginetest.Open(t, opts)
	m := shadow{"based": string(bytesOf("based", 100_000)), "logged": string(bytesOf("logged", 100_000))}
	set(t, db, "based", m["based"])
	require.NoError(t, db.Checkpoint(ctx))
	set(t, db, "logged", m["logged"])
	snapshot := db.Snapshot()
	for key, name := range map[string]string{"based": format.CheckpointName(2), "logged": format.LogName(2)} {
		t.Run(key, func(t *testing.T) {
			path := filepath.Join(opts.Dir, name)
			at := valueAt(t, path, m, key)
			require.Positive(t, at)
			keepChanging(t, path, at+50_000)
			for what, read := range map[string]func() ([]byte, bool, error){
				"Get":          func() ([]byte, bool, error) { return db.Get([]byte(key)) },
				"AppendGet":    func() ([]byte, bool, error) { return db.AppendGet(nil, []byte(key)) },
				"Snapshot.Get": func() ([]byte, bool, error) { return snapshot.Get([]byte(key)) },
				"Entry": func() ([]byte, bool, error) {
					e, ok, err := db.Entry([]byte(key))
					return e.Value, ok, err
				},
				"Prefix": func() (value []byte, ok bool, err error) {
					s := db.Snapshot()
					for _, v := range s.Prefix([]byte(key)) {
						value, ok = bytes.Clone(v), true
					}
					return value, ok, s.Err()
				},
			} {
				rightOrRefused(t, fmt.Sprintf("%s of what is %s", what, key), m[key], read)
			}
		})
	}
	m.check(t, db)
}

// rightOrRefused reads until it was refused often enough, and right often enough.
func rightOrRefused(t *testing.T, what, want string, read func() ([]byte, bool, error)) {
	t.Helper()
	const enough = 150
	right, refused := 0, 0
	for started := time.Now(); right < enough || refused < enough; {
		if got, ok, err := read(); err == nil {
			require.True(t, ok, what)
			require.True(t, want == string(got), "%s: what was read is what was verified", what)
			right++
		} else {
			require.ErrorIs(t, err, engine.ErrCorrupt, what)
			refused++
		}
		runtime.Gosched()
		require.Less(t, time.Since(started), deadline, "%s: %d right, %d refused", what, right, refused)
	}
	t.Logf("%s: while the bytes were changing, %d right, %d refused, none wrong", what, right, refused)
}
