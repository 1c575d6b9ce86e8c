package rival_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

// present are the rivals that can be measured here; the others are logged with the reason.
func present(t *testing.T) []*rival.Rival {
	return slices.DeleteFunc(rival.All(), func(r *rival.Rival) bool {
		err := r.Missing()
		if err != nil {
			t.Logf("%s is not tested: %v", r.Name, err)
		}
		return err != nil
	})
}

func session(t *testing.T, s rival.Store) rival.Session {
	opened, err := s.Session()
	require.NoError(t, err)
	return opened
}

func pair(i int) rival.Pair {
	return rival.Pair{Key: fmt.Appendf(nil, "key %06d", i), Value: bytes.Repeat(fmt.Appendf(nil, "value %d ", i), 12)}
}

// requireValue makes sure that a key has a value; nil means that it is not set.
func requireValue(t *testing.T, s rival.Session, key, want []byte) {
	t.Helper()
	var got []byte
	ok, err := s.View(key, func(value []byte) error {
		got = append([]byte{}, value...)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, want != nil, ok, "%s", key)
	require.Equal(t, want, got, "%s", key)
}

// TestConformance: every adapter does the same.
func TestConformance(t *testing.T) {
	for _, r := range present(t) {
		if !r.Reads {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			dir := t.TempDir()
			store, err := r.Open(dir)
			require.NoError(t, err)
			want := fillStore(t, store)
			requireContents(t, r, store, want)
			compactor, ok := store.(rival.Compactor)
			require.Equal(t, r.Compacts, ok)
			_, served := store.(rival.Server)
			require.Equal(t, r.Served, served)
			if ok {
				require.NoError(t, compactor.Compact())
				requireContents(t, r, store, want)
			}
			require.NoError(t, store.Close())
			if !r.Durable {
				return
			}
			store, err = r.Open(dir)
			require.NoError(t, err)
			requireContents(t, r, store, want)
			require.NoError(t, store.Close())
		})
	}
}

const (
	loaded  = 300 // keys that Load sets
	writers = 4
	each    = 20 // keys that every writer sets; those of the first one are loaded before
)

// fillStore sets keys by all ways, and overwrites the memory that it has handed over.
func fillStore(t *testing.T, store rival.Store) (want []rival.Pair) {
	var batch []rival.Pair
	for i := range loaded {
		want, batch = append(want, pair(i)), append(batch, pair(i))
	}
	require.NoError(t, store.Load(batch))
	for _, p := range batch {
		clear(p.Key)
		clear(p.Value)
	}
	sessions := make([]rival.Session, writers)
	for w := range sessions {
		sessions[w] = session(t, store)
	}
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w, s := range sessions {
		wg.Go(func() { errs[w] = setEach(s, w) })
		for i := range each {
			p := pair(number(w, i))
			p.Value = newValue(w, i)
			if at := number(w, i); at < len(want) {
				want[at] = p
			} else {
				want = append(want, p)
			}
		}
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	for _, s := range sessions {
		require.NoError(t, s.Close())
	}
	return want
}

// number is that of the key that a writer sets as its i-th.
func number(w, i int) int {
	if w == 0 {
		return i
	}
	return loaded + (w-1)*each + i
}

func newValue(w, i int) []byte { return fmt.Appendf(nil, "by writer %d, %d", w, i) }

func setEach(s rival.Session, w int) error {
	var key, value []byte
	for i := range each {
		key, value = append(key[:0], pair(number(w, i)).Key...), append(value[:0], newValue(w, i)...)
		if err := s.Set(key, value); err != nil {
			return err
		}
		clear(key)
		clear(value)
	}
	return nil
}

func requireContents(t *testing.T, r *rival.Rival, store rival.Store, want []rival.Pair) {
	t.Helper()
	s := session(t, store)
	for _, p := range want {
		requireValue(t, s, p.Key, p.Value)
	}
	requireValue(t, s, []byte("no such key"), nil)
	failure := errors.New("of the reader")
	_, err := s.View(want[0].Key, func([]byte) error { return failure })
	assert.ErrorIs(t, err, failure)
	if r.Ordered {
		requireScan(t, s, want, 0, 10)
		requireScan(t, s, want, len(want)/2, len(want)/4)
		requireScan(t, s, want, len(want)-3, 10)
		requireScan(t, s, want, 5, 1)
	} else {
		require.Error(t, s.Scan(want[0].Key, 1, func([]byte, []byte) {}))
	}
	require.NoError(t, s.Close())
}

// requireScan scans n keys from one on; fewer at the end.
func requireScan(t *testing.T, s rival.Session, want []rival.Pair, from, n int) {
	t.Helper()
	var got []rival.Pair
	require.NoError(t, s.Scan(want[from].Key, n, func(key, value []byte) {
		got = append(got, rival.Pair{Key: append([]byte{}, key...), Value: append([]byte{}, value...)})
	}))
	require.Equal(t, want[from:min(from+n, len(want))], got)
}

// TestLoops: the limits take sets, and say that they can do nothing else.
func TestLoops(t *testing.T) {
	for _, r := range present(t) {
		if r.Reads {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			store, err := r.Open(t.TempDir())
			require.NoError(t, err)
			s := session(t, store)
			for i := range 10 {
				require.NoError(t, s.Set(pair(i).Key, pair(i).Value))
			}
			_, err = s.View(pair(0).Key, func([]byte) error { return nil })
			require.Error(t, err)
			require.Error(t, s.Scan(nil, 1, func([]byte, []byte) {}))
			require.Error(t, store.Load([]rival.Pair{pair(0)}))
			require.NoError(t, s.Close())
			require.NoError(t, store.Close())
		})
	}
}

func TestFind(t *testing.T) {
	for _, r := range rival.All() {
		found, err := rival.Find(r.Name)
		require.NoError(t, err)
		require.Equal(t, r.Name, found.Name)
		require.NotEmpty(t, r.Settings+r.Module)
	}
	_, err := rival.Find("none")
	require.ErrorContains(t, err, "none")
}
