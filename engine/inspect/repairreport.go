package inspect

// RepairReport is what a repair has saved and what not.
type RepairReport struct {
	Dir          string `json:"dir"` // that was read
	UUID         string `json:"uuid"`
	Keys         uint64 `json:"keys"`            // in the copy; known after Write
	DataBytes    uint64 `json:"data_bytes"`      // of keys and values in the copy; known after Write
	LastSeq      uint64 `json:"last_seq"`        // highest sequence seen; the copy goes on after it (with Unversioned, after the next), in a new epoch
	CompleteUpTo uint64 `json:"complete_up_to"`  // no operation up to this sequence is lost
	Lost         []Lost `json:"lost"`            // rising
	Holes        []Hole `json:"holes,omitempty"` // parts of damaged checkpoints that matter, since operations up to their positions are lost
	// Unplaced are damaged checkpoints of which nothing says up to which sequence they go. The copy counts operations as lost that come after
	// all that is in them; some of these, deletes, may be in them.
	Unplaced []string `json:"unplaced,omitempty"`
	// Unversioned are damaged checkpoints of which nothing proves the versions. Their records have one that nobody was given, the sequence after
	// LastSeq in an epoch of its own: so no condition on an earlier version of them holds.
	Unversioned []string  `json:"unversioned,omitempty"`
	Used        []Used    `json:"used"`              // files that the copy is made from
	Refused     []Refused `json:"refused,omitempty"` // files that are not used because they belong elsewhere
	Tail        Tail      `json:"tail"`              // where the history ends; bytes that it drops are of a write that a stop cut off, and no loss that could be proven
	Clean       bool      `json:"clean"`             // the database was closed
	Findings    []Finding `json:"findings"`          // those of Check
	Omitted     int       `json:"omitted,omitempty"` // findings beyond the limit
}

// Lossy reports whether operations were lost, or could not be proven.
func (p *RepairReport) Lossy() bool { return len(p.Lost) > 0 }

// LostOperations is how many operations are lost, and whether more may be: nobody knows how many.
func (p *RepairReport) LostOperations() (n uint64, more bool) {
	for _, l := range p.Lost {
		if l.FirstSeq == 0 || l.LastSeq == 0 {
			more = true
			continue
		}
		n += l.LastSeq - l.FirstSeq + 1
	}
	return n, more
}

// Used is a file that the copy is made from.
type Used struct {
	File       string `json:"file"`
	Keys       uint64 `json:"keys,omitempty"`       // of a checkpoint: intact records
	Operations uint64 `json:"operations,omitempty"` // of a log: intact ones
}

// Refused is a file that is not used.
type Refused struct {
	File string `json:"file"`
	Why  string `json:"why"`
}
