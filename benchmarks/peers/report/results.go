// Package report holds what was measured, and shows it: as a table, as JSON, as drawings and as a page.
package report

import (
	"cmp"
	"slices"
	"strings"
)

// Row is one figure. A workload begins with its group, before the first comma.
type Row struct {
	Workload string  `json:"workload"`
	Engine   string  `json:"engine"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
}

// Group is the part of the workload before its first comma.
func (r Row) Group() string {
	group, _, _ := strings.Cut(r.Workload, ",")
	return group
}

// Units of rows.
const (
	PerSecond = "ops/s" // more is better; of all other units, less is
	KeysRate  = "keys/s"
	Millis    = "ms"
	Micros    = "µs"
	Times     = "x"
	Objects   = "objects"
	Nanos     = "ns"
	Bytes     = "bytes"
	MiB       = "MiB"
	MiBRate   = "MiB/s"
	GiB       = "GiB"
	Seconds   = "s"
	Sets      = "sets"
)

func moreIsBetter(unit string) bool { return unit == PerSecond || unit == KeysRate }

// Engine is what was measured, or was not.
type Engine struct {
	Name, Version, Settings string
	Limit                   bool   // no engine, but a bound
	Missing                 string // why it was not measured; "" if it was
}

// Results are all figures of a run.
type Results struct {
	Ours    string // the name of our engine
	Engines []Engine
	Rows    []Row
	Parts   []*Part            // as the work grows
	Ratios  map[string]float64 // by the names of Goals
	Notes   []string           // what is to be known of the figures, and what went wrong
	Text    string             // Markdown at the end of the page
	Machine []string           // lines
	Command string             // that repeats it
}

// Add adds a figure.
func (r *Results) Add(workload, engine string, value float64, unit string) {
	r.Rows = append(r.Rows, Row{workload, engine, value, unit})
}

// workloads are the names of all, in the order in which they were added.
func (r *Results) workloads() []string {
	var names []string
	for _, row := range r.Rows {
		if !slices.Contains(names, row.Workload) {
			names = append(names, row.Workload)
		}
	}
	return names
}

// of are the rows of a workload, by engine.
func (r *Results) of(workload string) map[string]Row {
	rows := map[string]Row{}
	for _, row := range r.Rows {
		if row.Workload == workload {
			rows[row.Engine] = row
		}
	}
	return rows
}

// Loss is a workload in which another engine is ahead of ours. Limits do not count.
type Loss struct {
	Workload, Engine string
	Ours, Theirs     float64
	Unit             string
	Factor           float64 // by which it is ahead
}

// Losses are the workloads that ours loses, each with the engine that is ahead of all, the worst first. Of ours, variants like "small-db (delta)"
// count too: the worst of them is what ours does.
func (r *Results) Losses() []Loss {
	var losses []Loss
	for _, workload := range r.workloads() {
		if loss, ok := r.loss(workload); ok {
			losses = append(losses, loss)
		}
	}
	slices.SortStableFunc(losses, func(a, b Loss) int { return cmp.Compare(b.Factor, a.Factor) })
	return losses
}

func (r *Results) loss(workload string) (loss Loss, ok bool) {
	var ours, best *Row
	rows := r.of(workload)
	for _, row := range rows {
		better := func(than *Row) bool {
			return than == nil || moreIsBetter(row.Unit) == (row.Value > than.Value) && row.Value != than.Value
		}
		switch {
		case r.isOurs(row.Engine):
			if ours == nil || !better(ours) {
				ours = &row
			}
		case !r.isLimit(row.Engine) && better(best):
			best = &row
		}
	}
	if ours == nil || best == nil || ours.Value == 0 || best.Value == 0 {
		return loss, false
	}
	factor := ours.Value / best.Value
	if moreIsBetter(ours.Unit) {
		factor = 1 / factor
	}
	return Loss{workload, best.Engine, ours.Value, best.Value, ours.Unit, factor}, factor > 1
}

func (r *Results) isOurs(engine string) bool { return strings.HasPrefix(engine, r.Ours) }

func (r *Results) isLimit(engine string) bool {
	return slices.ContainsFunc(r.Engines, func(e Engine) bool { return e.Name == engine && e.Limit })
}

// columns are the names under which there are rows: variants of ours first, then the engines in their order.
func (r *Results) columns() []string {
	var names []string
	for _, row := range r.Rows {
		if r.isOurs(row.Engine) && !slices.Contains(names, row.Engine) {
			names = append(names, row.Engine)
		}
	}
	for _, e := range r.Engines {
		if !r.isOurs(e.Name) && slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Engine == e.Name }) {
			names = append(names, e.Name)
		}
	}
	return names
}
