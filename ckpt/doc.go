// Package ckpt builds a checkpoint in one sequential pass, into a file or a stream, maps
// a file of it, and finds and walks its records in place, in either direction.
//
// It knows bytes and keys. What a generation means, when a checkpoint is due and
// how its file gets its name is the business of the caller.
//
// # What is verified, and when
//
// Open verifies the header, the footer, the segment directory and the epochs, so it takes
// the same time whatever the size of the checkpoint. From then on every read verifies
// the bytes that its answer rests on, each time: the bucket of the hash index, the
// block of the ordered index or of the deadlines, the record. So a key is only called absent on
// the word of verified bytes, and damage that comes later is found as well. Verify reads everything.
//
// Damage is reported as a *format.CorruptionError that names the file and the offset.
//
// # Mapped memory
//
// What a Reader and its Cursors return points into the mapping. Callers read inside a
// guard (mmapio.Arm and mmapio.Recover), keep the Reader alive until they have
// copied what they need (runtime.KeepAlive), and let no such slice out.
package ckpt
