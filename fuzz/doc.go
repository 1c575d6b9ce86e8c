// Package fuzz holds the fuzz targets of small-db: whatever it reads, it reads from bytes that may be hostile or damaged.
//
//	FuzzRecord       the record of an operation in a log
//	FuzzEntry        the record of a key in a checkpoint
//	FuzzFrame        a frame: header, payload, trailer
//	FuzzVersionFile  the version file, and the other structures of a fixed size
//	FuzzLog          the log reader over whole files that were damaged
//	FuzzCheckpoint   the checkpoint reader and its verifier over whole files that were damaged
//	FuzzRequest      the body of a PUT, and any key in a request and its answer
//	FuzzReference    directories of the reference implementation that were damaged
//
// The targets for the lines of an export and for the footer of a checkpoint lie beside their code, in http and format.
//
// # What they hold
//
// Nothing panics. What is allocated is bounded by the size of the input. What is encoded decodes to the same, and what
// decodes encodes to the same bytes. A damaged file never gives an operation that was not written.
//
// Random bytes do not get past a checksum. So the targets for structures try each input twice: as it is, and with its
// checksums made right. Those for files take a script, which says what is written, and its damage, which says what happens to the file then;
// a damaged log or checkpoint may have its checksums made right, too.
//
// # How to run them
//
// The tests run the seeds. One target at a time runs for long, and stops at its first finding:
//
//	go test -run '^$' -fuzz '^FuzzLog$' -fuzztime 1h ./fuzz
//
// A finding is written to testdata/fuzz and is a seed from then on: it is committed with what mends it.
package fuzz
