package torture

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tongpengdl/small-db/mmapio"
)

// ErrRemoved: the directory was removed, or replaced, while the torture ran. What was found in it proves nothing.
var ErrRemoved = errors.New("the directory was removed while the torture ran in it: nothing is proven")

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

	marker, began fs.FileInfo // of the marker and of the directory of this run, when it began
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
		ours := marked && (name == markerName || isRun(e))
		if !ours && name != lostFound {
			return fmt.Errorf("%s: %w: %s", path, ErrForeign, name)
		}
	}
	return nil
}

// isRun reports whether an entry is the directory of a run: begin gives it the seed and a number.
func isRun(e fs.DirEntry) bool {
	name, ok := strings.CutPrefix(e.Name(), runPrefix)
	seed, number, cut := strings.Cut(name, "-")
	_, seedErr := strconv.ParseUint(seed, 10, 64)
	_, numberErr := strconv.ParseUint(number, 10, 64)
	return ok && cut && seedErr == nil && numberErr == nil && e.IsDir()
}

// runs are the paths of the directories of all runs that are there.
func (p *place) runs() ([]string, error) {
	entries, err := os.ReadDir(p.path)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if isRun(e) {
			out = append(out, filepath.Join(p.path, e.Name()))
		}
	}
	return out, nil
}

// begin makes the directory of this run.
func (p *place) begin(seed uint64) error {
	old, err := p.runs()
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
	if p.run, err = os.MkdirTemp(p.path, fmt.Sprintf("%s%d-", runPrefix, seed)); err != nil {
		return err
	}
	p.marker, err = os.Lstat(filepath.Join(p.path, markerName))
	if err == nil {
		p.began, err = os.Lstat(p.run)
	}
	return err
}

// intact returns ErrRemoved unless the marker that was locked and the directory of this run are there still.
func (p *place) intact() error {
	marker, markerErr := os.Lstat(filepath.Join(p.path, markerName))
	run, runErr := os.Lstat(p.run)
	if markerErr != nil || runErr != nil || !os.SameFile(marker, p.marker) || !os.SameFile(run, p.began) {
		return fmt.Errorf("%s: %w", p.path, ErrRemoved)
	}
	return nil
}

// leave removes what the run has made.
func (p *place) leave() error {
	if err := os.RemoveAll(p.run); err != nil {
		return err
	}
	if kept, err := p.runs(); err != nil || len(kept) > 0 {
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
