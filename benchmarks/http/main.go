// Command http measures the service: this project's server beside an empty handler of net/http, which is its limit, and beside Redis and etcd
// where they are installed. Each is a process of its own, and syncs before it acknowledges. This process generates the load for all of them.
//
//	go run . -quick                          at most 3 minutes, a table with ratios
//	go run . -quick -json FILE -svg DIR      the same for programs, and drawn
//	go run . -svg DIR -markdown FILE         the whole run, about 12 minutes, with a page
//
// A connection has one request under way at a time, and a goroutine of its own. The clients of HTTP and of RESP share all but the syntax, so
// that the speed of the client is the same for all; its processor time per request is noted below the table. Each answer is verified, and one that
// is wrong fails the run.
//
// The servers take turns in rounds. A ratio is the median over the rounds. A server's processor time is read at the start and at the end of
// each turn, for all in the same way; work that it has put off until after its turn counts where it is done. What lies on the disk is
// removed at the end. It is a module of its own because it shows its results as the one beside it does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tongpengdl/small-db/benchmarks/peers/report"
)

func main() {
	serveEmptyIfAsked()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "http:", err)
		os.Exit(1)
	}
}

// outputs are the files that the results go to, beside the table.
type outputs struct{ json, svg, markdown string }

func run() error {
	var out outputs
	quick := flag.Bool("quick", false, "end within 3 minutes: short turns, few rounds")
	dir := flag.String("dir", os.TempDir(), "directory for the data of all servers, on a disk")
	engines := flag.String("engines", "", "servers to measure beside ours, with commas: "+strings.Join(contenderNames(), ",")+"; all if empty")
	connections := flag.String("connections", "1,16,64,256", "numbers of connections, with commas")
	keys := flag.Uint64("keys", defaultKeys, "keys, loaded before anything is measured")
	length := flag.Duration("for", 0, "length of a turn instead of the usual one")
	rounds := flag.Int("rounds", 0, "rounds instead of the usual number")
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
	p.keys = *keys
	if *length > 0 {
		p.length = *length
	}
	if *rounds > 0 {
		p.rounds = *rounds
	}
	var err error
	if p.connections, err = numbers(*connections); err != nil {
		return fmt.Errorf("-connections: %w", err)
	}
	if *engines != "" {
		p.engines = strings.Split(*engines, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return show(ctx, p, *dir, out)
}

// show measures, and writes what was measured, also up to an error.
func show(ctx context.Context, p plan, dir string, out outputs) error {
	started := time.Now()
	results, err := measure(ctx, p, dir)
	if results == nil {
		return err
	}
	results.Command = strings.Join(append([]string{"go run ."}, os.Args[1:]...), " ")
	results.Machine = append(report.Machine(), fmt.Sprintf("the run took %s", time.Since(started).Round(time.Second)))
	if err != nil {
		results.Notes = append(results.Notes, "the run was ended by an error: "+err.Error())
	}
	return errors.Join(out.write(results), err)
}

// numbers splits numbers of connections.
func numbers(list string) ([]int, error) {
	var all []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxConnections {
			return nil, fmt.Errorf("%q is no number from 1 to %d", text, maxConnections)
		}
		all = append(all, n)
	}
	return all, nil
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
	drawings := o.svg
	if o.svg != "" {
		if err := results.WriteSVG(o.svg); err != nil {
			return err
		}
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
	return errors.Join(write(file), file.Close())
}
