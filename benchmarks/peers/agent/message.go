package agent

import (
	"time"

	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

// Request is what an agent is to do.
type Request struct {
	Do string // one of the works below

	Rival string // Open: what, and where
	Dir   string

	Own *rival.Own // Open, Reopen: ours with these options, not the default ones; nil for those

	N    uint64 // keys: all numbers below it
	Size int    // bytes of a value, a multiple of 8; benchmarks.ValueLen if 0
	Seed uint64 // of the random numbers; another one for each turn

	Workers int           // goroutines
	For     time.Duration // how long
	Warm    bool          // read the store's files first
	Weigh   bool          // Reply.Written is wanted: wait for a quiet disk first
	Miss    bool          // Get: keys that were never set
	Gone    bool          // Get: keys that were deleted
	Mix     string        // Mix: the YCSB workload, a letter
	Length  int           // Scan: keys in each

	Rate           float64 // Pace: sets per second, of all workers
	Compactions    bool    // Pace: one compaction after the other beside it
	MinCompactions int     // Pace: how many must be completed at least
	Times          int     // Reopen: how often at most
	Part           float64 // Fill: of what makes a checkpoint begin; 0 for nearly all
	Step           uint64  // Grow, Delete: keys in a step
}

// The works of an agent.
const (
	Open    = "open"    // open the store, and read key 0 if there is one: Reply.Took
	Reopen  = "reopen"  // open, read, close, several times, while nothing is open: Reply.Times
	Load    = "load"    // set keys in batches, in key order
	Compact = "compact" // see rival.Compactor
	Fill    = "fill"    // ours alone: overwrite keys until the delta is as full as Part says
	Set     = "set"     // set random keys
	Get     = "get"     // get random keys
	Scan    = "scan"    // scan from random keys
	Mix     = "mix"     // a YCSB workload
	Pace    = "pace"    // set random keys at a rate, open loop
	Memory  = "memory"  // read all keys, then weigh the process
	Close   = "close"   // close the store

	// Ours alone.
	Walk    = "walk"    // scan all keys, again and again: Reply.Times has each time
	Grow    = "grow"    // one goroutine sets all keys once: Reply.Times has the slowest set of each step
	Delete  = "delete"  // delete all keys: Reply.Times has when each step ended
	Hold    = "hold"    // take a snapshot
	Recall  = "recall"  // read random keys in the snapshot; they must be as they were loaded
	Release = "release" // drop it
)

// Reply is what came of it.
type Reply struct {
	Error string

	Ops       uint64
	Took      time.Duration
	CPU       time.Duration // of the agent, in user and kernel mode
	Latencies []byte        // a histogram in ns, encoded; see Histogram
	Written   int64         // bytes written to the disk, if that was wanted
	Times     []time.Duration
	Rotations []time.Duration // Grow: the sets that have changed the log; they count in none of the other times
	CPUTimes  []time.Duration // Grow: the most processor time of a set in each step

	Compactions int     // Pace: completed meanwhile. Fill, Get: checkpoints since the open
	Behind      uint64  // Pace: sets that were due and could not even be begun
	Filled      float64 // Fill: record bytes logged / those at which a checkpoint begins
	LogBytes    uint64  // Fill: record bytes logged
	Base        int64   // Compact: bytes of the checkpoint of ours

	Resident    int64         // Memory: bytes, less those of the process before it opened the store
	HeapObjects int64         // Memory: likewise
	HeapBytes   int64         // Memory: likewise
	Disk        int64         // Memory: bytes on the disk that files in the directory take
	Unlinked    int64         // Memory: bytes of files that were removed from there, and are still mapped
	Collection  time.Duration // Memory: a whole garbage collection
	Pause       time.Duration // Memory: its longest pause
}

// Rate is the operations per second.
func (r *Reply) Rate() float64 { return float64(r.Ops) / r.Took.Seconds() }
