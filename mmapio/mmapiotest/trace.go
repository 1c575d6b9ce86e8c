package mmapiotest

import (
	"fmt"
	"maps"
	"slices"
)

// Trace is what a Recorder recorded, in order. It is not changed any more once the Recorder has returned it.
type Trace []Op

// Cut is a point of a trace at which the power fails: before op Op, or, with Inside, while
// that op is under way: it was called, may have had any part of its effect, and has not returned.
type Cut struct {
	Op     int
	Inside bool
}

// String names the point.
func (c Cut) String() string {
	if c.Inside {
		return fmt.Sprintf("inside op %d", c.Op)
	}
	return fmt.Sprintf("before op %d", c.Op)
}

// Cuts are the points worth a crash, in order: before every mutating op and every Mark, at the end, and inside every
// WriteAt, Create, Rename and Remove. Between any others the durable and the pending effects are the same.
func (t Trace) Cuts() []Cut {
	var cuts []Cut
	for i, op := range t {
		if op.Kind.Mutates() || op.Kind == Mark {
			cuts = append(cuts, Cut{Op: i})
		}
		switch op.Kind {
		case WriteAt, Create, Rename, Remove:
			cuts = append(cuts, Cut{Op: i, Inside: true})
		}
	}
	return append(cuts, Cut{Op: len(t)})
}

// syncPoint is what made something durable, in code.
type syncPoint struct {
	what string
	site Site
}

// syncPoint returns where op asks for durability. For a write on an O_DSYNC descriptor that is where the
// descriptor was opened.
func (o Op) syncPoint() (syncPoint, bool) {
	switch {
	case o.Kind == Sync:
		return syncPoint{what: "file sync", site: o.Site}, true
	case o.Kind == SyncDir:
		return syncPoint{what: "directory sync", site: o.Site}, true
	case o.Durable:
		return syncPoint{what: "durable writes opened", site: o.OpenBy}, true
	}
	return syncPoint{}, false
}

// syncNames names every sync point of the trace. Functions name them, so that a name survives an
// edit elsewhere; if several lines of a function ask for the same they are numbered.
func (t Trace) syncNames() map[syncPoint]string {
	points := make(map[string][]syncPoint)
	for _, op := range t {
		if p, ok := op.syncPoint(); ok {
			name := p.what + " in " + p.site.Func
			if !slices.Contains(points[name], p) {
				points[name] = append(points[name], p)
			}
		}
	}
	names := make(map[syncPoint]string)
	for name, same := range points {
		slices.SortFunc(same, func(a, b syncPoint) int { return compareLines(a.site.Line, b.site.Line) })
		for i, p := range same {
			names[p] = name
			if len(same) > 1 {
				names[p] = fmt.Sprintf("%s, number %d", name, i+1)
			}
		}
	}
	return names
}

// compareLines orders two file:line of one function: a longer number is larger.
func compareLines(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	if a < b {
		return -1
	}
	return 1
}

// SyncSites names, sorted, every place in the code that made something durable: each call of Sync of a
// file or of the directory, and each Open for WriteDurable that was written through.
func (t Trace) SyncSites() []string {
	sites := slices.Sorted(maps.Values(t.syncNames()))
	return slices.Compact(sites)
}

// WithoutSync returns the trace as it were if the code had no sync at site, one of SyncSites: its syncs are
// Nothing, its durable writes are plain ones. Indexes stay what they are.
func (t Trace) WithoutSync(site string) Trace {
	names := t.syncNames()
	out := slices.Clone(t)
	for i, op := range out {
		p, ok := op.syncPoint()
		if !ok || names[p] != site {
			continue
		}
		if op.Durable {
			out[i].Durable = false
		} else {
			out[i].Kind = Nothing
		}
	}
	return out
}
