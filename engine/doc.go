// Package engine keeps a durable key/value store in memory whose memory is its files.
//
// A value is written once, to the log, and read in place from the mapped log. A
// checkpoint moves it, once, to a mapped checkpoint, and from then on it is read in
// place from there. The heap holds only an index of what changed since the last
// checkpoint. Opening maps files; it does not load them.
//
// # Using it
//
// Open a directory, and Close it at the end. Get and Set take one key; Batch and Apply several at once, on conditions;
// Update runs a transaction; Snapshot gives the state of one moment, to be scanned in order; SetUntil lets a key
// expire; Backup and Restore copy it all. A write has returned nil: it is on disk. Any error but ErrIndeterminate: nothing
// was written. Everything may be called from any number of goroutines, and no read ever waits for a write. The page
// docs/embedding.md has recipes; each is an example of this package.
//
// The rest of this page is for who wants to know how it works.
//
// # The way of a write
//
// Set, SetUntil, Delete and Apply hand their operations to the commit pipeline (pipeline.go). One
// goroutine at a time holds it: it takes the group that has gathered, checks its conditions, frames it
// (package logrecord), makes the frame durable in the live log (log.go), enters
// its records into the delta (delta.go, table.go) and answers the writers. So a write is
// visible once it is durable, in order, and not before.
//
// # The way of a read
//
// Get, AppendGet and View load one immutable view (view.go) and look into its delta, its
// frozen delta (while a checkpoint is being built) and its base, the mapped checkpoint. They
// take no lock and verify the checksum of every record they return.
//
// # The way of a scan
//
// A commit knows no order: it only appends the place of each record to a list (references.go). A Snapshot (snapshot.go) is a
// view, a sequence and an engine time. When something scans it, what was written since the last scan is sorted into runs of
// verified keys (order.go, run.go), and a walk (walk.go) merges the runs with the cursor of the base. Backups and checkpoints are
// walks, too.
//
// # Conditions, transactions and time
//
// The conditions of a batch are checked by whoever holds the pipeline, against what is applied and what comes before
// the batch in its group (condition.go). Update is a snapshot, a read set, and a batch with a condition for each key that was
// read (update.go). Engine time (clock.go) is the wall clock, but never less than it was: frames record it, and a key whose
// deadline it has reached is not set any more.
//
// # The way of a checkpoint
//
// The pipeline switches to a new log and an empty delta between two groups; everybody goes on. A
// background goroutine walks the base and the frozen delta into checkpoint.N, without what is deleted or due, verifies
// it from the disk, and makes it the new base (checkpoint.go, pointer.go).
//
// # Opening
//
// State = checkpoint.V followed by every consecutive logfile.V, V+1, and so on. recovery.go replays
// them, decides where an unclean stop cut the last one, and makes the decision durable before anything is served.
package engine
