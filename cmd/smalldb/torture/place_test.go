package torture_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/cmd/smalldb/torture"
)

// comeAndGo takes a directory and gives it back at once.
func comeAndGo(t *testing.T, dir string) error {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := torture.Run(ctx, torture.Options{Dir: dir, Seed: 1})
	require.Error(t, err) // nothing was proven
	return err
}

// put makes a file, and the directories that it is in.
func put(t *testing.T, path ...string) string {
	name := filepath.Join(path...)
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
	require.NoError(t, os.WriteFile(name, []byte("mine"), 0o600))
	return name
}

// TestPlacePattern: the name of the directory is a name and no pattern, that another directory could match.
func TestPlacePattern(t *testing.T) {
	for _, name := range []string{"x[12]", "x*", "x?", `x\1`, "x["} {
		parent := t.TempDir()
		beside := put(t, parent, "x1", "run-1-1", "file")
		results := put(t, parent, "x1", "run-results", "file")
		dir := filepath.Join(parent, name)
		require.ErrorIs(t, comeAndGo(t, dir), context.Canceled)
		assert.FileExists(t, beside, name)
		assert.FileExists(t, results, name)
		assert.NoDirExists(t, dir, name)

		old := put(t, dir, "run-3-4", "file")
		put(t, dir, "smalldb-torture")
		require.ErrorIs(t, comeAndGo(t, dir), context.Canceled)
		assert.NoFileExists(t, old, name)
		assert.FileExists(t, beside, name)
		assert.NoFileExists(t, filepath.Join(dir, "smalldb-torture"), name)
	}
}

// TestPlaceForeign: only what has exactly the name of a run is one, though an earlier torture was here.
func TestPlaceForeign(t *testing.T) {
	for _, name := range []string{"run-notes", "run-1", "run-1-", "run--1", "run-1-2-3", "run-1-x", "run-+1-2", "run-1-2.old", "runs", "RUN-1-2"} {
		dir := t.TempDir()
		put(t, dir, "smalldb-torture")
		mine, old := put(t, dir, name, "file"), put(t, dir, "run-1-2", "file")
		require.ErrorIs(t, comeAndGo(t, dir), torture.ErrForeign, name)
		assert.FileExists(t, mine)
		assert.FileExists(t, old)
	}
	dir := t.TempDir()
	put(t, dir, "smalldb-torture")
	mine := put(t, dir, "run-1-2") // a file
	require.ErrorIs(t, comeAndGo(t, dir), torture.ErrForeign)
	assert.FileExists(t, mine)
	link := filepath.Join(dir, "run-3-4")
	require.NoError(t, os.Remove(mine))
	elsewhere := put(t, t.TempDir(), "file")
	require.NoError(t, os.Symlink(filepath.Dir(elsewhere), link))
	require.ErrorIs(t, comeAndGo(t, dir), torture.ErrForeign)
	assert.FileExists(t, elsewhere)
}

// TestPlaceRemoved: a directory that somebody removes while a torture runs in it is no broken promise.
func TestPlaceRemoved(t *testing.T) {
	for name, remove := range map[string]func(dir string) error{
		"all of it":  os.RemoveAll,
		"the marker": func(dir string) error { return os.Remove(filepath.Join(dir, "smalldb-torture")) },
		"replaced": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "smalldb-torture"), nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := options(t, "none")
			opts.For = time.Second
			opts.Progress = func(checked int64, _ time.Duration) {
				if checked == 1 {
					assert.NoError(t, remove(opts.Dir))
				}
			}
			if name != "all of it" { // a violation as well, which may be found before anything is judged to hold
				opts.For, opts.Progress = time.Minute, nil
				lies := options(t, "loses a write").Child
				removed := false
				opts.Child = func() (*exec.Cmd, error) {
					if !removed {
						assert.NoError(t, remove(opts.Dir))
						removed = true
					}
					return lies()
				}
			}
			r, err := torture.Run(t.Context(), opts)
			require.ErrorIs(t, err, torture.ErrRemoved)
			assert.Empty(t, r.Violation)
			assert.False(t, r.Held)
			if name == "replaced" {
				assert.FileExists(t, filepath.Join(opts.Dir, "smalldb-torture"), "it is not that of this torture")
			}
		})
	}
}

// TestEvidenceFirst: what keeps a directory from being removed is written before what may find no room.
func TestEvidenceFirst(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "events.ndjson"), 0o700))
	require.Error(t, torture.WriteEvidence(dir))
	assert.FileExists(t, filepath.Join(dir, "violation.json"))
}
