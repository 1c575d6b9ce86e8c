package engine_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine/enginetest"
)

// TestReplayOfFewKeys: replay looks up the keys of some records while it enters those before. What it has found of a key holds when
// that is entered, however often the key comes, in batches side by side too, and while the index grows.
func TestReplayOfFewKeys(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(enginetest.Seed(t, 1), 0))
	for keys, rounds := range map[int]int{1: 30, 40: 30, 1000: 300, 50_000: 30} {
		opts := quiet(t)
		db := enginetest.Open(t, opts)
		model := map[string]string{}
		for round := range rounds * enginetest.Times(1, 10) {
			if round == 5 {
				require.NoError(t, db.Checkpoint(ctx)) // some are in the base
			}
			applyRandom(t, db, model, rng, 1+rng.IntN(2000), keys)
		}
		db = killed(t, db, opts)
		require.NotZero(t, db.Stats().Recovery.Operations)
		require.EqualValues(t, len(model), db.Stats().Keys, "%d keys", keys)
		for key, value := range model {
			got, ok, err := db.Get([]byte(key))
			require.NoError(t, err)
			require.True(t, ok, key)
			require.Equal(t, value, string(got), key)
		}
	}
}
