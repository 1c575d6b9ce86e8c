package engine_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
)

// TestFilesCutUnderReaders makes mapped files shorter while they are read: reads fail with the place, the
// process lives, and what can still be read is right.
func TestFilesCutUnderReaders(t *testing.T) {
	const keys = 2000
	for _, victim := range []string{"checkpoint.", "logfile."} {
		t.Run(victim, func(t *testing.T) {
			dir := t.TempDir()
			db, err := engine.Open(engine.Options{Dir: dir, Create: true, DisableBackgroundCheckpoint: true, Sync: engine.SyncNone})
			require.NoError(t, err)
			value := func(i int) string { return strings.Repeat(fmt.Sprintf("value-%d.", i), 50) }
			var b engine.Batch
			for i := range keys {
				b.Set([]byte(fmt.Sprint(i)), []byte(value(i)))
			}
			_, err = db.Apply(ctx, &b)
			require.NoError(t, err)
			if victim == "checkpoint." {
				require.NoError(t, db.Checkpoint(ctx))
			}
			files, err := filepath.Glob(filepath.Join(dir, victim+"*"))
			require.NoError(t, err)
			for _, f := range files {
				require.NoError(t, os.Truncate(f, 64<<10))
			}
			var wg sync.WaitGroup
			var mu sync.Mutex
			failed := 0
			for range 4 {
				wg.Add(1)
				go func() {
					defer wg.Done()
					for i := range keys {
						got, ok, err := db.Get([]byte(fmt.Sprint(i)))
						if err == nil {
							if !ok || string(got) != value(i) {
								t.Errorf("key %d is %.20q, %v", i, got, ok)
							}
							continue
						}
						var place *format.CorruptionError
						if !(errors.As(err, &place) && strings.HasPrefix(place.File, victim) && place.Offset >= 64<<10-4096) || ok {
							t.Errorf("key %d: %v, %v", i, ok, err)
						}
						_, err = db.View([]byte(fmt.Sprint(i)), func([]byte) error { return nil })
						if err == nil {
							t.Errorf("key %d can be viewed but not got", i)
						}
						mu.Lock()
						failed++
						mu.Unlock()
					}
				}()
			}
			wg.Wait()
			require.Greater(t, failed, keys)
			require.ErrorIs(t, db.Stats().Damage, engine.ErrCorrupt)
			_, err = db.Set(ctx, []byte("after"), nil)
			if victim == "checkpoint." {
				require.NoError(t, err, "the log is well")
			}
			db.Close()
		})
	}
}
