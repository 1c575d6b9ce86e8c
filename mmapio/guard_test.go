package mmapio_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tongpengdl/small-db/mmapio"
	"golang.org/x/sys/unix"
)

// guarded runs read inside a guard.
func guarded(read func()) (err error) {
	defer mmapio.Recover(mmapio.Arm(), &err)
	read()
	return nil
}

// armed says whether faults panic in this goroutine.
func armed() bool {
	was := debug.SetPanicOnFault(false)
	debug.SetPanicOnFault(was)
	return was
}

// byteAt reads a byte where the compiler cannot leave it out.
//
//go:noinline
func byteAt(p []byte, at int) byte { return p[at] }

// truncate makes a file of the directory shorter behind everybody's back.
func truncate(t *testing.T, d mmapio.Dir, name string, size int64) {
	t.Helper()
	require.NoError(t, os.Truncate(filepath.Join(d.Path(), name), size))
}

// requireFault says that err is a fault at this place.
func requireFault(t *testing.T, err error, file string, offset int64) {
	t.Helper()
	require.ErrorIs(t, err, mmapio.ErrFault)
	var fault *mmapio.FaultError
	require.ErrorAs(t, err, &fault)
	require.Equal(t, mmapio.FaultError{File: file, Offset: offset}, *fault)
	require.ErrorContains(t, err, file)
}

func TestGuardOfATruncatedFile(t *testing.T) {
	d := openDir(t)
	m, err := mmapio.Map(put(t, d, "a", randomBytes(3*pageSize)), 3*pageSize)
	require.NoError(t, err)
	require.NoError(t, guarded(func() { byteAt(m.Bytes(), 3*pageSize-1) }))
	truncate(t, d, "a", pageSize)
	require.NoError(t, guarded(func() { byteAt(m.Bytes(), pageSize-1) }))
	requireFault(t, guarded(func() { byteAt(m.Bytes(), pageSize) }), "a", pageSize)
	requireFault(t, guarded(func() { byteAt(m.Bytes(), 2*pageSize+77) }), "a", 2*pageSize+77)
	assert.False(t, armed(), "the guard is over")
	runtime.KeepAlive(m)
}

func TestGuardOfAReservedMapping(t *testing.T) {
	d := openDir(t)
	m, err := mmapio.Reserve(8*pageSize, 8*pageSize, nil)
	require.NoError(t, err)
	require.NoError(t, m.MapAt(put(t, d, "a", randomBytes(2*pageSize)), 0, 2*pageSize))
	require.NoError(t, m.MapAt(put(t, d, "b", randomBytes(2*pageSize)), 4*pageSize, 2*pageSize))
	truncate(t, d, "b", 0)
	require.NoError(t, guarded(func() { byteAt(m.Bytes(), pageSize) }))
	requireFault(t, guarded(func() { byteAt(m.Bytes(), 5*pageSize+3) }), "b", pageSize+3)
	requireFault(t, guarded(func() { byteAt(m.Bytes(), 3*pageSize) }), "reserved address space", 3*pageSize)
	runtime.KeepAlive(m)
}

func TestGuardOfAFileMappedOverAnother(t *testing.T) {
	d := openDir(t)
	m, err := mmapio.Reserve(2*pageSize, 2*pageSize, nil)
	require.NoError(t, err)
	require.NoError(t, m.MapAt(put(t, d, "old", randomBytes(2*pageSize)), 0, 2*pageSize))
	require.NoError(t, m.MapAt(put(t, d, "new", randomBytes(pageSize)), 0, pageSize))
	truncate(t, d, "old", 0)
	truncate(t, d, "new", 0)
	requireFault(t, guarded(func() { byteAt(m.Bytes(), 9) }), "new", 9)
	requireFault(t, guarded(func() { byteAt(m.Bytes(), pageSize+9) }), "old", pageSize+9)
	require.NoError(t, m.MapAt(put(t, d, "newest", randomBytes(2*pageSize)), 0, 2*pageSize))
	truncate(t, d, "newest", 0)
	requireFault(t, guarded(func() { byteAt(m.Bytes(), pageSize+9) }), "newest", pageSize+9)
	runtime.KeepAlive(m)
}

func TestGuardsNest(t *testing.T) {
	d := openDir(t)
	m, err := mmapio.Map(put(t, d, "a", randomBytes(pageSize)), pageSize)
	require.NoError(t, err)
	truncate(t, d, "a", 0)
	outer := guarded(func() {
		requireFault(t, guarded(func() { byteAt(m.Bytes(), 1) }), "a", 1)
		assert.True(t, armed(), "the outer guard goes on")
		require.NoError(t, guarded(func() {}))
		assert.True(t, armed())
		byteAt(m.Bytes(), 2)
	})
	requireFault(t, outer, "a", 2)
	assert.False(t, armed())
	runtime.KeepAlive(m)
}

func TestGuardIsOfOneGoroutine(t *testing.T) {
	require.NoError(t, guarded(func() {
		done := make(chan bool)
		go func() { done <- armed() }()
		assert.False(t, <-done)
		assert.True(t, armed())
	}))
}

func TestGuardKeepsErrors(t *testing.T) {
	mine := errors.New("mine")
	read := func() (err error) {
		defer mmapio.Recover(mmapio.Arm(), &err)
		return mine
	}
	assert.Equal(t, mine, read())
}

// What is no fault of our mappings is none of the guard's business.
func TestGuardLetsOtherPanicsPass(t *testing.T) {
	foreign, err := unix.Mmap(-1, 0, pageSize, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	require.NoError(t, err)
	defer func() { _ = unix.Munmap(foreign) }()
	var null *[1 << 20]byte
	sentinel := errors.New("mine")
	for name, read := range map[string]func(){
		"value":               func() { panic(sentinel) },
		"index":               func() { byteAt(nil, 1) },
		"nil":                 func() { byteAt(null[:], 0) },
		"nil with an offset":  func() { null[len(null)-1]++ },
		"somebody's memory":   func() { byteAt(foreign, 5) },
		"panic of no meaning": func() { panic(nil) },
	} {
		assert.Panics(t, func() {
			err := guarded(read)
			t.Errorf("%s: the guard swallowed a panic and returned %v", name, err)
		}, name)
		assert.False(t, armed(), name)
	}
	assert.PanicsWithValue(t, sentinel, func() { _ = guarded(func() { panic(sentinel) }) })
}

// After its mapping is gone a stray address is a bug, not a fault of the disk.
func TestGuardForgetsUnmappedMemory(t *testing.T) {
	gone := make(chan bool, 1)
	m, err := mmapio.Reserve(1<<30, 1<<30, func() { gone <- true })
	require.NoError(t, err)
	stray := m.Bytes()
	runtime.KeepAlive(m)
	m = nil
	eventually(t, func() bool { return len(gone) == 1 })
	assert.Panics(t, func() { _ = guarded(func() { byteAt(stray, 1<<29) }) })
}
