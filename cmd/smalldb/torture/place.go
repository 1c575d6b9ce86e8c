package torture

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tongpengdl/small-db/mmapio"
)

// ErrForeign: the directory holds files that no torture has made. Nothing was touched.
var ErrForeign = errors.New("it must be missing, empty, or left by an earlier torture, and holds another file")

// Names in the directory. There is nothing else in it, but what a file system puts there.
const (
	markerName = "smalldb-torture" // locked while a torture runs there
	runPrefix  = "run-"
	lostFound  = "lost+found"
)

// place is a directory that one torture has to itself.
type place struct {
	dir  mmapio.Dir
	run  string // the directory of this run
	path string
	made bool // the directory was missing
}

// occupy takes a directory, and removes what earlier runs have left there, but for evidence.
func occupy(path string, seed uint64) (*place, error) {
	_, err := os.Stat(path)
	p := &place{path: path, made: errors.Is(err, fs.ErrNotExist)}
	if err != nil && !p.made {
		return nil, err
	}
	if !p.made {
		if err := refuseForeign(path); err != nil {
			return nil, err
		}
	}
	if p.dir, err = mmapio.OpenDir(path, true); err != nil {
		return nil, err
	}
	if err := p.dir.Lock(markerName); err != nil {
		return nil, errors.Join(err, p.dir.Close())
	}
	if err := p.begin(seed); err != nil {
		return nil, errors.Join(err, p.dir.Close())
	}
	return p, nil
}

// refuseForeign refuses a directory with files of somebody else.
func refuseForeign(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	marker, err := os.Lstat(filepath.Join(path, markerName))
	marked := err == nil && marker.Mode().IsRegular()
	for _, e := range entries {
		name := e.Name()
		ours := marked && (name == markerName || strings.HasPrefix(name, runPrefix) && e.IsDir())
		if !ours && name != lostFound {
			return fmt.Errorf("%s: %w: %s", path, ErrForeign, name)
		}
	}
	return nil
}

// begin makes the directory of this run.
func (p *place) begin(seed uint64) error {
	old, err := filepath.Glob(filepath.Join(p.path, runPrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range old {
		if _, err := os.Lstat(filepath.Join(dir, violationName)); err == nil {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	p.run, err = os.MkdirTemp(p.path, fmt.Sprintf("%s%d-", runPrefix, seed))
	return err
}

// leave removes what the run has made.
func (p *place) leave() error {
	if err := os.RemoveAll(p.run); err != nil {
		return err
	}
	if kept, err := filepath.Glob(filepath.Join(p.path, runPrefix+"*")); err != nil || len(kept) > 0 {
		return err
	}
	if err := p.dir.Remove(markerName); err != nil {
		return err
	}
	if p.made {
		_ = os.Remove(p.path) // with a file that somebody has put there it stays
	}
	return nil
}

func (p *place) close() { _ = p.dir.Close() }
