// Package reference reads data directories that the reference implementation wrote, for migration. It opens their files for
// reading only, creates none and takes no lock, so the source is left as it was. Stop the server that writes to it first:
// the reference locks nothing, and a directory that changes while it is read is refused.
//
// # What is read
//
// A directory has a version file with a decimal generation N and a newline, checkpoint.N with the whole state at some time,
// and logfile.N with the operations after that. Numbers are little-endian; the first generation is 0 and has no checkpoint.
//
//	logfile.N     for each operation: u32 length of payload | payload | u32 CRC-32 (IEEE) of payload
//	payload       u8 op (1 set, 2 delete) | u32 key length | u32 value length | key | value
//	checkpoint.N  "SMALLDB\0" | u32 version 1 | u64 generation | u32 count | count × (u32 key length | u32 value length | key | value)
//
// # Which generation counts
//
// The scheme is that of Birrell, Jones and Wobber, "A Simple and Efficient Implementation for Small Databases" (SOSP 1987):
// a switch to N+1 is committed once the file newVersion (the paper writes newversion; both spellings are read) is on
// the disk, and checkpoint and log of N+1 were before it. Then the old files and version are removed, and newVersion is
// renamed to version. So a newVersion that holds a number and names an existing checkpoint and log counts before version,
// which may be gone. Any other newVersion never was a commit point, or names what is lost, and version counts.
// Files of other generations are leftovers and are not read; Dropped notes the newer ones. Where generation 0 counts and files say that
// there were later ones, the version file is not believed.
//
// # Torn or damaged
//
// What a crash left of the last record is dropped, and Dropped says so: a record that runs beyond the file, or fails its
// checksum with no valid one after it. A bad record before a valid one is damage: a *format.CorruptionError, or with
// Options.AcceptDamage the end of what is read. A checkpoint has no checksums; one that does not parse, to its last byte, is damage
// in any case.
package reference

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/tongpengdl/small-db/format"
)

// ErrNotReference is what Open returns for a directory that the reference did not write.
var ErrNotReference = errors.New("not a data directory of the reference implementation")

// ErrChanged is what Open returns if the directory changed while it was read.
var ErrChanged = errors.New("the directory changed while it was read; stop the server that writes to it")

// Options say how a directory is read.
type Options struct {
	// AcceptDamage reads a log that is damaged in its middle up to the damage. What follows it is lost, and
	// Directory.Dropped says how much. Default: a *format.CorruptionError.
	AcceptDamage bool
	// Progress, if not nil, is called by Open now and then, with the bytes read so far and the bytes to read.
	Progress func(done, total int64)
}

// Directory is the state in a directory. It does not change; any number of goroutines may use it.
type Directory struct {
	generation uint64
	state      map[string][]byte
	keys       []string // of state, rising
	bytes      int64
	operations int64
	dropped    []Dropped
}

// Dropped is a part of the directory that does not count.
type Dropped struct {
	File   string // name within the directory
	Offset int64  // of the first byte that does not count
	Bytes  int64  // how many do not
	Damage bool   // valid records follow: operations that counted once may be among the bytes
	Err    error  // why
}

// String says what was dropped, and why.
func (d Dropped) String() string {
	return fmt.Sprintf("%s: %d bytes from offset %d dropped: %v", d.File, d.Bytes, d.Offset, d.Err)
}

// Open reads the directory at path whole into memory: it takes that of all keys and values. Further errors than those of
// the file system: ErrNotReference, a *format.CorruptionError, format.ErrVersion for a file of a newer format, a *LimitError for what our
// format has no room for, ErrChanged, and that of ctx.
func Open(ctx context.Context, path string, opts Options) (*Directory, error) {
	d, err := OpenFS(ctx, os.DirFS(path), opts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

// OpenFS is Open for a directory in whatever file system, whose files must be io.ReaderAt.
func OpenFS(ctx context.Context, fsys fs.FS, opts Options) (*Directory, error) {
	d := &Directory{state: map[string][]byte{}}
	before, err := stampsOf(fsys)
	if err != nil {
		return nil, err
	}
	if err = d.resolve(fsys); err == nil {
		err = d.checkOthers(fsys)
	}
	if err == nil {
		l := &loader{ctx: ctx, fsys: fsys, opts: opts, d: d}
		err = l.load()
	}
	if after, stampErr := stampsOf(fsys); stampErr == nil && !maps.Equal(before, after) {
		return nil, ErrChanged // which explains err, if there is one
	}
	if err != nil {
		return nil, err
	}
	d.keys = slices.Sorted(maps.Keys(d.state))
	if err := d.checkLimits(); err != nil {
		return nil, err
	}
	return d, nil
}

// Generation is the N that was read.
func (d *Directory) Generation() uint64 { return d.generation }

// Keys is the number of keys.
func (d *Directory) Keys() int { return len(d.keys) }

// Bytes is the length of all keys and values, in bytes.
func (d *Directory) Bytes() int64 { return d.bytes }

// Operations is the number of operations that the log added to the checkpoint.
func (d *Directory) Operations() int64 { return d.operations }

// Dropped is what does not count, in the order in which it was met. It must not be changed.
func (d *Directory) Dropped() []Dropped { return d.dropped }

// Each calls f for each key in order (bytes.Compare) until it fails, and returns its error, or that of ctx. f must not
// change or keep what it is given.
func (d *Directory) Each(ctx context.Context, f func(key, value []byte) error) error {
	var key []byte
	for _, k := range d.keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		key = append(key[:0], k...)
		if err := f(key, d.state[k]); err != nil {
			return err
		}
	}
	return nil
}

// LimitError names a key that our format has no room for: a key is 1 to format.MaxKeyLen bytes, a value up to
// format.MaxValueLen.
type LimitError struct {
	Key      string
	ValueLen int // in bytes
	More     int // further such keys
}

// Error names the key, or its beginning, and says what to do.
func (e *LimitError) Error() string {
	const shown = 64
	name := fmt.Sprintf("%q", e.Key)
	if len(e.Key) > shown {
		name = fmt.Sprintf("%q...", e.Key[:shown])
	}
	s := fmt.Sprintf("key %s has %d bytes (allowed are 1 to %d)", name, len(e.Key), format.MaxKeyLen)
	if e.ValueLen > format.MaxValueLen {
		s = fmt.Sprintf("key %s has a value of %d bytes (allowed are %d)", name, e.ValueLen, format.MaxValueLen)
	}
	if e.More > 0 {
		s += fmt.Sprintf(", and there are %d more such keys", e.More)
	}
	return s + ": delete it with the reference implementation and migrate again"
}

// checkLimits looks at the final state alone: what was replaced or deleted since does no harm.
func (d *Directory) checkLimits() error {
	var first *LimitError
	for _, key := range d.keys {
		value := d.state[key]
		d.bytes += int64(len(key)) + int64(len(value))
		if len(key) >= 1 && len(key) <= format.MaxKeyLen && len(value) <= format.MaxValueLen {
			continue
		}
		if first == nil {
			first = &LimitError{Key: key, ValueLen: len(value)}
		} else {
			first.More++
		}
	}
	if first != nil {
		return first
	}
	return nil
}

// stamp tells whether a file has changed.
type stamp struct{ size, modified int64 } // in bytes; in ns

// stampsOf returns the stamps of all files that are the reference's by their names.
func stampsOf(fsys fs.FS) (map[string]stamp, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, err
	}
	stamps := map[string]stamp{}
	for _, entry := range entries {
		name, _, _ := strings.Cut(entry.Name(), ".")
		if name != "checkpoint" && name != "logfile" && name != versionName && !slices.Contains(pendingNames, name) {
			continue
		}
		info, err := fs.Stat(fsys, entry.Name())
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile, or a link to nowhere
			continue
		}
		if err != nil {
			return nil, err
		}
		stamps[entry.Name()] = stamp{info.Size(), info.ModTime().UnixNano()}
	}
	return stamps, nil
}
