package torture

import "time"

// op is an operation: a set, or a delete.
type op struct {
	Key      string
	Delete   bool
	Size     int   // of the value, in bytes
	Deadline int64 // ns since 1970; 0 for none
}

// slack is what is between two looks at the clock.
const slack = time.Second

// began is what steps of the wall clock are measured by.
var began = time.Now()

// clock is the earliest and the latest that the wall clock of any process of this run may show now, or has shown: it may have been set.
func clock() (earliest, latest time.Time) {
	wall, steady := time.Now().Round(0), began.Round(0).Add(time.Since(began))
	if steady.Before(wall) {
		return steady, wall
	}
	return wall, steady
}

// gone reports whether the operation may leave its key not set at a time.
func (o op) gone(at time.Time) bool {
	return o.Delete || o.Deadline != 0 && o.Deadline <= at.Add(slack).UnixNano()
}

// hides reports whether the operation leaves its key not set at once.
func (o op) hides() bool { return o.Delete || o.Deadline == past }

// Deadlines that do not depend on the clock, in ns since 1970.
const (
	past   = int64(1e9)
	future = int64(1 << 62) // in the year 2116
)

// kind is what an event says.
type kind uint8

const (
	opened       kind = iota // the store is open; Seq is where it begins
	openFailed               // it is not; Text is why
	issued                   // Ops are about to be handed over, together
	acknowledged             // the unit is, and Seq is the sequence of its last operation
	refused                  // the unit is: nothing was written
	unknown                  // the unit's outcome is
	read                     // Key was read: Seq set it, with the value of the operation Unit, Index
	wrong                    // a read came to what cannot be; Text says what
	failed                   // a call of the store on the disk was made to fail; Text is which one
	logFailed                // the same, for one that writes the live log
	checkpointed             // a checkpoint is complete
)

var kindNames = [...]string{"opened", "open failed", "issued", "acknowledged", "refused", "unknown", "read", "wrong", "call failed",
	"log write failed", "checkpointed"}

// MarshalText is for the evidence.
func (k kind) MarshalText() ([]byte, error) { return []byte(kindNames[k]), nil }

// event is something that happened to a store, told in order: what is issued before it is handed over, what has come back after that.
type event struct {
	Kind    kind
	Unit    uint64 `json:",omitempty"`
	Index   int    `json:",omitempty"`
	Ops     []op   `json:",omitempty"`
	Never   bool   `json:",omitempty"` // of issued: a condition cannot hold
	Key     string `json:",omitempty"`
	Seq     uint64 `json:",omitempty"`
	Text    string `json:",omitempty"`
	Damaged bool   `json:",omitempty"` // of openFailed: the store says that its bytes are
}
