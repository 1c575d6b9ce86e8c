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
	// Damage is the first damage that a read or a checkpoint has met: an ErrCorrupt that names the place; nil while all is well. What
	// is not damaged is served as ever.
	Damage error

	Recovery Recovery // what Open found and did
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
