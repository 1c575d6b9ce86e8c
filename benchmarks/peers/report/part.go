package report

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// Part is what one section found of how cost changes as the work grows: curves, and figures without one.
type Part struct {
	Title  string
	Text   string // what was done, in Markdown, in one paragraph
	Curves []*Curve
	Facts  Facts
}

// Curve is a figure that depends on a size: one line for each thing that was measured.
type Curve struct {
	Name    string // what it shows; the name of its file is made of it
	X       string // what grows, with its unit
	Unit    string // of all figures
	Bytes   bool   // X is a number of bytes: it is written as B, KiB, MiB
	Doubles bool   // X grows by factors: its axis is logarithmic
	Lines   []*Line
}

// Line is what was measured of one thing, in the order of X.
type Line struct {
	Name   string
	Points []Point
}

// Point is a figure at a size.
type Point struct{ X, Y float64 }

// Facts are figures in a table: those of a Fact stand under Heads.
type Facts struct {
	Heads []string
	Rows  []Fact
}

// Fact is a figure for each head, and how it comes about, in words.
type Fact struct {
	What, Unit string
	Values     []float64
	How        string // may be ""
}

// AddPart adds a part.
func (r *Results) AddPart(p *Part) { r.Parts = append(r.Parts, p) }

// Curve adds an empty curve and returns it.
func (p *Part) Curve(c Curve) *Curve {
	p.Curves = append(p.Curves, &c)
	return &c
}

// Fact adds a figure for each head.
func (p *Part) Fact(what, unit, how string, values ...float64) {
	p.Facts.Rows = append(p.Facts.Rows, Fact{what, unit, values, how})
}

// Add adds a point to the line with this name, which is made if need be.
func (c *Curve) Add(line string, x, y float64) {
	i := slices.IndexFunc(c.Lines, func(l *Line) bool { return l.Name == line })
	if i < 0 {
		i = len(c.Lines)
		c.Lines = append(c.Lines, &Line{Name: line})
	}
	c.Lines[i].Points = append(c.Lines[i].Points, Point{x, y})
}

// Greatest is the greatest figure of each line.
func (c *Curve) Greatest() []float64 {
	var all []float64
	for _, l := range c.Lines {
		all = append(all, slices.MaxFunc(l.Points, func(p, q Point) int { return cmp.Compare(p.Y, q.Y) }).Y)
	}
	return all
}

// File is the name of its drawing.
func (c *Curve) File() string {
	return "growth-" + strings.NewReplacer(" ", "-", ",", "", "<", "", ">", "", "/", "").Replace(strings.ToLower(c.Name)) + ".svg"
}

// at are the sizes of all lines, in order.
func (c *Curve) at() []float64 {
	var all []float64
	for _, l := range c.Lines {
		for _, p := range l.Points {
			all = append(all, p.X)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// y is the figure of a line at a size.
func (l *Line) y(x float64) (float64, bool) {
	i := slices.IndexFunc(l.Points, func(p Point) bool { return p.X == x })
	if i < 0 {
		return 0, false
	}
	return l.Points[i].Y, true
}

// size writes a value of X.
func (c *Curve) size(x float64) string {
	if !c.Bytes {
		return short(x)
	}
	for _, unit := range []struct {
		name  string
		bytes float64
	}{{"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if x >= unit.bytes {
			return fmt.Sprintf("%.3g %s", x/unit.bytes, unit.name)
		}
	}
	return fmt.Sprintf("%.3g B", x)
}

// short is a number without zeros that say nothing.
func short(x float64) string {
	switch {
	case x >= 1e6 && math.Mod(x, 1e4) == 0:
		return fmt.Sprintf("%g M", x/1e6)
	case x >= 1e3 && math.Mod(x, 100) == 0:
		return fmt.Sprintf("%g k", x/1e3)
	case x == math.Trunc(x):
		return fmt.Sprint(int64(x))
	}
	return fmt.Sprintf("%.3g", x)
}

// maxLines is the most lines of a table that is made of a curve.
const maxLines = 24

// table is the curve in rows: sizes down, lines across, each under a head. Of many sizes, each of which is one step of a course, the greatest
// figure of some steps at a time stands for them.
func (c *Curve) table() (heads []string, rows [][]string) {
	heads = []string{c.X}
	for _, l := range c.Lines {
		heads = append(heads, l.Name+", "+c.Unit)
	}
	at := c.at()
	each := (len(at) + maxLines - 1) / maxLines
	if each > 1 {
		heads[0] += fmt.Sprintf(" (the greatest of %d)", each)
	}
	for len(at) > 0 {
		steps := at[:min(each, len(at))]
		at = at[len(steps):]
		row := []string{c.size(steps[len(steps)-1])}
		for _, l := range c.Lines {
			row = append(row, l.greatest(steps))
		}
		rows = append(rows, row)
	}
	return heads, rows
}

func (l *Line) greatest(steps []float64) string {
	text, most := "-", 0.0
	for _, x := range steps {
		if y, ok := l.y(x); ok && (text == "-" || y > most) {
			text, most = number(y), y
		}
	}
	return text
}

// table is the facts in rows.
func (f *Facts) table() (heads []string, rows [][]string) {
	heads = append([]string{"", "unit"}, f.Heads...)
	explained := slices.ContainsFunc(f.Rows, func(f Fact) bool { return f.How != "" })
	if explained {
		heads = append(heads, "how")
	}
	for _, fact := range f.Rows {
		row := []string{fact.What, fact.Unit}
		for _, v := range fact.Values {
			row = append(row, number(v))
		}
		if explained {
			row = append(row, fact.How)
		}
		rows = append(rows, row)
	}
	return heads, rows
}

// engineOf is the engine whose name a line begins with, and ours if there is none.
func (r *Results) engineOf(line string) string {
	for _, e := range r.Engines {
		if strings.HasPrefix(line, e.Name) {
			return e.Name
		}
	}
	return r.Ours
}

// partRows are all figures of a part.
func (r *Results) partRows(p *Part) []Row {
	var rows []Row
	for _, c := range p.Curves {
		for _, l := range c.Lines {
			for _, point := range l.Points {
				rows = append(rows, Row{fmt.Sprintf("%s, %s, %s: %s", c.Name, l.Name, c.X, c.size(point.X)), r.engineOf(l.Name), point.Y, c.Unit})
			}
		}
	}
	for _, f := range p.Facts.Rows {
		for i, v := range f.Values {
			rows = append(rows, Row{fmt.Sprintf("%s, %s, %s", p.Title, f.What, p.Facts.Heads[i]), r.Ours, v, f.Unit})
		}
	}
	return rows
}

// writeParts prints them for a terminal.
func (r *Results) writeParts(w io.Writer) error {
	for _, p := range r.Parts {
		fmt.Fprintf(w, "\n%s\n", p.Title)
		for _, c := range p.Curves {
			fmt.Fprintf(w, "\n%s\n", c.Name)
			if err := writeAligned(w, c.table); err != nil {
				return err
			}
		}
		if len(p.Facts.Rows) > 0 {
			fmt.Fprintln(w)
			if err := writeAligned(w, p.Facts.table); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeAligned(w io.Writer, table func() ([]string, [][]string)) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	heads, rows := table()
	for _, row := range append([][]string{heads}, rows...) {
		fmt.Fprintln(out, strings.Join(row, "\t"))
	}
	return out.Flush()
}

// writeGrowth writes the section of the page on how cost changes as the work grows.
func (r *Results) writeGrowth(p *page, drawings string) {
	if len(r.Parts) == 0 {
		return
	}
	p.line("## As the work grows\n")
	p.line("Ours alone, with default options unless said otherwise. A cliff would be a place where the cost of an operation jumps while the work only grows.\n")
	for _, part := range r.Parts {
		p.line("### %s\n", part.Title)
		p.line("%s\n", part.Text)
		for _, c := range part.Curves {
			if drawings != "" {
				p.line("![%s](%s/%s)\n", c.Name, drawings, c.File())
			} else {
				p.line("%s:\n", c.Name)
			}
			p.table(c.table())
		}
		if len(part.Facts.Rows) > 0 {
			p.table(part.Facts.table())
		}
	}
}

func (p *page) table(heads []string, rows [][]string) {
	p.head(heads...)
	for _, row := range rows {
		p.row(row...)
	}
	p.line("")
}
