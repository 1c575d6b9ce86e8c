package report

import (
	"fmt"
	"html"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Sizes in a drawing, in pixels.
const (
	svgWidth  = 760
	svgLabel  = 150 // for names, left of the bars
	svgNumber = 130 // for figures, right of them
	svgBar    = 18
	svgTitle  = 30
	svgMargin = 10
)

// logRange is the range of values from which on bars are drawn on a logarithmic scale.
const logRange = 100

const (
	colorOurs   = "#0b6e4f"
	colorTheirs = "#8d99ae"
	colorLimit  = "#d9a441"
)

// Drawing is a file with the bars of one group of workloads.
type Drawing struct{ Group, File string }

// Drawings are the files that WriteSVG writes.
func (r *Results) Drawings() []Drawing {
	var all []Drawing
	for _, row := range r.Rows {
		if group := row.Group(); !slices.ContainsFunc(all, func(d Drawing) bool { return d.Group == group }) {
			all = append(all, Drawing{group, strings.ReplaceAll(strings.ToLower(group), " ", "-") + ".svg"})
		}
	}
	return all
}

// WriteSVG draws each group, and each curve, to a file in a directory, which is made if need be.
func (r *Results) WriteSVG(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, d := range r.Drawings() {
		if err := os.WriteFile(filepath.Join(dir, d.File), []byte(r.draw(d.Group)), 0o644); err != nil {
			return err
		}
	}
	for _, p := range r.Parts {
		for _, c := range p.Curves {
			if err := os.WriteFile(filepath.Join(dir, c.File()), []byte(c.draw()), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// draw draws one panel below the other, one for each workload of a group.
func (r *Results) draw(group string) string {
	var panels strings.Builder
	y := svgMargin
	for _, workload := range r.workloads() {
		if (Row{Workload: workload}).Group() == group {
			y = r.panel(&panels, workload, y)
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="12">`+
		"\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n%[3]s</svg>\n", svgWidth, y+svgMargin, panels.String())
}

// panel draws a workload from y on and returns where it ends.
func (r *Results) panel(out *strings.Builder, workload string, y int) int {
	rows := r.of(workload)
	least, most, unit := math.Inf(1), 0.0, ""
	for _, row := range rows {
		unit = row.Unit
		if row.Value > 0 {
			least, most = min(least, row.Value), max(most, row.Value)
		}
	}
	logarithmic := most/least > logRange
	scale, better := "", "less is better"
	if logarithmic {
		scale = ", logarithmic"
	}
	if moreIsBetter(unit) {
		better = "more is better"
	}
	fmt.Fprintf(out, `<text x="%d" y="%d" font-weight="bold">%s (%s, %s%s)</text>`+"\n", svgMargin, y+svgTitle-10, html.EscapeString(workload), unit, better, scale)
	y += svgTitle
	for _, column := range r.columns() {
		if row, ok := rows[column]; ok {
			r.bar(out, row, barLength(row.Value, least, most, logarithmic), y)
			y += svgBar
		}
	}
	return y + svgMargin
}

func barLength(v, least, most float64, logarithmic bool) float64 {
	const longest = svgWidth - svgLabel - svgNumber
	switch {
	case v <= 0:
		return 0
	case logarithmic:
		return longest * (0.05 + 0.95*math.Log(v/least)/math.Log(most/least)) // the least is seen, too
	}
	return longest * v / most
}

func (r *Results) bar(out *strings.Builder, row Row, length float64, y int) {
	color := colorTheirs
	switch {
	case r.isOurs(row.Engine):
		color = colorOurs
	case r.isLimit(row.Engine):
		color = colorLimit
	}
	fmt.Fprintf(out, `<text x="%d" y="%d" text-anchor="end">%s</text>`, svgLabel-6, y+svgBar-5, html.EscapeString(row.Engine))
	fmt.Fprintf(out, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, svgLabel, y+2, length, svgBar-4, color)
	fmt.Fprintf(out, `<text x="%.1f" y="%d">%s</text>`+"\n", svgLabel+length+5, y+svgBar-5, number(row.Value))
}
