package ckpt_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// keepChanging changes bytes of a file again and again, in what is mapped of it, and puts them back, until the test ends.
func keepChanging(t *testing.T, f mmapio.File, from, to uint64, pause int) {
	t.Helper()
	size, err := f.Size()
	require.NoError(t, err)
	data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	own := bytes.Clone(data[from:to])
	var stop atomic.Bool
	var done sync.WaitGroup
	done.Go(func() {
		rng := rand.New(rand.NewPCG(1, 2))
		for turn := 0; !stop.Load(); turn++ {
			if turn%2 == 0 {
				clear(data[from:to])
			} else {
				copy(data[from:to], own)
			}
			for range rng.IntN(pause) {
				if stop.Load() {
					break
				}
			}
			if turn%63 == 0 { // now with the bytes changed and now with them as they were: the other may not run at any other time
				runtime.Gosched()
			}
		}
		copy(data[from:to], own)
	})
	t.Cleanup(func() {
		stop.Store(true)
		done.Wait()
		require.NoError(t, unix.Munmap(data))
	})
}

// both reads until it was refused often enough, and right often enough.
func both(t *testing.T, what string, enough int, read func() error) {
	t.Helper()
	right, refused := 0, 0
	for started := time.Now(); right < enough || refused < enough; {
		if err := read(); err == nil {
			right++
		} else {
			requireCorrupt(t, err)
			refused++
		}
		if (right+refused)%64 == 0 {
			runtime.Gosched()
		}
		require.Less(t, time.Since(started), time.Minute, "%s: %d right, %d refused", what, right, refused)
	}
	t.Logf("%s: while the bytes were changing, %d right, %d refused, none wrong", what, right, refused)
}

// TestReadsBesideChanges: while the mapped bytes are changing, a read is right or refused: what was verified is what is returned.
func TestReadsBesideChanges(t *testing.T) {
	large := ckpt.Record{Seq: 5, Key: []byte("m-large"), Value: bytes.Repeat([]byte("a large value "), 5000)}
	records := []ckpt.Record{large}
	for i := range 20 {
		records = append(records, ckpt.Record{Seq: uint64(i + 10), Key: fmt.Appendf(nil, "n-%02d", i), Value: []byte("small")})
	}
	r, f := build(t, records)
	judge := func(record ckpt.Record, ok bool, err error) error {
		if err == nil {
			require.True(t, ok, "it is there")
			require.True(t, same(large, record), "what was read is what was verified")
		}
		return err
	}

	t.Run("bucket", func(t *testing.T) {
		hash := format.KeyHash(r.Footer().HashSeed, large.Key)
		at := r.Footer().BucketsAt + format.BucketOf(hash, r.Footer().Buckets)*format.BucketLen
		keepChanging(t, f, at, at+format.BucketLen-format.SumLen, 40) // whichever of its slots it is
		var room []byte
		both(t, "Fetch", 5000, func() error {
			_, out, ok, err := fetch(r, large.Key, nil, room[:0])
			room = out
			if err == nil {
				require.True(t, ok, "it is there")
			}
			return err
		})
	})
	t.Run("record", func(t *testing.T) {
		at := uint64(format.CheckpointHeaderLen + len(large.Value)/2)
		keepChanging(t, f, at, at+64, 40_000)
		var room []byte
		both(t, "Fetch", 400, func() error {
			record, out, ok, err := fetch(r, large.Key, nil, room[:0])
			room = out
			return judge(record, ok, err)
		})
		c := r.Cursor()
		both(t, "First", 400, func() error { return judge(c.First()) })
		both(t, "SeekGE", 400, func() error { return judge(c.SeekGE(large.Key)) })
	})
}

// TestKeyBesideChanges: a record whose key reads otherwise for a moment is refused. It is not said to be another key's, for then the key would be absent.
func TestKeyBesideChanges(t *testing.T) {
	want := ckpt.Record{Seq: 5, Key: []byte("m-large"), Value: bytes.Repeat([]byte("v"), 1000)} // more than small has room for
	r, f := build(t, []ckpt.Record{want})
	at := uint64(bytes.Index(contents(t, f), want.Key))
	keepChanging(t, f, at, at+uint64(len(want.Key)), 40)
	var room []byte
	var small [256]byte
	both(t, "Fetch", 5000, func() error {
		record, out, ok, err := fetch(r, want.Key, small[:0], room[:0])
		room = out
		if err == nil {
			require.True(t, ok, "it is there")
			require.True(t, same(want, record), "what was read is what was verified")
		}
		return err
	})
}
