package agent

import "time"

// Request is what an agent is to do.
type Request struct {
	Do string // one of the works below

	Rival string // Open: what, and where
	Dir   string

	N    uint64 // keys: all numbers below it
	Seed uint64 // of the random numbers; another one for each turn

	Workers int           // goroutines
	For     time.Duration // how long
	Miss    bool          // Get: keys that are not set
	Mix     string        // Mix: the YCSB workload, a letter
	Length  int           // Scan: keys in each

	Rate           float64 // Pace: sets per second, of all workers
	Compactions    bool    // Pace: one compaction after the other beside it
	MinCompactions int     // Pace: how many must be completed at least
	Times          int     // Reopen: how often at most
}

// The works of an agent.
const (
	Open    = "open"    // open the store, and read key 0 if there is one: Reply.Took
	Reopen  = "reopen"  // open, read, close, several times, while nothing is open: Reply.Times
	Load    = "load"    // set keys in batches, in key order
	Compact = "compact" // see rival.Compactor
	Fill    = "fill"    // ours alone: overwrite keys until a checkpoint is nearly due
	Set     = "set"     // set random keys
	Get     = "get"     // get random keys
	Scan    = "scan"    // scan from random keys
	Mix     = "mix"     // a YCSB workload
	Pace    = "pace"    // set random keys at a rate, open loop
	Memory  = "memory"  // read all keys, then weigh the process
	Close   = "close"   // close the store
)

// Reply is what came of it.
type Reply struct {
	Error string

	Ops       uint64
	Took      time.Duration
	CPU       time.Duration // of the agent, in user and kernel mode
	Latencies []byte        // a histogram in ns, encoded; see Histogram
	Written   int64         // bytes written to the disk since the reply before, by the agent or its server
	Times     []time.Duration

	Compactions int     // Pace: completed meanwhile. Fill, Get: checkpoints since the open
	Behind      uint64  // Pace: sets that were due and could not even be begun
	Filled      float64 // Fill: record bytes logged / those at which a checkpoint begins

	Resident    int64         // Memory: bytes, less those of the process before it opened the store
	HeapObjects int64         // Memory: likewise
	Collection  time.Duration // Memory: a whole garbage collection
	Pause       time.Duration // Memory: its longest pause
}

// Rate is the operations per second.
func (r *Reply) Rate() float64 { return float64(r.Ops) / r.Took.Seconds() }
