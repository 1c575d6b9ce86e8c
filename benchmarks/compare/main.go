// Command compare runs the benchmarks of two revisions in turn and prints the verdict of benchstat. It is a module of its own, so that no
// user of the project ever downloads benchstat.
//
//	go run .                                  HEAD against the working tree; HEAD~1 against HEAD if nothing is changed
//	go run . -bench 'Get|View' -benchtime 3s  only some benchmarks, each for longer
//	go run . -base v1 -new HEAD -count 20     two named revisions, more rounds
//	go run . -only allocs/op -benchtime 100x  allocations alone: soon done, and noise does not touch them
//	go run . -only ratio,cpu-ratio            beside the limits that the benchmarks of this project run, which a noisy machine disturbs least
//
// # How it measures
//
// Each revision is written out beside the other, its test binary is built once, and then the binaries take turns: base, new, new, base and so
// on, so that a machine that drifts drifts for both. A round is one run of each. The working tree is built where it is, with what is not yet
// committed; do not edit files that a benchmark reads until it is done. The data of the benchmarks lies in the directory for temporary files,
// which TMPDIR names and which must be on a disk for those of this project.
//
// # The verdict
//
// The table is benchstat's. The medians of a row differ if the Mann-Whitney U test says so (p <= 0.05), which four rounds can show at the
// earliest and ten show well. A row is worse if it differs, and by more than -threshold percent in the wrong direction. Time and allocations
// are judged (sec/op, allocs/op, allocs/get), or what -only names; whatever else a benchmark reports is shown. Allocations are those of
// benchmarks that report them: -benchmem adds the rest, which is wrong where an iteration is a slice of time, as in most of this project,
// because what gets faster then allocates more. Of a hundred equal rows five differ by chance, so a single row just above the threshold asks
// for a look, not for belief.
//
// It exits with 0 if nothing is worse, with 1 if something is, and with 2 if it could not tell; go run makes 1 of both. Whatever it made is
// removed at the end, also when it is interrupted, and the repository is only read.
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
	"strings"
	"syscall"

	"golang.org/x/perf/benchunit"
)

// Exit codes.
const (
	exitFine = iota
	exitWorse
	exitError
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := exitFine
	worse, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "compare:", err)
		code = exitError
	case worse:
		code = exitWorse
	}
	stop()
	os.Exit(code)
}

// minRounds is how many rounds can show a difference: the smallest p of three against three is 0.1.
const minRounds = 4

// options are what the flags say.
type options struct {
	repository string // a directory in it
	base, new  string // revisions; a missing new is the working tree
	pkg        string // directory of the package, from the root of the repository
	bench      string // regular expression
	benchtime  string
	benchmem   bool
	rounds     int
	threshold  float64  // percent
	only       []string // units that are judged and shown, as benchstat names them; nil: those judged by default, and all shown
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := new(options)
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.repository, "repository", ".", "a directory in the repository")
	flags.StringVar(&o.base, "base", "", "revision to compare with (default HEAD, or HEAD~1 if the tree is clean and -new is not given)")
	flags.StringVar(&o.new, "new", "", "revision to judge (default the working tree, or HEAD if the tree is clean and -base is not given)")
	flags.StringVar(&o.pkg, "package", "./benchmarks", "package of the benchmarks: a directory, from the root of the repository")
	flags.StringVar(&o.bench, "bench", ".", "regular expression of the benchmarks, as that of go test")
	flags.StringVar(&o.benchtime, "benchtime", "1s", "time or number of runs (100x) of each benchmark in each round")
	flags.BoolVar(&o.benchmem, "benchmem", false, "count allocations also of benchmarks that do not report them")
	flags.IntVar(&o.rounds, "count", 10, "rounds, at least 4")
	flags.Float64Var(&o.threshold, "threshold", 5, "percent by which a benchmark may be worse")
	only := flags.String("only", "", "units to show and judge, with commas (default shows all and judges time and allocations)")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("%q is no flag", flags.Arg(0))
	case o.rounds < minRounds:
		return nil, fmt.Errorf("-count is %d: fewer than %d rounds cannot show a difference", o.rounds, minRounds)
	case !(o.threshold >= 0):
		return nil, fmt.Errorf("-threshold is %g: it is a percentage, 0 or more", o.threshold)
	case !filepath.IsLocal(o.pkg):
		return nil, fmt.Errorf("-package is %q: name a directory inside the repository, from its root", o.pkg)
	}
	if *only != "" {
		for unit := range strings.SplitSeq(*only, ",") {
			_, tidy := benchunit.Tidy(1, unit)
			o.only = append(o.only, tidy)
		}
	}
	return o, nil
}

// run compares, and reports whether something is worse.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (worse bool, err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return false, err
	}
	scratch, err := os.MkdirTemp("", "compare")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	t := tools{ctx: ctx, scratch: scratch, temp: filepath.Join(scratch, "temp")}
	if err := os.Mkdir(t.temp, 0o700); err != nil {
		return false, err
	}
	base, tested, err := t.revisions(o)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(stdout, "base: %s\nnew:  %s\n", base.label, tested.label)
	benchstat, err := t.buildBenchstat()
	if err != nil {
		return false, err
	}
	for _, r := range []*revision{base, tested} {
		if err := t.checkOut(r); err != nil {
			return false, err
		}
		if err := t.build(r, o); err != nil {
			return false, err
		}
	}
	rows, err := t.takeTurns(base, tested, o, stderr)
	if err != nil {
		return false, err
	}
	table, err := t.table(benchstat, base, tested, o.only)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(stdout, "\n%s\n", table)
	return writeVerdict(stdout, rows, o.threshold), nil
}
