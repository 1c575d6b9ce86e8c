package mmapio_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/mmapio"
)

// TestPrefetchIsNoAccess: what cannot be read may be prefetched, without a guard.
func TestPrefetchIsNoAccess(t *testing.T) {
	nothing, err := mmapio.Reserve(pageSize, pageSize, nil)
	require.NoError(t, err)
	mmapio.Prefetch(&nothing.Bytes()[77])

	d := openDir(t)
	m, err := mmapio.Map(put(t, d, "a", randomBytes(2*pageSize)), 2*pageSize)
	require.NoError(t, err)
	truncate(t, d, "a", pageSize)
	mmapio.Prefetch(&m.Bytes()[pageSize])
	mmapio.Prefetch(&m.Bytes()[0])
	for _, at := range []uint64{0, pageSize - 1, pageSize, 2*pageSize - 100, 2*pageSize - 1, 2 * pageSize, 1 << 63, 1<<64 - 1} {
		mmapio.PrefetchAt(m.Bytes(), at)
	}
	runtime.KeepAlive(nothing)
	runtime.KeepAlive(m)
}
