package mmapio

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Mode says how a file is opened.
type Mode int

// The modes.
const (
	Read         Mode = iota // for reading, through the page cache
	ReadAround               // for reading around the page cache (O_DIRECT): aligned offsets, lengths and buffers only
	Write                    // for reading and writing; durable after Sync
	WriteDurable             // as Write, with O_DSYNC: durable when WriteAt returns
)

// Permissions of what this package creates.
const (
	filePerm = 0o600
	dirPerm  = 0o700
)

// ErrLocked is what Lock returns while another process holds the directory.
var ErrLocked = errors.New("directory is in use by another process")

// Dir is an open directory. Names are names in it, never paths. All
// methods may be called concurrently.
type Dir interface {
	// Path is where the directory was opened.
	Path() string
	// Names lists the directory, sorted.
	Names() ([]string, error)
	// Open opens an existing file. A missing one is fs.ErrNotExist.
	Open(name string, mode Mode) (File, error)
	// Create makes a file that must not exist (fs.ErrExist) and opens it for Write.
	Create(name string) (File, error)
	// Rename gives a file a new name, atomically, in place of what had that name.
	Rename(oldName, newName string) error
	// Remove removes a name. A missing one is fs.ErrNotExist. It may take its time over a large file that nobody else has open.
	Remove(name string) error
	// Sync makes all creations, renames and removals so far durable.
	Sync() error
	// Lock takes the exclusive lock of the directory by its file name, until Close. It fails at once with ErrLocked.
	Lock(name string) error
	// Close releases the lock and the directory. Files that are open stay open.
	Close() error
}

// osDir is the Dir of the operating system.
type osDir struct {
	path string
	dir  *os.File  // for Sync
	lock io.Closer // nil without the lock; touched by Lock and Close only
}

// OpenDir opens a directory. With create it is made first if it does not exist, and
// its own name made durable in its parent.
func OpenDir(path string, create bool) (Dir, error) {
	path, err := filepath.Abs(path) // the working directory may change
	if err != nil {
		return nil, err
	}
	if create {
		if err := makeDir(path); err != nil {
			return nil, err
		}
	}
	d, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &osDir{path: path, dir: d}, nil
}

func makeDir(path string) error {
	err := os.Mkdir(path, dirPerm)
	if err == nil {
		return syncParent(path)
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	// An empty directory may be what a process left that was killed right here, before
	// the sync. Somebody else's parent need not be readable.
	if entries, err := os.ReadDir(path); err != nil || len(entries) > 0 {
		return nil // OpenDir will say what is wrong with it
	}
	if err := syncParent(path); !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

func syncParent(path string) error {
	parent, err := os.Open(filepath.Dir(filepath.Clean(path)))
	if err != nil {
		return err
	}
	defer parent.Close()
	return parent.Sync()
}

func (d *osDir) Path() string { return d.path }

func (d *osDir) Names() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	slices.Sort(names)
	return names, nil
}

func (d *osDir) Open(name string, mode Mode) (File, error) {
	flags := os.O_RDONLY
	switch mode {
	case ReadAround:
		flags |= directFlag
	case Write:
		flags = os.O_RDWR
	case WriteDurable:
		flags = os.O_RDWR | durableFlag
	}
	return d.openFile(name, flags)
}

func (d *osDir) Create(name string) (File, error) {
	return d.openFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (d *osDir) openFile(name string, flags int) (File, error) {
	f, err := os.OpenFile(filepath.Join(d.path, name), flags|unix.O_NOFOLLOW, filePerm)
	if err != nil {
		return nil, err
	}
	return &osFile{name: name, f: f}, nil
}

func (d *osDir) Rename(oldName, newName string) error {
	return os.Rename(filepath.Join(d.path, oldName), filepath.Join(d.path, newName))
}

func (d *osDir) Remove(name string) error { return remove(filepath.Join(d.path, name)) }

func (d *osDir) Sync() error {
	if err := d.dir.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

func (d *osDir) Lock(name string) error {
	f, err := os.OpenFile(filepath.Join(d.path, name), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, filePerm)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return &fs.PathError{Op: "flock", Path: f.Name(), Err: err}
		}
		return fmt.Errorf("%w: %s is held by %s", ErrLocked, d.path, lockHolder(f))
	}
	d.lock = lockFile{f}
	// What the file says is for the error message of the next process only: the
	// lock is what counts, so a full disk does not matter here.
	_ = f.Truncate(0)
	_, _ = fmt.Fprintf(f, "pid %d, since %s\n", os.Getpid(), time.Now().UTC().Format(time.RFC3339))
	return nil
}

// lockHolder reads from the lock file who wrote it last.
func lockHolder(f *os.File) string {
	buf := make([]byte, 128)
	n, _ := f.ReadAt(buf, 0)
	if line, _, ok := strings.Cut(string(buf[:n]), "\n"); ok && strings.HasPrefix(line, "pid ") {
		return line
	}
	return "an unknown process"
}

func (d *osDir) Close() error {
	var err error
	if d.lock != nil {
		err = d.lock.Close()
		d.lock = nil
	}
	return errors.Join(err, d.dir.Close())
}
