package report

import (
	"fmt"
	"io"
	"strings"
)

// WritePage writes a page of Markdown. drawings is the path from the page to the directory of WriteSVG; "" if nothing was drawn.
func (r *Results) WritePage(w io.Writer, drawings string) error {
	p := &page{w: w}
	p.line("# Performance\n")
	p.line("Measured in one run of `%s`, which repeats it. Ratios are medians over rounds in which ours and the rival took turns.\n", r.Command)
	r.writeRatios(p)
	r.writeLosses(p)
	for _, d := range r.Drawings() {
		r.writeGroup(p, d, drawings)
	}
	r.writeGrowth(p, drawings)
	r.writeEngines(p)
	p.line("## Machine\n")
	for _, line := range r.Machine {
		p.line("* %s", line)
	}
	if len(r.Notes) > 0 {
		p.line("\n## Notes\n")
	}
	for _, note := range r.Notes {
		p.line("* %s", note)
	}
	if r.Text != "" {
		p.line("\n%s", strings.TrimSpace(r.Text))
	}
	return p.err
}

// page keeps the first error.
type page struct {
	w   io.Writer
	err error
}

func (p *page) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// row is a line of a table.
func (p *page) row(cells ...string) { p.line("| %s |", strings.Join(cells, " | ")) }

// head is the head of a table.
func (p *page) head(cells ...string) {
	p.row(cells...)
	p.line("|%s", strings.Repeat("---|", len(cells)))
}

func (r *Results) writeRatios(p *page) {
	p.line("## Goals\n")
	p.head("ratio", "value", "goal", "", "what")
	for _, g := range Goals {
		p.row("`"+g.Name+"`", r.ratio(g), g.sign()+" "+number(g.Bound), r.verdict(g), g.Means)
	}
	p.line("")
}

func (r *Results) writeLosses(p *page) {
	p.line("## Where we lose\n")
	losses := r.Losses()
	if len(losses) == 0 {
		p.line("In no row.\n")
		return
	}
	p.head("workload", "unit", r.Ours, "ahead", "its figure", "factor")
	for _, l := range losses {
		p.row(l.Workload, l.Unit, number(l.Ours), l.Engine, number(l.Theirs), number(l.Factor))
	}
	p.line("")
}

// writeGroup writes the figures of a group: an engine in each line, a workload in each column.
func (r *Results) writeGroup(p *page, d Drawing, drawings string) {
	p.line("## %s\n", strings.ToUpper(d.Group[:1])+d.Group[1:])
	if drawings != "" {
		p.line("![%s](%s/%s)\n", d.Group, drawings, d.File)
	}
	part := &Results{Ours: r.Ours, Engines: r.Engines}
	for _, row := range r.Rows {
		if row.Group() == d.Group {
			part.Rows = append(part.Rows, row)
		}
	}
	columns := part.columns()
	p.head(append([]string{"workload", "unit"}, columns...)...)
	for _, line := range part.lines(columns) {
		p.row(line...)
	}
	p.line("")
}

func (r *Results) writeEngines(p *page) {
	p.line("## Engines\n")
	p.head("engine", "version", "settings")
	for _, e := range r.Engines {
		settings := e.Settings
		if e.Missing != "" {
			settings = "not measured: " + e.Missing
		}
		p.row(e.Name, e.Version, settings)
	}
	p.line("")
}
