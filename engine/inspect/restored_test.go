package inspect_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/engine/inspect"
)

// A restored database is whole, before its first write, after it, and after a checkpoint.
func TestRestoredIsWhole(t *testing.T) {
	ctx := context.Background()
	db := enginetest.Open(t, engine.Options{})
	for _, key := range []string{"a", "b", "c"} {
		_, err := db.Set(ctx, []byte(key), []byte("value of "+key))
		require.NoError(t, err)
	}
	var backup bytes.Buffer
	_, err := db.Backup(ctx, &backup)
	require.NoError(t, err)
	opts := engine.Options{Dir: t.TempDir()}
	require.NoError(t, engine.Restore(opts, &backup))
	whole := func() {
		t.Helper()
		report, err := inspect.Check(ctx, opts.Dir, inspect.CheckOptions{})
		require.NoError(t, err)
		require.False(t, report.Damaged(), "%v", report.Findings)
	}
	whole()
	restored := enginetest.Open(t, opts)
	_, err = restored.Set(ctx, []byte("a"), []byte("another"))
	require.NoError(t, err)
	require.NoError(t, restored.Close())
	whole()
	restored = enginetest.Open(t, opts)
	require.NoError(t, restored.Checkpoint(ctx))
	require.NoError(t, restored.Close())
	whole()
}
