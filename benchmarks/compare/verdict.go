package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchmath"
	"golang.org/x/perf/benchunit"
)

// judged are the units that decide unless others are named, as far as they are reported: time and allocations.
var judged = []string{"sec/op", "allocs/op", "allocs/get"}

// better says of the units that the benchmarks of this project report which way is up; benchstat knows those of package testing, and
// a benchmark may print a line "Unit NAME better=higher" for its own.
var better = map[string]int{
	"ratio": +1, "ops/s": +1, "ops/group": +1,
	"cpu-ratio": -1, "cpu-sec/op": -1, "p50-µs": -1, "p99-µs": -1, "p99.9-µs": -1, "p99.9-ratio": -1, "ms": -1, "heap-objects": -1, "allocs/get": -1,
}

// measurement names a row of one table.
type measurement struct{ benchmark, unit string }

// results are what the benchmarks have printed.
type results struct {
	values     [2]map[measurement][]float64
	benchmarks [2][]string // in the order of their first appearance
	units      benchfmt.UnitMetadataMap
}

// readResults reads the outputs of the two sides.
func readResults(outputs ...string) (*results, error) {
	r := &results{values: [2]map[measurement][]float64{{}, {}}, units: benchfmt.UnitMetadataMap{}}
	for s, path := range outputs {
		files := benchfmt.Files{Paths: []string{path}}
		for files.Scan() {
			result, ok := files.Result().(*benchfmt.Result)
			if !ok {
				continue // benchstat says what it cannot read
			}
			name := result.Name.String()
			if !slices.Contains(r.benchmarks[s], name) {
				r.benchmarks[s] = append(r.benchmarks[s], name)
			}
			for _, value := range result.Values {
				row := measurement{name, value.Unit}
				r.values[s][row] = append(r.values[s][row], value.Value)
			}
		}
		if err := files.Err(); err != nil {
			return nil, err
		}
		maps.Copy(r.units, files.Units())
	}
	return r, nil
}

var (
	errNoBenchmark = errors.New("no benchmark matches")
	errMissing     = errors.New("benchmark missing")
)

// paired returns an error unless both sides have the same benchmarks.
func (r *results) paired(bench string) error {
	if len(r.benchmarks[baseSide])+len(r.benchmarks[newSide]) == 0 {
		return fmt.Errorf("%w %q in either revision; go test -list Benchmark lists those there are", errNoBenchmark, bench)
	}
	var missing []string
	for _, s := range []side{baseSide, newSide} {
		for _, name := range r.benchmarks[1-s] {
			if !slices.Contains(r.benchmarks[s], name) {
				missing = append(missing, fmt.Sprintf("%s is not in %s", name, s))
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: %s; choose with -bench what both revisions have", errMissing, strings.Join(missing, ", "))
	}
	return nil
}

// row is the verdict on one measurement.
type row struct {
	measurement
	medians    [2]float64
	comparison benchmath.Comparison
	worse      float64 // percent in the wrong direction, infinite where base is 0; 0 if the two do not differ
	bad        bool    // worse than the threshold
}

// judge compares all benchmarks in the given units; in time and allocations if there are none.
func (r *results) judge(units []string, threshold float64) ([]row, error) {
	named := len(units) > 0
	if !named {
		units = judged
	}
	var rows []row
	for _, unit := range units {
		direction := r.direction(unit)
		before := len(rows)
		for _, name := range r.benchmarks[baseSide] {
			m := measurement{name, unit}
			base, tested := r.values[baseSide][m], r.values[newSide][m]
			if len(base) == 0 && len(tested) == 0 {
				continue
			}
			if len(base) != len(tested) {
				return nil, fmt.Errorf("%w: %s reported %s %d times in base and %d times in new", errMissing, name, unit, len(base), len(tested))
			}
			rows = append(rows, r.compare(m, direction, threshold))
		}
		if before == len(rows) && named {
			return nil, fmt.Errorf("no benchmark reports %s; those there are report %s; -benchmem counts allocations", unit, strings.Join(r.reported(), ", "))
		}
		if direction == 0 {
			return nil, fmt.Errorf("whether more %s is better is not known; let the benchmark print a line \"Unit %s better=higher\" or lower", unit, unit)
		}
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("no benchmark reports %s; name with -only one of %s", strings.Join(units, " or "), strings.Join(r.reported(), ", "))
	}
	return rows, nil
}

// direction is +1 if more is better, -1 if less is, 0 if that is not known.
func (r *results) direction(unit string) int {
	if direction := r.units.GetBetter(unit); direction != 0 {
		return direction
	}
	return better[unit]
}

// reported are the units that base has values of.
func (r *results) reported() []string {
	units := map[string]bool{}
	for m := range r.values[baseSide] {
		units[m.unit] = true
	}
	return slices.Sorted(maps.Keys(units))
}

// confidence is that of benchstat's intervals. No verdict depends on it.
const confidence = 0.95

// compare does what benchstat does.
func (r *results) compare(m measurement, direction int, threshold float64) row {
	assumption := r.units.GetAssumption(m.unit)
	out := row{measurement: m}
	var samples [2]*benchmath.Sample
	for s := range samples {
		samples[s] = benchmath.NewSample(r.values[s][m], &benchmath.DefaultThresholds)
		out.medians[s] = assumption.Summary(samples[s], confidence).Center
	}
	out.comparison = assumption.Compare(samples[baseSide], samples[newSide])
	fall := (out.medians[newSide] - out.medians[baseSide]) * -float64(direction)
	if out.comparison.P > out.comparison.Alpha || fall == 0 {
		return out
	}
	out.worse = fall / math.Abs(out.medians[baseSide]) * 100
	out.bad = out.worse > threshold
	return out
}

func (r *row) String() string {
	class := benchunit.ClassOf(r.unit)
	return fmt.Sprintf("%s: %s %s instead of %s, %s (%s)", r.benchmark, benchunit.Scale(r.medians[newSide], class), r.unit,
		benchunit.Scale(r.medians[baseSide], class), r.comparison.FormatDelta(r.medians[baseSide], r.medians[newSide]), r.comparison)
}

// writeVerdict names what is worse, and reports whether anything is.
func writeVerdict(w io.Writer, rows []row, threshold float64) (worse bool) {
	for i := range rows {
		if rows[i].bad {
			fmt.Fprintf(w, "worse: %s\n", &rows[i])
			worse = true
		}
	}
	if !worse {
		fmt.Fprintf(w, "nothing is worse by more than %g %%, of %d rows\n", threshold, len(rows))
	}
	return worse
}
