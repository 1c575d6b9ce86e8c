package mmapio_test

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tongpengdl/small-db/mmapio"
)

// pageSize is at least that of the system, and enough to align what is mapped.
const pageSize = 64 << 10

// eventually collects garbage until done, or gives up.
func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for range 1000 {
		runtime.GC()
		if done() {
			return
		}
		runtime.Gosched()
	}
	require.Fail(t, "garbage was not collected")
}

func TestMapShowsLaterWrites(t *testing.T) {
	d := openDir(t)
	data := randomBytes(3 * pageSize)
	f := put(t, d, "a", data)
	m, err := mmapio.Map(f, int64(len(data)))
	require.NoError(t, err)
	require.Equal(t, data, m.Bytes())
	_, err = f.WriteAt([]byte("written later"), pageSize-5)
	require.NoError(t, err)
	assert.Equal(t, "written later", string(m.Bytes()[pageSize-5:][:13]))
	require.NoError(t, f.Close())
	assert.Equal(t, content(t, d, "a"), m.Bytes(), "the descriptor is not needed")
	runtime.KeepAlive(m)
}

func TestMapFails(t *testing.T) {
	f := put(t, openDir(t), "a", []byte("A"))
	require.NoError(t, f.Close())
	_, err := mmapio.Map(f, 1)
	require.ErrorContains(t, err, "mmap a")
}

func TestMapAt(t *testing.T) {
	d := openDir(t)
	a, b := randomBytes(pageSize), randomBytes(2*pageSize)
	m, err := mmapio.Reserve(8*pageSize, 8*pageSize, nil)
	require.NoError(t, err)
	require.Len(t, m.Bytes(), 8*pageSize)
	f, g := put(t, d, "a", a), put(t, d, "b", b)
	require.NoError(t, m.MapAt(f, pageSize, pageSize))
	require.NoError(t, m.MapAt(g, 6*pageSize, 2*pageSize))
	require.NoError(t, f.Close())
	assert.Equal(t, a, m.Bytes()[pageSize:2*pageSize])
	assert.Equal(t, b, m.Bytes()[6*pageSize:])
	_, err = g.WriteAt([]byte("later"), pageSize)
	require.NoError(t, err)
	assert.Equal(t, "later", string(m.Bytes()[7*pageSize:][:5]))

	require.NoError(t, m.MapAt(g, pageSize, pageSize), "in place of a")
	assert.Equal(t, b[:pageSize], m.Bytes()[pageSize:2*pageSize])

	for _, bad := range [][2]int64{{-pageSize, pageSize}, {0, 0}, {0, -1}, {8 * pageSize, 1}, {7 * pageSize, 2 * pageSize}, {0, 1 << 62}, {1 << 62, 1 << 62}} {
		require.ErrorContains(t, m.MapAt(g, bad[0], bad[1]), "do not fit", bad)
	}
	require.ErrorContains(t, m.MapAt(g, 1, pageSize), "mmap b", "not on a page")
	require.NoError(t, g.Close())
	require.ErrorContains(t, m.MapAt(g, 0, pageSize), "mmap b")
	runtime.KeepAlive(m)
}

func TestReserveTakesLess(t *testing.T) {
	_, err := mmapio.Reserve(1<<62, 1<<62, nil)
	require.ErrorContains(t, err, "ulimit -v")
	m, err := mmapio.Reserve(1<<62, pageSize, nil)
	require.NoError(t, err)
	assert.Greater(t, len(m.Bytes()), pageSize)
	assert.Less(t, len(m.Bytes()), 1<<62)
	runtime.KeepAlive(m)
}

func TestMappingIsUnmappedWhenGarbage(t *testing.T) {
	var unmapped atomic.Int32
	m, err := mmapio.Reserve(pageSize, pageSize, func() { unmapped.Add(1) })
	require.NoError(t, err)
	require.NoError(t, m.MapAt(put(t, openDir(t), "a", randomBytes(pageSize)), 0, pageSize))
	for range 3 {
		runtime.GC()
	}
	require.Zero(t, unmapped.Load(), "somebody still has it")
	require.NotEmpty(t, m.Bytes())
	runtime.KeepAlive(m)
	m = nil
	eventually(t, func() bool { return unmapped.Load() == 1 })
}

func TestAdviseAndLock(t *testing.T) {
	f := put(t, openDir(t), "a", randomBytes(2*pageSize))
	m, err := mmapio.Map(f, 2*pageSize)
	require.NoError(t, err)
	for _, advice := range []mmapio.Advice{mmapio.Random, mmapio.Sequential, mmapio.WillNeed} {
		require.NoError(t, m.Advise(pageSize, pageSize, advice))
	}
	require.ErrorContains(t, m.Advise(1, pageSize, mmapio.Random), "madvise")
	require.NoError(t, m.Lock(0, 4096), "every process may lock a page")
	nothing, err := mmapio.Reserve(pageSize, pageSize, nil)
	require.NoError(t, err)
	require.ErrorContains(t, nothing.Lock(0, pageSize), "mlock", "nothing is mapped there")
	runtime.KeepAlive(m)
	runtime.KeepAlive(nothing)
}
