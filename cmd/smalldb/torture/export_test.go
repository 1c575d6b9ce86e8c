package torture

import (
	"math/rand/v2"
	"time"
)

// What the tests of the model make.
type (
	Model = model
	Event = event
	Op    = op
	State = state
	Entry = entry
	Ref   = ref
)

// Kinds of events.
const (
	Opened       = opened
	OpenFailed   = openFailed
	Issued       = issued
	Acknowledged = acknowledged
	Refused      = refused
	Unknown      = unknown
	Read         = read
	Wrong        = wrong
	LogFailed    = logFailed
	Past         = past
	Slack        = slack
)

// NewModel is of an empty store.
func NewModel() *Model { return newModel() }

// Note takes up an event.
func (m *model) Note(e Event) error { return m.note(e) }

// Judge judges a state.
func (m *model) Judge(s *State) (unknown, there int, err error) {
	f, err := m.judge(s)
	return f.unknown, f.there, err
}

// NewState is what a store holds, read now.
func NewState(seq uint64, entries map[string]Entry) *State {
	return &State{entries: entries, seq: seq, before: time.Now(), after: time.Now()}
}

// NewEntry is a key that is set.
func NewEntry(unit uint64, index, size int, seq uint64, deadline int64) Entry {
	return Entry{ref{unit, index}, size, seq, deadline}
}

// Settled is the model after a state was verified.
func Settled(s *State) *Model { return settled(s) }

// Of the values, of damage, and of the file system.
var (
	Value      = value
	Parse      = parse
	MountOf    = mountOf
	FileSystem = fileSystem
)

// Damage changes a copy.
func Damage(rng *rand.Rand, data []byte) ([]byte, string) { return damage(rng, data) }

// WriteEvidence writes the evidence of nothing.
func WriteEvidence(dir string) error { return (&evidence{}).write(dir, Result{}) }
