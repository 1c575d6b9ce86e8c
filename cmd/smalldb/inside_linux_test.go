package main_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"

	smalldb "github.com/tongpengdl/small-db/cmd/smalldb"
)

// TestInsideMounted: also where a directory is mounted in a second place.
func TestInsideMounted(t *testing.T) {
	dir := t.TempDir()
	mounted := t.TempDir()
	if err := unix.Mount(dir, mounted, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("this process may not mount: %v", err)
	}
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(mounted, 0)) })
	assert.True(t, smalldb.IsInside(filepath.Join(mounted, "new"), dir))
	assert.True(t, smalldb.IsInside(filepath.Join(dir, "new"), mounted))
}
