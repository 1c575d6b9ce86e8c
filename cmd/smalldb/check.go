package main

import (
	"context"
	"fmt"
	"io"

	"github.com/tongpengdl/small-db/engine/inspect"
)

func checkVerb() *verb {
	return &verb{
		name: "check", args: "[DIR]", max: 1, long: true, summary: "verify every checksum, chain and pointer in a directory",
		details: "Nothing is written, and no server may have the directory open. It goes on behind damage, and says what follows from\n" +
			"it. Damage is exit status 5; notes alone are 0.\n\n" +
			"With -repair-to, everything that is provably intact is saved in a new directory, missing or empty so far, and what is not is\n" +
			"reported: by file, offset and sequences. DIR stays as it is. Exit status 5 means then that operations were lost, or could not be\n" +
			"proven; damage from which nothing is lost is 0. What a stop cut off at the end of the newest log is no loss.",
		prepare: func(c *call) func(context.Context) error {
			dir := c.flags.String("dir", "", "data `directory`, if it is no argument; SMALLDB_DIR if neither is given")
			to := c.flags.String("repair-to", "", "new `directory` for a copy of all that is intact")
			var opts inspect.CheckOptions
			c.flags.BoolVar(&opts.Shallow, "shallow", false, "do not prove that the newest checkpoint is the kept one and the logs between")
			c.flags.IntVar(&opts.MaxFindings, "max-findings", 0, "report at most `n`; 0 means 1000")
			return func(ctx context.Context) error {
				if opts.MaxFindings < 0 {
					return usage("-max-findings %d is negative", opts.MaxFindings)
				}
				path, err := c.chooseDir(*dir)
				if err != nil {
					return err
				}
				if c.given("repair-to") {
					if opts.Shallow {
						return usage("-shallow is of a check; -repair-to reads all that it needs")
					}
					return c.repair(ctx, path, *to, opts)
				}
				return c.check(ctx, path, opts)
			}
		},
	}
}

// chooseDir decides between -dir, the argument and the environment.
func (c *call) chooseDir(dir string) (string, error) {
	switch {
	case dir != "" && len(c.args) > 0:
		return "", usage("-dir %s and %s are both given, which are two directories", dir, c.args[0])
	case len(c.args) > 0 && c.args[0] == "":
		return "", usage("the name of a directory is empty")
	case len(c.args) > 0:
		return c.args[0], nil
	case dir == "":
		dir = c.getenv("SMALLDB_DIR")
	}
	if dir == "" {
		return "", usage("which directory?")
	}
	return dir, nil
}

func (c *call) check(ctx context.Context, dir string, opts inspect.CheckOptions) error {
	p := c.progress("check", "bytes", 0)
	opts.Progress = p.of
	report, err := inspect.Check(ctx, dir, opts)
	p.end()
	if err != nil {
		return adviseOpen(dir, err)
	}
	if c.json {
		err = c.printJSON(c.stdout, report)
	} else {
		err = printReport(c.stdout, report)
	}
	if err == nil && report.Damaged() {
		err = fmt.Errorf("%s: %w", dir, errDamaged)
	}
	return err
}

func printReport(w io.Writer, r *inspect.Report) error {
	printFindings(w, r.Findings, r.Omitted)
	state := "closed cleanly"
	if !r.Clean {
		state = "not closed: a stop ended it, which is no damage"
	}
	fmt.Fprintf(w, "%s: generation %d, version %d.%d, %s\n", printable(r.Dir), r.Generation, r.Tail.Epoch, r.Tail.Seq, state)
	_, err := fmt.Fprintf(w, "verified %s: %d files are needed, with %d frames and %d operations in logs\n",
		byteText(r.Totals.Verified), r.Totals.Files, r.Totals.Frames, r.Totals.Operations)
	if err == nil && r.NeedsCopy() {
		_, err = fmt.Fprintf(w, "not all of it can be repaired in place; to save what is intact in a new directory: %s check -repair-to NEWDIR %s\n", name, printable(r.Dir))
	}
	return err
}

func printFindings(w io.Writer, findings []inspect.Finding, omitted int) {
	for i := range findings {
		fmt.Fprintln(w, printable(findings[i].String()))
	}
	if omitted > 0 {
		fmt.Fprintf(w, "and %s more\n", count(int64(omitted), "finding"))
	}
}
