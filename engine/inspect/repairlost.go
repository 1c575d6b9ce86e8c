package inspect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tongpengdl/small-db/format"
)

// Lost is a range of operations that cannot be read, each of which may have set or deleted any key.
type Lost struct {
	File     string `json:"file"`
	Offset   int64  `json:"offset"`    // where they lie in File, in bytes; -1 if they are not in it or it cannot be said
	FirstSeq uint64 `json:"first_seq"` // both are 0 where the history does not go on as it must and no sequence is known to be missing
	LastSeq  uint64 `json:"last_seq"`  // 0 if it is not known
	What     string `json:"what"`      // for a person: why
	// MendedBy names damaged checkpoints, later than these operations, whose intact records are saved. For each key that is not in a
	// hole of all of them nothing is lost.
	MendedBy []string `json:"mended_by,omitempty"`
}

// String is the range in one line.
func (l *Lost) String() string {
	var s strings.Builder
	switch {
	case l.FirstSeq == 0:
		s.WriteString("unproven")
	case l.LastSeq == 0:
		fmt.Fprintf(&s, "lost: sequences from %d on, if there were any", l.FirstSeq)
	default:
		fmt.Fprintf(&s, "lost: sequences %d to %d", l.FirstSeq, l.LastSeq)
	}
	s.WriteString(", " + l.File)
	if l.Offset >= 0 {
		fmt.Fprintf(&s, " at offset %d", l.Offset)
	}
	s.WriteString(": " + l.What)
	if len(l.MendedBy) > 0 {
		s.WriteString("; but what they left in the intact parts of " + strings.Join(l.MendedBy, " and ") + " is saved")
	}
	return s.String()
}

// Hole is a part of a checkpoint that cannot be read. It held keys between two others, perhaps none.
type Hole struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"` // in bytes
	Bytes  int64  `json:"bytes"`
	After  []byte `json:"after"`  // the last key before it; nil if there is none
	Before []byte `json:"before"` // the first key after it; nil if there is none
}

// String is the hole in one line.
func (h *Hole) String() string {
	after, before := "the first", "the last"
	if h.After != nil {
		after = fmt.Sprintf("after %.40q", h.After)
	}
	if h.Before != nil {
		before = fmt.Sprintf("before %.40q", h.Before)
	}
	return fmt.Sprintf("unreadable: %s at offset %d: %d bytes, which held keys from %s to %s", h.File, h.Offset, h.Bytes, after, before)
}

// lostPart is a part of a file with operations that cannot be read.
type lostPart struct {
	file   string
	offset int64
	what   string
}

// lose notes where operations may be missing; open says that nobody knows how many unless something follows.
func (r *Repair) lose(file string, offset int64, what string, open bool) {
	if r == nil {
		return
	}
	if r.missing.file == "" {
		r.missing = lostPart{file, offset, what}
	}
	r.open = r.open || open
}

// account says that the operations up to seq were there. Those that were not met are lost.
func (r *Repair) account(seq uint64) {
	r.highest = max(r.highest, seq)
	if seq > r.accounted {
		r.report.Lost = append(r.report.Lost, Lost{File: r.missing.file, Offset: r.missing.offset, FirstSeq: r.accounted + 1, LastSeq: seq, What: r.missing.what})
		r.accounted = seq
	}
	r.missing = lostPart{}
}

// settle completes the report but for what Write finds out.
func (r *Repair) settle() {
	c := r.c
	if len(r.remnants) > 0 && r.remnants[0].position.Seq > r.accounted {
		r.lose(r.remnants[0].name, -1, "no log holds them", false)
		missing := r.missing
		r.account(r.remnants[0].position.Seq)
		r.missing = missing
	}
	if v := c.version; v != nil {
		r.at.Epoch = max(r.at.Epoch, v.Epoch)
	}
	r.at.Epoch = max(r.at.Epoch, 1)
	if len(r.epochs) == 0 || r.epochs[0].FirstSeq > 1 {
		first := format.EpochStart{Epoch: r.at.Epoch, FirstSeq: 1}
		if len(r.epochs) > 0 {
			first.Epoch = max(1, r.epochs[0].Epoch-1) // the operations before are of some earlier one
		}
		if len(r.epochs) > 0 && first.Epoch == r.epochs[0].Epoch {
			r.epochs = r.epochs[1:]
		}
		r.epochs = append([]format.EpochStart{first}, r.epochs...)
	}
	if r.open {
		r.report.Lost = append(r.report.Lost, Lost{File: r.missing.file, Offset: r.missing.offset, FirstSeq: r.accounted + 1, What: r.missing.what})
	}
	p := &r.report
	p.Dir, p.UUID, p.Tail, p.Clean, p.Findings, p.Omitted = c.report.Dir, c.report.UUID, c.report.Tail, c.report.Clean, c.report.Findings, c.report.Omitted
	p.Lost = r.mended(p.Lost)
	p.LastSeq, p.CompleteUpTo = r.highest, r.highest
	for _, lost := range p.Lost {
		if lost.FirstSeq != 0 {
			p.CompleteUpTo = min(p.CompleteUpTo, lost.FirstSeq-1)
		}
	}
	if p.Used == nil {
		p.Used = []Used{}
	}
	for _, m := range r.remnants {
		p.Used = append(p.Used, Used{File: m.name, Keys: m.records})
		if m.unplaced {
			p.Unplaced = append(p.Unplaced, m.name)
		}
		if !m.versioned() && m.records > 0 {
			p.Unversioned = append(p.Unversioned, m.name)
		}
		if slices.ContainsFunc(p.Lost, func(l Lost) bool { return slices.Contains(l.MendedBy, m.name) }) {
			p.Holes = append(p.Holes, m.holes...)
		}
	}
	slices.SortStableFunc(p.Holes, func(a, b Hole) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset)) })
	r.at.Time = max(r.at.Time, r.time)
	if p.Lossy() || len(p.Unversioned) > 0 {
		r.at.Seq = r.highest
		r.at.Chain = randomUint64() // it is another history than the one that the chain stands for
	}
	if len(p.Unversioned) > 0 { // what may have been given after the highest sequence seen was of an earlier epoch
		r.at.Seq++
		r.at.Epoch += 1 + randomUint64()>>32
		r.startEpoch(r.at.Epoch, r.at.Seq)
	}
}

// mended drops what checkpoints hold in which every record can be read, and says of what remains which damaged ones hold a part of it.
func (r *Repair) mended(all []Lost) []Lost {
	out := []Lost{}
	add := func(l Lost) {
		holds := func(m *remnant) bool { return l.LastSeq != 0 && l.LastSeq <= m.position.Seq }
		for _, m := range slices.Backward(r.remnants) { // the earliest first
			if m.complete() && holds(m) {
				m.needed = true
				return
			}
		}
		for _, m := range r.remnants {
			if holds(m) {
				m.needed = true
				l.MendedBy = append(l.MendedBy, m.name)
			}
		}
		out = append(out, l)
	}
	for _, l := range all {
		if l.FirstSeq == 0 {
			add(l)
			continue
		}
		for _, m := range slices.Backward(r.remnants) {
			if at := m.position.Seq; l.FirstSeq <= at && (l.LastSeq == 0 || at < l.LastSeq) {
				before := l
				before.LastSeq = at
				add(before)
				l.FirstSeq = at + 1
			}
		}
		add(l)
	}
	// What a checkpoint before it and the logs since say is better than a damaged one where they say everything.
	r.remnants = slices.DeleteFunc(r.remnants, func(m *remnant) bool { return !m.needed && !m.whole() })
	return out
}
