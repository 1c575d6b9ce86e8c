package inspect

import (
	"fmt"
	"slices"
)

// Severity says how bad a finding is.
type Severity string

// The severities.
const (
	Note   Severity = "note"   // worth knowing; an ordinary stop or crash can leave it
	Damage Severity = "damage" // bytes have changed or are missing that were durable once
)

// Effect says what follows from a finding.
type Effect string

// The effects.
const (
	EffectNone       Effect = "none"       // no operation is lost
	EffectRepairable Effect = "repairable" // what is damaged follows from what is intact
	EffectLost       Effect = "lost"       // the operations from FirstSeq to LastSeq, or what What names
)

// Finding is one thing that Check has found.
type Finding struct {
	File   string `json:"file"`   // name in the directory
	Offset int64  `json:"offset"` // in File, in bytes; -1 if the file as a whole is meant
	// FirstSeq and LastSeq bound the operations that the damaged bytes hold. Both are 0 if that does not
	// apply or is not known; LastSeq alone is 0 if the range is open.
	FirstSeq uint64   `json:"first_seq,omitempty"`
	LastSeq  uint64   `json:"last_seq,omitempty"`
	Severity Severity `json:"severity"`
	Effect   Effect   `json:"effect"`
	What     string   `json:"what"`    // for a person: what is wrong
	Follows  string   `json:"follows"` // for a person: what follows from it; "" for most notes
	// Err is what is wrong as an error, nil for most notes. It works with errors.Is and the sentinels of package format.
	Err error `json:"-"`

	about      about
	generation uint64
	inPlace    bool // Follows says how to repair it without a copy
}

// String is the finding in one line.
func (f *Finding) String() string {
	s := string(f.Severity) + ": " + f.File
	if f.Offset >= 0 {
		s += fmt.Sprintf(" at offset %d", f.Offset)
	}
	switch {
	case f.FirstSeq != 0 && f.LastSeq != 0:
		s += fmt.Sprintf(" (sequences %d to %d)", f.FirstSeq, f.LastSeq)
	case f.FirstSeq != 0:
		s += fmt.Sprintf(" (sequences from %d)", f.FirstSeq)
	}
	s += ": " + f.What
	if f.Follows != "" {
		s += "; " + f.Follows
	}
	return s
}

// File is the summary of one file. Fields that do not apply to its kind are 0.
type File struct {
	Name       string `json:"name"`
	Kind       Kind   `json:"kind"`
	Generation uint64 `json:"generation,omitempty"`
	Size       int64  `json:"size"`           // in bytes
	Used       int64  `json:"used,omitempty"` // of a log: up to its end, in bytes
	Frames     uint64 `json:"frames,omitempty"`
	Operations uint64 `json:"operations,omitempty"` // in verified frames
	FirstSeq   uint64 `json:"first_seq,omitempty"`  // of a log: of its first operation; of a checkpoint: 0
	LastSeq    uint64 `json:"last_seq,omitempty"`   // of a log: of its last operation; of a checkpoint: of its position
	Keys       uint64 `json:"keys,omitempty"`       // of a checkpoint
	Needed     bool   `json:"needed"`               // the state, or the repair of its checkpoint, needs it
	Damaged    bool   `json:"damaged"`
}

// Tail says where the history ends.
type Tail struct {
	File    string `json:"file"`    // the newest log
	Offset  int64  `json:"offset"`  // just past its last frame, in bytes
	Epoch   uint64 `json:"epoch"`   // of the last operation
	Seq     uint64 `json:"seq"`     // of the last operation
	Dropped int64  `json:"dropped"` // up to so many bytes after Offset are dropped by the next open: what was being written at the stop
}

// Totals add up the files that are needed.
type Totals struct {
	Files      int    `json:"files"`
	Bytes      int64  `json:"bytes"`
	Frames     uint64 `json:"frames"`
	Operations uint64 `json:"operations"`
	Verified   int64  `json:"verified"` // bytes read, of all files
}

// Report is what Check has found out.
type Report struct {
	Dir        string `json:"dir"`
	UUID       string `json:"uuid"`       // of the database; "" if nothing intact says it
	Generation uint64 `json:"generation"` // of the checkpoint that the state starts from
	Previous   uint64 `json:"previous"`   // of the one that is kept for its repair; 0 if there is none
	// Clean says that the database was closed. If it was not, a stop or a crash ended it: that is no damage.
	Clean    bool      `json:"clean"`
	Tail     Tail      `json:"tail"`
	Compared []uint64  `json:"compared"` // checkpoints that are proven to be the one before them and the logs between
	Files    []File    `json:"files"`    // by name
	Totals   Totals    `json:"totals"`
	Findings []Finding `json:"findings"`          // damage first, then by file and offset
	Omitted  int       `json:"omitted,omitempty"` // findings beyond the limit
	omitted  bool      // one of them is damage
}

// Damaged reports whether anything is damaged.
func (r *Report) Damaged() bool {
	return r.omitted || slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity == Damage })
}

// Lost reports whether operations are lost that nothing intact holds.
func (r *Report) Lost() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Effect == EffectLost })
}

// NeedsCopy reports whether there is damage to what is needed that cannot be repaired in place: then Repair saves what is intact.
func (r *Report) NeedsCopy() bool {
	return r.omitted || slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Severity == Damage && f.Effect != EffectNone && !f.inPlace
	})
}

// file is the summary of a file by its name; nil if there is none.
func (r *Report) file(name string) *File {
	for i := range r.Files {
		if r.Files[i].Name == name {
			return &r.Files[i]
		}
	}
	return nil
}
