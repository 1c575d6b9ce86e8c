package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/benchmarks/peers/report"
)

func sample() *report.Results {
	r := &report.Results{
		Ours:    "ours",
		Engines: []report.Engine{{Name: "ours"}, {Name: "a", Version: "v1.2.3"}, {Name: "b", Missing: "not here"}, {Name: "bound", Limit: true}},
		Ratios:  map[string]float64{"set_1_vs_rawpwrite": 0.97, "open_1m_ms": 3},
		Notes:   []string{"a note"}, Machine: []string{"a machine"}, Command: "go run . -quick",
	}
	r.Add("set, 1 writer", "ours", 9000, report.PerSecond)
	r.Add("set, 1 writer", "a", 5000, report.PerSecond)
	r.Add("set, 1 writer", "bound", 9500, report.PerSecond)
	r.Add("get, 2 readers", "ours", 3e6, report.PerSecond)
	r.Add("get, 2 readers", "ours (delta)", 2e6, report.PerSecond)
	r.Add("get, 2 readers", "a", 2.5e6, report.PerSecond)
	r.Add("open, clean", "ours", 1, report.Millis)
	r.Add("open, clean", "a", 0.001, report.Millis)
	return r
}

// TestJSON holds the shape that programs read.
func TestJSON(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, sample().WriteJSON(&out))
	decoder := json.NewDecoder(&out)
	decoder.DisallowUnknownFields()
	var document struct {
		Rows []struct {
			Workload, Engine, Unit string
			Value                  float64
		}
		Ratios map[string]*float64
	}
	require.NoError(t, decoder.Decode(&document))
	require.Len(t, document.Rows, 8)
	require.Equal(t, "ours", document.Rows[0].Engine)
	require.Equal(t, 9000.0, document.Rows[0].Value)
	names := []string{"set_1_vs_rawpwrite", "set_64_vs_bareloop", "set_64_vs_pebble", "set_256_vs_pebble", "get_2_vs_rwmap", "get_2_vs_lmdb",
		"open_1m_ms", "open_10m_ms", "heap_objects_1m", "rss_per_data_1m", "ckpt_p999_ratio"}
	require.Len(t, document.Ratios, len(names))
	for _, name := range names {
		require.Contains(t, document.Ratios, name)
	}
	require.Equal(t, 0.97, *document.Ratios["set_1_vs_rawpwrite"])
	require.Nil(t, document.Ratios["ckpt_p999_ratio"])
}

func TestJSONOfNothing(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, new(report.Results).WriteJSON(&out))
	require.Contains(t, out.String(), `"rows": []`)
}

// TestLosses: the worse one of ours counts, a limit is no rival, and the worst loss comes first.
func TestLosses(t *testing.T) {
	losses := sample().Losses()
	require.Len(t, losses, 2)
	require.Equal(t, "open, clean", losses[0].Workload)
	require.InDelta(t, 1000, losses[0].Factor, 1e-6)
	require.Equal(t, report.Loss{Workload: "get, 2 readers", Engine: "a", Ours: 2e6, Theirs: 2.5e6, Unit: report.PerSecond, Factor: 1.25}, losses[1])
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, sample().WriteTable(&out))
	for _, part := range []string{"set, 1 writer", "2.50 M", "ours (delta)", "reached", "MISSED", "not measured: b: not here", "note: a note"} {
		require.Contains(t, out.String(), part)
	}
}

func TestGoals(t *testing.T) {
	most, least := report.Goal{Bound: 2, Most: true}, report.Goal{Bound: 2}
	require.True(t, most.Reached(2))
	require.False(t, most.Reached(2.1))
	require.True(t, least.Reached(2))
	require.False(t, least.Reached(1.9))
}

// TestSVG: each group has its drawing, and all are well-formed.
func TestSVG(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	r := sample()
	require.NoError(t, r.WriteSVG(dir))
	require.Len(t, r.Drawings(), 3)
	for _, d := range r.Drawings() {
		text, err := os.ReadFile(filepath.Join(dir, d.File))
		require.NoError(t, err)
		decoder, rects := xml.NewDecoder(bytes.NewReader(text)), 0
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			if start, ok := token.(xml.StartElement); ok && start.Name.Local == "rect" {
				rects++
			}
		}
		require.Greater(t, rects, 2, d.Group)
		require.Equal(t, d.Group == "open", strings.Contains(string(text), "logarithmic"))
	}
}

func TestPage(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, sample().WritePage(&out, "drawings"))
	for _, part := range []string{"`go run . -quick`", "## Where we lose", "| get, 2 readers |", "(drawings/get.svg)", "v1.2.3", "not measured: not here", "a machine"} {
		require.Contains(t, out.String(), part)
	}
}

func grown() *report.Results {
	r := sample()
	p := &report.Part{Title: "Sizes", Text: "What was done."}
	c := p.Curve(report.Curve{Name: "Get by <size>", X: "value", Unit: report.Nanos, Bytes: true, Doubles: true})
	for _, x := range []float64{16, 1 << 10, 1 << 20} {
		c.Add("ours, small", x, x/16)
		c.Add("a, other", x, 2*x/16)
	}
	steps := p.Curve(report.Curve{Name: "Steps", X: "done", Unit: report.Micros})
	for i := range 100 {
		steps.Add("each", float64(i), float64(i%10))
	}
	p.Facts.Heads = []string{"before", "after"}
	p.Fact("disk", report.MiB, "files", 1, 2)
	p.Fact("heap", report.MiB, "", 3, 4)
	r.AddPart(p)
	return r
}

// TestChart: each curve has its drawing, with a path for each line, and says its units.
func TestChart(t *testing.T) {
	dir, r := t.TempDir(), grown()
	require.NoError(t, r.WriteSVG(dir))
	for i, c := range r.Parts[0].Curves {
		text, err := os.ReadFile(filepath.Join(dir, c.File()))
		require.NoError(t, err)
		decoder, paths := xml.NewDecoder(bytes.NewReader(text)), 0
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			if start, ok := token.(xml.StartElement); ok && start.Name.Local == "path" {
				paths++
			}
		}
		require.Equal(t, len(c.Lines), paths)
		require.NotContains(t, string(text), "NaN")
		require.NotContains(t, string(text), "Inf")
		require.Contains(t, string(text), c.Unit)
		require.Contains(t, string(text), ">"+c.X+"<")
		require.Contains(t, string(text), "prefers-color-scheme:dark")
		require.Equal(t, i == 0, strings.Contains(string(text), "logarithmic"))
	}
}

// TestChartOfLittle: what has one point, or zeros alone, is drawn too.
func TestChartOfLittle(t *testing.T) {
	dir, r := t.TempDir(), &report.Results{}
	p := new(report.Part)
	p.Curve(report.Curve{Name: "one", X: "x", Unit: "y", Doubles: true}).Add("line", 5, 7)
	p.Curve(report.Curve{Name: "zeros", X: "x", Unit: "y", Doubles: true}).Add("line", 0, 0)
	p.Curve(report.Curve{Name: "none", X: "x", Unit: "y", Doubles: true})
	r.AddPart(p)
	require.NoError(t, r.WriteSVG(dir))
	for _, c := range p.Curves {
		text, err := os.ReadFile(filepath.Join(dir, c.File()))
		require.NoError(t, err)
		require.NotContains(t, string(text), "NaN", c.Name)
		require.NotContains(t, string(text), "Inf", c.Name)
	}
}

// TestGreatest: each line has its own, wherever it lies.
func TestGreatest(t *testing.T) {
	var c report.Curve
	for i, y := range []float64{2, 9, 4} {
		c.Add("up and down", float64(i), y)
		c.Add("below zero", float64(i), -y)
	}
	require.Equal(t, []float64{9, -2}, c.Greatest())
}

// TestGrown: the figures of a part are on the page, in the table and among the rows, each under its engine.
func TestGrown(t *testing.T) {
	r := grown()
	var page, table, document bytes.Buffer
	require.NoError(t, r.WritePage(&page, "drawings"))
	for _, part := range []string{
		"## As the work grows", "### Sizes", "What was done.", "(drawings/growth-get-by-size.svg)", "| 1 KiB | 64.0 | 128 |",
		"done (the greatest of 5)", "| 99 | 9.00 |", "| disk | MiB | 1.00 | 2.00 | files |",
	} {
		require.Contains(t, page.String(), part)
	}
	require.NoError(t, r.WriteTable(&table))
	require.Contains(t, table.String(), "Get by <size>")
	require.NoError(t, r.WriteJSON(&document))
	var parsed struct{ Rows []report.Row }
	require.NoError(t, json.Unmarshal(document.Bytes(), &parsed))
	require.Len(t, parsed.Rows, 8+6+100+4)
	require.Contains(t, parsed.Rows, report.Row{Workload: "Get by <size>, a, other, value: 1 MiB", Engine: "a", Value: 131072, Unit: report.Nanos})
	require.Contains(t, parsed.Rows, report.Row{Workload: "Sizes, heap, after", Engine: "ours", Value: 4, Unit: report.MiB})
	require.Len(t, r.Rows, 8, "rows of parts are not among the others")
}
