package format

import (
	"errors"
	"fmt"
)

// What can be wrong with bytes. Each check of a layout fails with one of
// these, wrapped with the place and the values; they work with errors.Is.
var (
	// ErrMagic: these bytes are not what the caller takes them for.
	ErrMagic = errors.New("wrong magic number")
	// ErrVersion: a newer release than this one wrote them.
	ErrVersion = errors.New("unsupported format version")
	// ErrChecksum: they were written as such and have changed since, or were never wholly written.
	ErrChecksum = errors.New("checksum mismatch")
	// ErrLength: a length reaches past a limit or past the bytes at hand.
	ErrLength = errors.New("length out of bounds")
	// ErrField: a field holds a value that no writer of this format writes.
	ErrField = errors.New("invalid field")
)

// ErrCorrupt is what every *CorruptionError is, for errors.Is.
var ErrCorrupt = errors.New("corrupt data")

// CorruptionError names the place where stored bytes are provably damaged.
type CorruptionError struct {
	File   string // name within the data directory
	Offset int64  // of the damaged structure in File, in bytes; -1 if the file as a whole is meant
	// FirstSeq and LastSeq bound the operations that cannot be read because of
	// the damage. Both are 0 if no operation is known to be affected; LastSeq alone is 0 if
	// the range is open.
	FirstSeq, LastSeq uint64
	Err               error // what is wrong: wraps one of the sentinels above where a check failed
}

// Error says what is damaged, where, and which operations it concerns.
func (e *CorruptionError) Error() string {
	s := fmt.Sprintf("%s: corrupt", e.File)
	if e.Offset >= 0 {
		s = fmt.Sprintf("%s at offset %d", s, e.Offset)
	}
	switch {
	case e.FirstSeq != 0 && e.LastSeq != 0:
		s = fmt.Sprintf("%s (sequences %d to %d)", s, e.FirstSeq, e.LastSeq)
	case e.FirstSeq != 0:
		s = fmt.Sprintf("%s (sequences from %d)", s, e.FirstSeq)
	}
	return fmt.Sprintf("%s: %v", s, e.Err)
}

// Unwrap returns what is wrong with the bytes.
func (e *CorruptionError) Unwrap() error { return e.Err }

// Is reports whether target is ErrCorrupt.
func (e *CorruptionError) Is(target error) bool { return target == ErrCorrupt }
