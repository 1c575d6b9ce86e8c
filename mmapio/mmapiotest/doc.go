// Package mmapiotest watches, breaks and crashes what is written through package mmapio.
//
//   - Recorder writes down every call on a directory and its files, as a Trace, and
//     can kill the process in the sense that counts: all calls fail from then on, and the
//     directory can be opened again.
//   - Trace.Replayer rebuilds, from a trace, directories that a power cut at any point could have left
//     behind. Seventeen Modes say what became of the effects that were not durable yet.
//   - Injector makes chosen calls fail, write half, or wait for the test.
//
// All three have the signature of mmapio.OpenDir, so they stack: a Recorder over an Injector writes down
// the faults, an Injector over a Recorder keeps the calls it fails out of the trace.
//
// # The model of a crash
//
// Bytes are durable once a later Sync of their file has succeeded, or as soon as WriteAt has on a descriptor
// opened with WriteDurable. Names are durable once a later Sync of the directory has succeeded; the
// Sync of a file does nothing for its name. All the rest is pending, and a crash may keep it, lose it, tear it at 512
// bytes, reorder it, leave its blocks with other bytes, or keep a size without the bytes. A rename is atomic (but see BothNames).
//
// A failed WriteAt may have had any effect: its bytes are pending. After a failed Sync or a failed write a
// later Sync that succeeds proves nothing for the bytes pending then, as on Linux (Rebello et al., "Can
// Applications Recover from fsync Failures?", ATC 2020): they stay pending until they are written again or, after
// such a Sync, read around the page cache. For names a later Sync of the directory does count: a file system that
// cannot write its journal gives up altogether.
//
// The generator takes its idea from ALICE (OSDI 2014) and CrashMonkey (OSDI 2018), and goes below the block.
package mmapiotest
