// Package enginetest opens databases in tests and checks what a test leaves behind.
package enginetest

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
)

// owners holds, for each directory, the database that was opened there last.
var owners sync.Map

// Open opens a database: in opts.Dir or, if that is not set, in a new temporary directory, with Create. When
// the test ends it closes the database, if the test has not, and unless another one was opened in its directory since,
// opens it again without opts.OpenDir, and checks that it recovers to the same keys
// and version and that all its files are whole. After a failure (engine.ErrPoisoned) only that it recovers.
// Nothing is checked after a test that failed.
func Open(t testing.TB, opts engine.Options) *engine.DB {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir, opts.Create = t.TempDir(), true
	}
	db, err := engine.Open(opts)
	require.NoError(t, err)
	owners.Store(opts.Dir, db)
	t.Cleanup(func() { leave(t, opts, db) })
	return db
}

func leave(t testing.TB, opts engine.Options, db *engine.DB) {
	err := db.Close()
	if t.Failed() || !owners.CompareAndDelete(opts.Dir, db) {
		return
	}
	before := db.Stats()
	if before.Failure == nil {
		assert.NoError(t, err, "close")
	} else {
		assert.ErrorIs(t, err, engine.ErrPoisoned, "close")
	}

	opts.Create, opts.OpenDir, opts.DisableBackgroundCheckpoint = false, nil, true
	again, err := engine.Open(opts)
	if !assert.NoError(t, err, "open what the test left behind") {
		return
	}
	if before.Failure == nil {
		after := again.Stats()
		assert.True(t, after.Recovery.Clean, "closed cleanly")
		assert.Empty(t, after.Recovery.Repaired)
		assert.Equal(t, before.Keys, after.Keys, "keys after opening again")
		assert.Equal(t, before.Version, after.Version, "version after opening again")
		assert.Equal(t, before.Generation, after.Generation, "generation after opening again")
	}
	assert.NoError(t, again.Close())
	CheckFiles(t, opts.Dir)
}
