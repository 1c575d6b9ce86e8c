package engine_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
)

// TestFindings: what is found of the keys of a large group while it is being written holds when the group is entered, whatever the group itself does to them: keys
// that come several times, that are set and deleted, that are in the base, in what a checkpoint has frozen and nowhere yet, and so many new ones that the index
// grows. Checkpoints begin and end meanwhile.
func TestFindings(t *testing.T) {
	t.Parallel()
	opts := quiet(t)
	opts.LogFileBytes = 4 << 20
	db := enginetest.Open(t, opts)
	var checkpoints sync.WaitGroup
	stop := make(chan struct{})
	checkpoints.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := db.Checkpoint(ctx); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	defer checkpoints.Wait()
	defer func() { close(stop) }()

	rng := rand.New(rand.NewPCG(enginetest.Seed(t, 1), 0))
	model := map[string]string{}
	for round := range 300 * enginetest.Times(1, 10) {
		of := 40 << rng.IntN(12) // keys to choose from: sometimes each comes many times, sometimes nearly all are new
		applyRandom(t, db, model, rng, 24+rng.IntN(1000), of)
		require.EqualValues(t, len(model), db.Stats().Keys, "after round %d", round)
	}
	snapshot := db.Snapshot()
	seen := 0
	for key, value := range snapshot.Scan(nil, nil) {
		require.Equal(t, model[string(key)], string(value), "%s", key)
		seen++
	}
	require.NoError(t, snapshot.Err())
	require.Len(t, model, seen)
	for key, want := range model {
		requireValue(t, db, key, want)
	}
	require.Greater(t, db.Stats().Keys, uint64(10_000))
}

// TestLargeGroupOverCutCheckpoint: a group whose keys are looked up together goes on over a checkpoint that was cut short: what it sets can be read, before and after
// the file is back.
func TestLargeGroupOverCutCheckpoint(t *testing.T) {
	const keys = 4000
	opts := quiet(t)
	opts.Dir = inMemory(t)
	db, err := engine.Open(opts)
	require.NoError(t, err)
	group := func(from, to int, value string) {
		var b engine.Batch
		for i := from; i < to; i++ {
			b.Set([]byte(strconv.Itoa(i)), []byte(value))
		}
		_, err := db.Apply(ctx, &b)
		require.NoError(t, err)
	}
	group(0, keys, string(bytesOf("v", 100)))
	require.NoError(t, db.Checkpoint(ctx))
	checkpoints, err := filepath.Glob(filepath.Join(opts.Dir, "checkpoint.*"))
	require.NoError(t, err)
	intact := files(t, opts.Dir)
	for _, name := range checkpoints {
		require.NoError(t, os.Truncate(name, format.BlockSize))
	}

	for i := 0; i < keys; i += 100 {
		group(i, i+100, "new")
	}
	for i := range keys {
		requireValue(t, db, strconv.Itoa(i), "new")
	}
	require.NoError(t, db.Close())
	for _, name := range checkpoints {
		require.NoError(t, os.WriteFile(name, intact[filepath.Base(name)], 0o600))
	}
	db = enginetest.Open(t, opts)
	for i := range keys {
		requireValue(t, db, strconv.Itoa(i), "new")
	}
	require.EqualValues(t, keys, db.Stats().Keys)
}

// applyRandom sets and deletes keys of so many in one batch of n operations, in db and in model.
func applyRandom(t *testing.T, db *engine.DB, model map[string]string, rng *rand.Rand, n, keys int) {
	var b engine.Batch
	for range n {
		key := strconv.Itoa(rng.IntN(keys))
		if rng.IntN(3) == 0 {
			b.Delete([]byte(key))
			delete(model, key)
			continue
		}
		value := strconv.FormatUint(rng.Uint64(), 36)
		b.Set([]byte(key), []byte(value))
		model[key] = value
	}
	_, err := db.Apply(ctx, &b)
	require.NoError(t, err)
}
