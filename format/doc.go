// Package format defines every byte small-db stores: the magics, versions and
// limits, the layout of log files, checkpoints and the version file, and the
// checksums that guard them. It encodes, decodes and validates; it does no I/O.
//
// FORMAT.md, beside this file, is the specification, byte by byte, with one
// real log file and one real checkpoint as annotated dumps. A test rebuilds both,
// so that the page and this code cannot part.
//
// # Words
//
// These words mean the same thing in the code, the flags, the errors and the docs.
//
//   - operation: one set or one delete
//   - batch: operations that are applied atomically
//   - record: the bytes of one operation
//   - group: the batches that one durable write commits
//   - frame: the bytes of a group in a log file
//   - sequence (seq): a uint64, one per operation, contiguous, the first is 1
//   - epoch: a uint64 raised at each change of who may acknowledge
//   - log: the file logfile.N
//   - checkpoint: the file checkpoint.N
//   - segment: a checksummed part of a checkpoint
//   - generation: the N of a log or a checkpoint
//   - position: where a history stands: epoch, seq, index, time, chain
//   - tail: the end of the newest log
//   - base: the mapped checkpoint
//   - delta: the index over the logs after the base
//
// # Conventions
//
// All integers are little-endian. Every structure is checked in the same
// order: magic, then version, then checksum, then the values of its fields; each
// failure has its own sentinel error. A length is compared with its
// limit, as an unsigned number, before anything is allocated or sliced.
package format
