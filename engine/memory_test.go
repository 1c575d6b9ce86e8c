package engine_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
)

// Opening maps files, it does not load them: what it takes of the heap does not grow with the keys.
func TestOpenTakesNoMemoryPerKey(t *testing.T) {
	const keys = 200_000
	opts := quiet(t)
	opts.Sync, opts.LogFileBytes = engine.SyncNone, 64<<20
	db := enginetest.Open(t, opts)
	var b engine.Batch
	for i := range keys {
		b.Set(fmt.Appendf(nil, "key-%d", i), fmt.Appendf(nil, "value-%d", i))
		if b.Len() == 5000 {
			_, err := db.Apply(ctx, &b)
			require.NoError(t, err)
			b.Reset()
		}
	}
	require.NoError(t, db.Checkpoint(ctx))
	require.NoError(t, db.Close())

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	db = enginetest.Open(t, opts)
	runtime.ReadMemStats(&after)
	assert.Less(t, after.Mallocs-before.Mallocs, uint64(5000))
	runtime.GC()
	runtime.ReadMemStats(&after)
	assert.Less(t, int64(after.HeapObjects)-int64(before.HeapObjects), int64(5000))
	assert.EqualValues(t, keys, db.Stats().Keys)
	for i := 0; i < keys; i += 1009 {
		requireValue(t, db, fmt.Sprintf("key-%d", i), fmt.Sprintf("value-%d", i))
	}
}
