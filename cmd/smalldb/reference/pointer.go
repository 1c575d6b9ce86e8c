package reference

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/tongpengdl/small-db/format"
)

const versionName = "version"

// pendingNames are the spellings of the next version file. Where letter case does not matter they are one file.
var pendingNames = []string{"newVersion", "newversion"}

// resolve finds the generation that counts.
func (d *Directory) resolve(fsys fs.FS) error {
	current, currentErr := readPointer(fsys, versionName)
	if errors.Is(currentErr, ErrNotReference) {
		return currentErr
	}
	counts := "" // the newVersion that counts
	for _, name := range pendingNames {
		generation, err := readPointer(fsys, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = namesFiles(fsys, generation)
		}
		switch {
		case err == nil && counts != "" && generation != d.generation:
			return &format.CorruptionError{File: name, Offset: 0,
				Err: fmt.Errorf("%w: generation %d, but %s names %d", format.ErrField, generation, counts, d.generation)}
		case err == nil:
			counts, d.generation = name, generation
		case errors.Is(err, format.ErrField) || errors.Is(err, errUnnamed):
			d.drop(fsys, name, err)
		default:
			return err
		}
	}
	switch {
	case counts != "":
		return nil
	case errors.Is(currentErr, fs.ErrNotExist):
		return fmt.Errorf("%w: it has no version file that counts", ErrNotReference)
	case errors.Is(currentErr, format.ErrField):
		return &format.CorruptionError{File: versionName, Offset: 0, Err: currentErr}
	case currentErr != nil:
		return currentErr
	}
	d.generation = current
	return nil
}

// checkOthers looks at the files of other generations. Those of newer ones do not count, and that is noted. A version file that
// says 0 is also what a fresh start writes over the directory of another generation, so there it is not believed.
func (d *Directory) checkOthers(fsys fs.FS) error {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return err
	}
	hasLog := false
	var newer []fs.DirEntry
	var newest uint64
	for _, entry := range entries {
		generation, ok := generationOf(entry.Name())
		if !ok {
			continue
		}
		hasLog = hasLog || entry.Name() == format.LogName(d.generation)
		if generation > d.generation {
			newer, newest = append(newer, entry), max(newest, generation)
		}
	}
	// The switch from 0 to 1 leaves files of 1 when it is cut off, beside those of 0.
	if d.generation == 0 && len(newer) > 0 && (!hasLog || newest > 1) {
		return &format.CorruptionError{File: versionName, Offset: 0, Err: fmt.Errorf("%w: it says generation 0, but there are files of generation %d: "+
			"if they are the database, write %d and a newline into %s; if not, move them away; then migrate again", format.ErrField, newest, newest, versionName)}
	}
	for _, entry := range newer {
		d.drop(fsys, entry.Name(), fmt.Errorf("it is newer than generation %d, which counts", d.generation))
	}
	return nil
}

// generationOf is that of a checkpoint or a log.
func generationOf(name string) (uint64, bool) {
	if generation, ok := format.ParseCheckpointName(name); ok {
		return generation, true
	}
	if name == format.LogName(0) || name == format.CheckpointName(0) {
		return 0, true
	}
	return format.ParseLogName(name)
}

// drop notes a newVersion that does not count.
func (d *Directory) drop(fsys fs.FS, name string, why error) {
	dropped := Dropped{File: name, Err: why}
	if info, err := fs.Stat(fsys, name); err == nil {
		dropped.Bytes = info.Size()
	}
	d.dropped = append(d.dropped, dropped)
}

// maxPointerLen is more than a version file takes, ours included, in bytes.
const maxPointerLen = 256

// maxDigits is the length of the largest generation.
const maxDigits = 20

// readPointer reads a version file. One without a number in it is format.ErrField.
func readPointer(fsys fs.FS, name string) (uint64, error) {
	f, err := openFile(fsys, name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPointerLen))
	if err != nil {
		return 0, err
	}
	// Ours is binary, of whatever version and however damaged. No generation has this many digits.
	if _, err := format.DecodeVersionFile(b); len(b) > maxDigits && !errors.Is(err, format.ErrMagic) {
		return 0, fmt.Errorf("%s: %w: it is one of small-db itself, which opens it as it is", name, ErrNotReference)
	}
	generation, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %q is not a generation", format.ErrField, b[:min(len(b), 32)])
	}
	return generation, nil
}

// errUnnamed is a newVersion that names a missing file.
var errUnnamed = errors.New("the file it names is missing")

// namesFiles fails if checkpoint or log of the generation are missing.
func namesFiles(fsys fs.FS, generation uint64) error {
	for _, name := range []string{format.CheckpointName(generation), format.LogName(generation)} {
		_, err := fs.Stat(fsys, name)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %s", errUnnamed, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// file is an open file.
type file interface {
	fs.File
	io.ReaderAt
}

// openFile opens a regular file: opening a named pipe would wait for ever.
func openFile(fsys fs.FS, name string) (file, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	if whole, ok := f.(file); ok {
		return whole, nil
	}
	return nil, errors.Join(fmt.Errorf("%s cannot be read at an offset", name), f.Close())
}
