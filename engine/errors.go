package engine

import (
	"errors"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// Opening.
var (
	// ErrNoDatabase: the directory holds no database, and Options.Create was not set.
	ErrNoDatabase = errors.New("no database here")
	// ErrNotEmpty: the directory holds other files than a database's, so none is created in it.
	ErrNotEmpty = errors.New("directory is not empty and holds no database")
	// ErrLocked: another process has the directory open. The message names it.
	ErrLocked = mmapio.ErrLocked
	// ErrReference: the directory was written by the reference implementation, whose files this one
	// does not read. Convert it: smalldb migrate OLD NEW.
	ErrReference = errors.New("directory was written by the reference implementation")
	// ErrNotBackup: what Restore was given is no backup, or not a whole one.
	ErrNotBackup = errors.New("not a whole backup")
	// ErrCorrupt: stored bytes are provably damaged. The error is a
	// *format.CorruptionError, which names the file, the offset and the sequences.
	ErrCorrupt = format.ErrCorrupt
)

// Arguments.
var (
	// ErrKeyEmpty: a key has at least one byte.
	ErrKeyEmpty = errors.New("key is empty")
	// ErrKeyTooLarge: a key has at most format.MaxKeyLen bytes.
	ErrKeyTooLarge = errors.New("key is too large")
	// ErrValueTooLarge: a value, or a batch as a whole, is larger than the options allow.
	ErrValueTooLarge = errors.New("value is too large")
	// ErrDeadline: a deadline lies before 1970 or after the year 2262, and cannot be stored.
	ErrDeadline = errors.New("deadline is out of range")
)

// Writing.
var (
	// ErrClosed: the database was closed. Nothing was written.
	ErrClosed = errors.New("database is closed")
	// ErrIndeterminate: the operation was handed to the log and its outcome is not
	// known: it may be there after the next open, or not. It wraps the cause.
	ErrIndeterminate = errors.New("outcome unknown")
	// ErrPoisoned: an earlier write or sync of the log failed, so nothing is
	// acknowledged any more. Nothing was written. Reads go on; open the database again to write.
	ErrPoisoned = errors.New("log failed earlier, database is read-only until it is opened again")
	// ErrDiskFull: there is no room for the next log. Nothing was written. Reads go on, and
	// so do writes as soon as there is room.
	ErrDiskFull = errors.New("disk is full")
	// ErrFull: Options.MaxMemoryBytes is reached. Nothing was written. Reads and deletes go on. A checkpoint may make
	// room, and one is made as soon as it is worth it; try again later, or delete something.
	ErrFull = errors.New("memory limit is reached")
	// ErrConditionFailed: a condition of the batch does not hold. Nothing was written. The error
	// is a *ConditionError.
	ErrConditionFailed = errors.New("condition failed")
	// ErrConflict: others kept writing what a transaction had read, until Update gave up. Nothing was written.
	ErrConflict = errors.New("transaction conflicts with other writes")
)
