package torture

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// Result is the verdict, and what it rests on.
type Result struct {
	Held        bool    `json:"held"`                // nothing was found that breaks a promise
	Violation   string  `json:"violation,omitempty"` // what was
	Evidence    string  `json:"evidence,omitempty"`  // the directory that shows it
	Interrupted bool    `json:"interrupted,omitempty"`
	Seconds     float64 `json:"seconds"`
	Seed        uint64  `json:"seed"`
	Clients     int     `json:"clients"`
	ValueBytes  int     `json:"value_bytes"`

	Cycles      int64 `json:"cycles"`
	Checked     int64 `json:"checked"`       // directories that were opened and judged
	Kills       int64 `json:"kills"`         // of a process that wrote, on a well disk
	KillsInOpen int64 `json:"kills_in_open"` // of them, before the database was open
	Faults      int64 `json:"faults"`        // calls that failed or were slow
	LogFaults   int64 `json:"log_faults"`    // of them, failed writes of the live log
	PowerCuts   int64 `json:"power_cuts"`    // simulated

	Copies         int64 `json:"damaged_copies"`
	CopiesExact    int64 `json:"damaged_copies_exact"`    // no answer depended on what was damaged
	CopiesRepaired int64 `json:"damaged_copies_repaired"` // the open rebuilt it from proof
	CopiesPartly   int64 `json:"damaged_copies_partly"`   // some reads were refused
	CopiesRefused  int64 `json:"damaged_copies_refused"`  // the open was

	Acknowledged int64 `json:"acknowledged"` // operations
	Refused      int64 `json:"refused"`      // batches and single writes: a condition did not hold, or the log had failed
	Unknown      int64 `json:"unknown"`      // batches and single writes without an answer, once for each time that they were judged
	UnknownThere int64 `json:"unknown_there"`
	Reads        int64 `json:"reads"`
	Checkpoints  int64 `json:"checkpoints"` // on request

	FileSystem string        `json:"file_system"`
	Median     time.Duration `json:"write_median_ns"` // of a durable write of 4 KiB
	P99        time.Duration `json:"write_p99_ns"`
}

// evidence is what the cycle under way has done.
type evidence struct {
	Life   *life   `json:"life"`
	Cut    string  `json:"cut_or_damage,omitempty"`
	Events []event `json:"-"`
}

// Names of the files of evidence.
const (
	violationName = "violation.json"
	eventsName    = "events.ndjson"
)

// write writes it beside the directories that it is about.
func (e *evidence) write(dir string, result Result) error {
	text, err := json.MarshalIndent(struct {
		Result Result `json:"result"`
		evidence
	}{result, *e}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, violationName), append(text, '\n'), 0o600); err != nil { // first: it keeps the directory
		return err
	}
	f, err := os.Create(filepath.Join(dir, eventsName))
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(f)
	for _, event := range e.Events {
		if err = encoder.Encode(event); err != nil {
			break
		}
	}
	return errors.Join(err, f.Close())
}

// asViolation finds a broken promise in an error.
func asViolation(err error) (string, bool) {
	v, ok := errors.AsType[*violation](err)
	if !ok {
		return "", false
	}
	return v.text, true
}
