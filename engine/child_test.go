package engine_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
)

// Some conditions hold for a whole process: who it is, what is mounted, who else has the lock. Tests of them run a child of the
// test binary, which checks for itself and says what is wrong.
const childVariable = "SMALLDB_ENGINE_TEST_CHILD"

var children = map[string]func(dir string) error{
	"locked":        childLocked,
	"no permission": childWithoutPermission,
}

func TestMain(m *testing.M) {
	if name := os.Getenv(childVariable); name != "" {
		if err := children[name](os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // most of what the tests allocate is gone at once
	}
	os.Exit(m.Run())
}

// runChild runs a child on a directory.
func runChild(t *testing.T, name, dir string, attributes *syscall.SysProcAttr) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, dir)
	cmd.Env = append(os.Environ(), childVariable+"="+name)
	cmd.SysProcAttr = attributes
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func errorsIsAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

func TestOpenInAnotherProcess(t *testing.T) {
	opts := quiet(t)
	db, err := engine.Open(opts)
	require.NoError(t, err)
	defer db.Close()
	runChild(t, "locked", opts.Dir, nil)
	set(t, db, "k", "v")
}

func childLocked(dir string) error {
	_, err := engine.Open(engine.Options{Dir: dir})
	if !errors.Is(err, engine.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getppid())) {
		return fmt.Errorf("not locked by %d: %w", os.Getppid(), err)
	}
	return nil
}

func TestOpenWithoutPermission(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	root, err := os.MkdirTemp("", "permission") // t.TempDir is closed to others
	require.NoError(t, err)
	defer os.RemoveAll(root)
	require.NoError(t, os.Chmod(root, 0o755))
	opts := quiet(t)
	for _, mode := range []os.FileMode{0o700, 0o755} {
		opts.Dir = filepath.Join(root, fmt.Sprintf("%o", mode))
		db, err := engine.Open(opts)
		require.NoError(t, err)
		set(t, db, "k", "v")
		require.NoError(t, db.Close())
		require.NoError(t, os.Chmod(opts.Dir, mode))
	}
	require.NoError(t, os.Mkdir(filepath.Join(root, "empty"), 0o755))
	runChild(t, "no permission", root, nil)
	db, err := engine.Open(opts)
	require.NoError(t, err)
	requireValue(t, db, "k", "v")
	require.NoError(t, db.Close())
}

func childWithoutPermission(root string) error {
	const nobody = 65534
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
		return err
	}
	for _, name := range []string{"700", "755", "empty", "missing"} {
		_, err := engine.Open(engine.Options{Dir: filepath.Join(root, name), Create: true})
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), filepath.Join(root, name)) || strings.Contains(err.Error(), "\n") {
			return fmt.Errorf("%s: not one line about permission: %w", name, err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(root, "empty"))
	if err != nil || len(entries) > 0 {
		return fmt.Errorf("left %v: %w", entries, err)
	}
	return nil
}
