// Command peers measures this project beside what a user would pick instead, and beside the limits that nothing can beat: in one run, on one
// machine, with the same promise (what was acknowledged is synced). It is a module of its own, so that no user of the project ever downloads
// the rivals.
//
//	go run . -quick                          a few minutes, a table with ratios
//	go run . -quick -json FILE -svg DIR      the same for programs, and drawn
//	go run . -svg DIR -markdown FILE         the whole run, at most 90 minutes, with a page
//
// Package rival has the rivals and their settings. Package agent runs each in a process of its own. Ours and a rival take turns in rounds,
// and a ratio is the median over the rounds. What lies on the disk is removed as soon as it has been measured.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
)

func main() {
	agent.ServeIfAsked()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// notes are what the page says beside its figures: written by hand, with links from where the page lies.
//
//go:embed notes.md
var notes string

// outputs are the files that the results go to, beside the table.
type outputs struct{ json, svg, markdown string }

func run() error {
	var out outputs
	quick := flag.Bool("quick", false, "end within 4 minutes: short turns, few rounds, 10 M keys for ours alone")
	dir := flag.String("dir", os.TempDir(), "directory for the data of all engines, on a disk")
	only := flag.String("only", "", "sections to run, with commas: "+strings.Join(sectionNames(), ","))
	engines := flag.String("engines", "", "engines to measure beside ours, with commas; all if empty")
	keys := flag.Uint64("keys", 1_000_000, "keys")
	large := flag.Uint64("large", 10_000_000, "keys of the large data set; 0 for none")
	length := flag.Duration("for", 0, "length of a turn instead of the usual ones")
	rate := flag.Float64("rate", 20_000, "sets per second beside checkpoints, open loop")
	flag.StringVar(&out.json, "json", "", "file for rows and ratios")
	flag.StringVar(&out.svg, "svg", "", "directory for drawings")
	flag.StringVar(&out.markdown, "markdown", "", "file for the page with all tables")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%q is no flag", flag.Arg(0))
	}
	p := fullPlan()
	if *quick {
		p = quickPlan()
	}
	p.keys, p.large, p.rate = *keys, *large, *rate
	if *length > 0 {
		p.set, p.get, p.mix, p.pace = *length, *length, *length, *length
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	started := time.Now()
	results, err := measure(ctx, p, *dir, list(*only), list(*engines))
	if results == nil {
		return err
	}
	results.Text = notes
	results.Command = strings.Join(append([]string{"go run ."}, os.Args[1:]...), " ")
	results.Machine = append(report.Machine(), fmt.Sprintf("the run took %s", time.Since(started).Round(time.Second)))
	if err != nil { // what was measured up to then is shown
		results.Notes = append(results.Notes, "the run was ended by an error: "+err.Error())
	}
	if writeErr := out.write(results); writeErr != nil {
		return writeErr
	}
	return err
}

// list splits what a flag names.
func list(names string) []string {
	if names == "" {
		return nil
	}
	return strings.Split(names, ",")
}

func (o *outputs) write(results *report.Results) error {
	if err := results.WriteTable(os.Stdout); err != nil {
		return err
	}
	if o.json != "" {
		if err := writeFile(o.json, results.WriteJSON); err != nil {
			return err
		}
	}
	drawings := ""
	if o.svg != "" {
		if err := results.WriteSVG(o.svg); err != nil {
			return err
		}
		drawings = o.svg
	}
	if o.markdown == "" {
		return nil
	}
	if relative, err := filepath.Rel(filepath.Dir(o.markdown), drawings); err == nil && drawings != "" {
		drawings = filepath.ToSlash(relative)
	}
	return writeFile(o.markdown, func(w io.Writer) error { return results.WritePage(w, drawings) })
}

func writeFile(name string, write func(io.Writer) error) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := write(file); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
