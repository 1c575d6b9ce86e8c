// Package mmapio is all that small-db asks of the operating system: to open, lock, prepare,
// write durably, sync, map and rename the files of one directory.
//
// Dir and File are small interfaces with one production
// implementation, OpenDir. The package mmapiotest beside this one holds a recorder that traces
// every call, and a twin that injects faults and rebuilds the directories that a crash could have left.
//
// # What becomes durable when
//
//   - A File opened with WriteDurable: its bytes when WriteAt returns.
//   - Any other bytes: when Sync of that file returns.
//   - A created, renamed or removed name: when Sync of the directory returns.
//   - After a failed write or sync nothing is known, and a later success proves nothing.
//
// # Mapped memory
//
// A Mapping or Region is unmapped by the garbage collector when nothing
// refers to it any more. So whoever reads mapped bytes keeps the object alive to the end
// of the read (runtime.KeepAlive), reads inside a guard (Arm and Recover), and
// lets no mapped slice out of it: if the file shrinks or the disk fails, the
// guard turns the SIGBUS into an error instead of the end of the process.
//
// Linux is the production platform. Elsewhere Unix systems do the same with weaker
// means: the package says where.
package mmapio
