package engine_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
)

var ctx = context.Background()

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	opts := engine.Options{Dir: dir, Create: true, LogFileBytes: 1 << 20, DisableBackgroundCheckpoint: true}
	db, err := engine.Open(opts)
	require.NoError(t, err)
	model := map[string]string{}
	for round := range 5 {
		for i := range 500 {
			k, v := fmt.Sprintf("key-%d", i*(round+1)%1500), fmt.Sprintf("value-%d-%d", round, i)
			if i%7 == 0 {
				_, err = db.Delete(ctx, []byte(k))
				delete(model, k)
			} else {
				_, err = db.Set(ctx, []byte(k), []byte(v))
				model[k] = v
			}
			require.NoError(t, err)
		}
		check := func() {
			require.EqualValues(t, len(model), db.Stats().Keys)
			for i := range 3000 {
				k := fmt.Sprintf("key-%d", i)
				v, ok, err := db.Get([]byte(k))
				require.NoError(t, err)
				want, has := model[k]
				require.Equal(t, has, ok, k)
				require.Equal(t, want, string(v))
			}
		}
		check()
		if round%2 == 0 {
			require.NoError(t, db.Checkpoint(ctx))
			check()
		}
		require.NoError(t, db.Close())
		db, err = engine.Open(opts)
		require.NoError(t, err)
		require.True(t, db.Stats().Recovery.Clean)
		t.Logf("%+v", db.Stats())
		check()
	}
	require.NoError(t, db.Close())
}
