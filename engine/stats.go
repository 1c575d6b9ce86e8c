package engine

import "time"

// Stats says how a database is doing. The counters start at zero with each open.
type Stats struct {
	Keys       uint64  // keys in the database; those that have expired do not count
	Version    Version // of the last operation applied
	Generation uint64  // of the checkpoint that the next open starts from

	// MemoryBytes is what the state takes: the checkpoint, the frames in the logs since, and the index over them, in bytes. It is
	// what Options.MaxMemoryBytes bounds.
	MemoryBytes uint64

	Operations  uint64 // operations committed
	Groups      uint64 // durable writes that committed them
	LogBytes    uint64 // record bytes logged since the last checkpoint began
	Checkpoints uint64 // checkpoints completed

	LastCheckpoint    time.Duration // how long the last checkpoint took; 0 before the first
	CheckpointFailure error         // why the last checkpoint failed; nil if it did not

	// Warm says that the warm-up that Options.WarmUp asked for is done; true if none was.
	Warm bool
	// Failure is why nothing is acknowledged any more (see ErrPoisoned); nil while all is well.
	Failure error
	// Damage is the first damage that a read, a checkpoint or the scrubber has met in what the state is read from: an ErrCorrupt that names the
	// place; nil while all is well, and again once a checkpoint has replaced it. What is not damaged is served as ever.
	Damage  error
	Repairs uint64 // times that a checkpoint has replaced what was damaged
	Scrub   Scrub  // what the scrubber found last

	Recovery Recovery // what Open found and did
}

// Scrub is the outcome of the scrubber's last pass over the files (see Options.ScrubInterval).
type Scrub struct {
	Passes uint64        // completed since the open
	Ended  time.Time     // when the last one ended; zero before the first
	Took   time.Duration // by the last one
	Bytes  uint64        // read by it from the disk
	// Damage is the first damage that the last pass has found, in a file that the state or the repair of its checkpoint needs: an ErrCorrupt that names
	// the place; nil if there is none, and again once checkpoints have left that file behind.
	Damage error
	// Failure is what kept the last pass from reading everything; nil if nothing did.
	Failure error
}

// Recovery says what Open found and did.
type Recovery struct {
	Created    bool          // there was no database, one was made
	Clean      bool          // the database had been closed cleanly
	Logs       int           // logs read
	Frames     uint64        // frames replayed
	Operations uint64        // operations replayed
	CutFile    string        // log whose end this open had to decide, because it was not closed; "" if none
	CutAt      int64         // offset of that end in CutFile, in bytes; a write that was under way beyond it is dropped
	Repaired   []string      // what was found damaged and rebuilt from proof, in words
	Took       time.Duration // from the call of Open to its return
}
