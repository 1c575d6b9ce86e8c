// Package logrecord frames groups of operations onto a byte stream and reads them back
// up to the last provable one. It knows no files: a Framer hands out the bytes of a frame
// and says where they belong; a Reader takes any io.ReaderAt.
//
// A Reader tells apart how a log ends:
//
//   - the end: a trailer, or the offset that the successor's block 1 names. Next returns io.EOF.
//   - torn: bytes that are no frame, and nothing proves that they once were a durable
//     one. A write was under way when the machine stopped. Next returns a *TornError.
//   - corrupt: bytes that are no frame although something proves that a durable one was there: a later
//     frame of this log, a trailer or the successor. Next returns a *DamageError.
//
// The proof by a later frame rests on how a primary writes: it has one frame
// outstanding at a time, and each frame says up to where the log was durable before it.
// Zeros are not special: a block that reads as zeros may be a lost one.
package logrecord
