package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// outputs writes what two benchmark runs could have printed: a line per value.
func outputs(t *testing.T, head, unit string, base, tested []float64) *results {
	t.Helper()
	var paths []string
	for s, values := range [][]float64{base, tested} {
		var text strings.Builder
		text.WriteString("goos: linux\n" + head)
		for _, value := range values {
			fmt.Fprintf(&text, "BenchmarkWork-2 \t 100 \t %g %s\n", value, unit)
		}
		path := filepath.Join(t.TempDir(), side(s).String())
		require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o600))
		paths = append(paths, path)
	}
	r, err := readResults(paths...)
	require.NoError(t, err)
	return r
}

func repeat(value float64) []float64 { return []float64{value, value, value, value, value} }

func TestJudge(t *testing.T) {
	for name, row := range map[string]struct {
		head, unit   string
		base, tested []float64
		worse        float64
		bad          bool
	}{
		"equal":               {unit: "ns/op", base: repeat(100), tested: repeat(100)},
		"slower":              {unit: "ns/op", base: repeat(100), tested: repeat(110), worse: 10, bad: true},
		"a little slower":     {unit: "ns/op", base: repeat(100), tested: repeat(104), worse: 4},
		"faster":              {unit: "ns/op", base: repeat(100), tested: repeat(50), worse: -50},
		"noise":               {unit: "ns/op", base: []float64{90, 100, 110, 120, 130}, tested: []float64{95, 105, 125, 135, 145}},
		"first allocation":    {unit: "allocs/op", base: repeat(0), tested: repeat(1), worse: math.Inf(1), bad: true},
		"no allocation":       {unit: "allocs/op", base: repeat(0), tested: repeat(0)},
		"last allocation":     {unit: "allocs/op", base: repeat(1), tested: repeat(0), worse: -100},
		"less speed":          {unit: "MB/s", base: repeat(100), tested: repeat(50), worse: 50, bad: true},
		"more speed":          {unit: "MB/s", base: repeat(100), tested: repeat(200), worse: -100},
		"lower ratio":         {unit: "ratio", base: repeat(1), tested: repeat(0.5), worse: 50, bad: true},
		"more processor time": {unit: "cpu-ns/op", base: repeat(100), tested: repeat(150), worse: 50, bad: true},
		"by its own word":     {head: "Unit apples better=higher\n", unit: "apples", base: repeat(2), tested: repeat(1), worse: 50, bad: true},
		"against the table":   {head: "Unit ratio better=lower\n", unit: "ratio", base: repeat(2), tested: repeat(1), worse: -50},
	} {
		t.Run(name, func(t *testing.T) {
			r := outputs(t, row.head, row.unit, row.base, row.tested)
			require.NoError(t, r.paired("."))
			rows, err := r.judge(r.reported(), 5)
			require.NoError(t, err)
			require.Len(t, rows, 1)
			if math.IsInf(row.worse, 1) {
				require.Equal(t, row.worse, rows[0].worse)
			} else {
				require.InDelta(t, row.worse, rows[0].worse, 1e-9)
			}
			require.Equal(t, row.bad, rows[0].bad)
			var said strings.Builder
			require.Equal(t, row.bad, writeVerdict(&said, rows, 5))
			assert.Equal(t, row.bad, strings.HasPrefix(said.String(), "worse: Work-2: "), said.String())
		})
	}
}

// TestJudgedByDefault: both units decide, and a third one does not.
func TestJudgedByDefault(t *testing.T) {
	for head, bad := range map[string]bool{"1 allocs/op\t 5 B/op\t": false, "2 allocs/op\t 5 B/op\t": true, "1 allocs/op\t 50 B/op\t": false} {
		r := outputs(t, "", "ns/op", repeat(100), repeat(100))
		for s, other := range []string{"1 allocs/op\t 5 B/op\t", head} {
			path := filepath.Join(t.TempDir(), "out")
			line := "BenchmarkWork-2 \t 100 \t 100 ns/op\t " + other + "\n"
			require.NoError(t, os.WriteFile(path, []byte(strings.Repeat(line, 5)), 0o600))
			one, err := readResults(path)
			require.NoError(t, err)
			r.values[s] = one.values[0]
		}
		rows, err := r.judge(nil, 5)
		require.NoError(t, err)
		require.Len(t, rows, 2)
		require.Equal(t, "sec/op", rows[0].unit)
		require.False(t, rows[0].bad)
		require.Equal(t, "allocs/op", rows[1].unit)
		require.Equal(t, bad, rows[1].bad, head)
	}
}

// TestUnevenRuns: a benchmark that printed less often in one revision than in the other is not judged on what is left.
func TestUnevenRuns(t *testing.T) {
	r := outputs(t, "", "ns/op", repeat(100), repeat(100)[:4])
	_, err := r.judge([]string{"sec/op"}, 5)
	require.ErrorIs(t, err, errMissing)
}

// TestLeastRounds: what is refused could show nothing, and what is allowed can.
func TestLeastRounds(t *testing.T) {
	for n, bad := range map[int]bool{minRounds - 1: false, minRounds: true} {
		r := outputs(t, "", "ns/op", []float64{1, 2, 3, 4}[:n], []float64{11, 12, 13, 14}[:n])
		rows, err := r.judge([]string{"sec/op"}, 5)
		require.NoError(t, err)
		require.Equal(t, bad, rows[0].bad, "%d rounds", n)
	}
}
