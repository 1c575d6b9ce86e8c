// Package inspect looks at the files of a data directory without a database: Check verifies all of them and says what is damaged
// and what follows from it, DumpLog and DumpCheckpoint show what is in one, damaged or not, and Repair makes a backup of all that
// is intact in a damaged directory.
//
// It writes nothing and needs no permission to. It shares the byte layouts (package format) and the verification of a whole checkpoint
// (package ckpt) with the engine, and nothing of its recovery: logs are read by a walker of its own,
// which goes on behind damage. So it is a second opinion.
//
// Files are read around the page cache where the file system allows it, so that the disk is judged and not a copy in memory.
//
// # What cannot be found
//
// Nothing proves that these bytes have changed, or that they were ever others:
//
//   - the last frame, and a trailer, at the end of a newest log that was not closed: rot there looks like a write that a stop cut off;
//   - rot of the trailer of the newest log: the log then looks as if it had not been closed (Report.Clean says so);
//   - the trailer of a log whose successor is there: only the successor's absence would make it matter;
//   - the removal of the newest log if the log before it does not name it, and a newest log put back as it was earlier;
//   - the rest of a log after its end, the spare log, LOCK: no state needs them.
//
// Bytes between a frame and the next one are written as zeros and protect nothing; others there are a note.
package inspect
