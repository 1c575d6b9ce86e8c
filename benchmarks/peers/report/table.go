package report

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// WriteTable prints everything for a terminal.
func (r *Results) WriteTable(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	columns := r.columns()
	fmt.Fprintf(out, "workload\tunit\t%s\t\n", strings.Join(columns, "\t"))
	for _, line := range r.lines(columns) {
		fmt.Fprintf(out, "%s\t\n", strings.Join(line, "\t"))
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if err := r.writeParts(w); err != nil {
		return err
	}
	out = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(out, "\nratio\tvalue\tgoal\t\t\n")
	for _, g := range Goals {
		fmt.Fprintf(out, "%s\t%s\t%s %s\t%s\t%s\n", g.Name, r.ratio(g), g.sign(), number(g.Bound), r.verdict(g), g.Means)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for _, e := range r.Engines {
		if e.Missing != "" {
			fmt.Fprintf(w, "not measured: %s: %s\n", e.Name, e.Missing)
		}
	}
	for _, note := range r.Notes {
		fmt.Fprintln(w, "note:", note)
	}
	return nil
}

func (r *Results) ratio(g Goal) string {
	if value, ok := r.Ratios[g.Name]; ok {
		return number(value)
	}
	return "-"
}

// lines are the cells of each workload: its name, its unit, and the value of each column.
func (r *Results) lines(columns []string) [][]string {
	var lines [][]string
	for _, workload := range r.workloads() {
		line := []string{workload, ""}
		rows := r.of(workload)
		for _, column := range columns {
			row, ok := rows[column]
			if !ok {
				line = append(line, "-")
				continue
			}
			line[1] = row.Unit
			line = append(line, number(row.Value))
		}
		lines = append(lines, line)
	}
	return lines
}

// number is three digits of a figure, with k and M for thousands and millions.
func number(v float64) string {
	switch size := math.Abs(v); {
	case size >= 1e6:
		return digits(v/1e6) + " M"
	case size >= 1e4:
		return digits(v/1e3) + " k"
	}
	return digits(v)
}

func digits(v float64) string {
	switch size := math.Abs(v); {
	case size >= 100:
		return fmt.Sprintf("%.0f", v)
	case size >= 10:
		return fmt.Sprintf("%.1f", v)
	case size >= 0.01 || size == 0:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.1g", v)
}
