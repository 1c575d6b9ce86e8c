package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/inspect"
	"github.com/tongpengdl/small-db/format"
)

// repair saves what is intact of one directory in another one.
func (c *call) repair(ctx context.Context, from, to string, opts inspect.CheckOptions) error {
	if err := mayRepairTo(from, to); err != nil {
		return err
	}
	p := c.progress("repair: read", "bytes", 0)
	r, err := inspect.NewRepair(ctx, from, inspect.RepairOptions{MaxFindings: opts.MaxFindings, Progress: p.of})
	p.end()
	switch {
	case errors.Is(err, inspect.ErrNothingSaved):
		return fmt.Errorf("%w: %w; %s was not made", errDamaged, err, to)
	case err != nil:
		return adviseOpen(from, err)
	}
	defer r.Close()
	if err := c.writeRepaired(ctx, r, to); err != nil {
		return err
	}
	report := r.Report()
	if c.json {
		err = c.printJSON(c.stdout, struct {
			*inspect.RepairReport
			To string `json:"to"`
		}{report, to})
	} else {
		err = printRepair(c.stdout, report, to)
	}
	if err == nil && report.Lossy() {
		err = fmt.Errorf("%s: %w, and not everything could be saved; what could is in %s", from, errDamaged, to)
	}
	return err
}

// mayRepairTo fails unless a directory is missing or empty, and neither in the damaged one nor around it.
func mayRepairTo(from, to string) error {
	switch {
	case to == "":
		return usage("the name of the new directory is empty")
	case isInside(to, from):
		return usage("%s is in %s, which is only read; name a directory elsewhere", to, from)
	case isInside(from, to):
		return usage("%s is in %s, which is to be made; name a directory elsewhere", from, to)
	}
	return isFree(to)
}

// writeRepaired makes the new directory: until the last step there is no database in it.
func (c *call) writeRepaired(ctx context.Context, r *inspect.Repair, to string) error {
	left := newRestoreDir(to)
	p := c.progress("repair: write", "bytes", 0)
	source, pipe := io.Pipe()
	written := make(chan struct{})
	go func() {
		defer close(written)
		_ = pipe.CloseWithError(r.Write(ctx, &watchedWriter{to: pipe, p: p})) // never fails
	}()
	err := engine.Restore(engine.Options{Dir: to}, bufio.NewReaderSize(source, readBytes))
	_ = source.CloseWithError(err) // never fails; nothing more is taken
	<-written
	p.end()
	if err != nil {
		left.leave(err)
	}
	return err
}

func printRepair(w io.Writer, r *inspect.RepairReport, to string) error {
	printFindings(w, r.Findings, r.Omitted)
	for _, f := range r.Refused {
		fmt.Fprintln(w, printable(fmt.Sprintf("not used: %s: %s", f.File, f.Why)))
	}
	for i := range r.Lost {
		fmt.Fprintln(w, printable(r.Lost[i].String()))
	}
	for i := range r.Holes {
		fmt.Fprintln(w, printable(r.Holes[i].String()))
	}
	for _, file := range r.Unplaced {
		fmt.Fprintf(w, "%s: nothing says up to which sequence it goes: some of what is counted as lost may be in it\n", printable(file))
	}
	for _, file := range r.Unversioned {
		fmt.Fprintf(w, "%s: versions not proven: what is saved of it has a version that nobody was given, so no earlier -if-version holds\n", printable(file))
	}
	if r.Tail.Dropped > 0 {
		fmt.Fprintf(w, "the database was not closed: up to %d bytes at the end of %s prove nothing, and are left out as the next open would\n", r.Tail.Dropped, printable(r.Tail.File))
	}
	for _, u := range r.Used {
		what := count(int64(u.Operations), "operation")
		if _, ok := format.ParseCheckpointName(u.File); ok {
			what = count(int64(u.Keys), "key")
		}
		fmt.Fprintf(w, "used: %s: %s\n", printable(u.File), what)
	}
	if r.Lossy() {
		they := "they"
		if n, more := r.LostOperations(); n == 1 && !more {
			they = "it"
		}
		fmt.Fprintf(w, "%s; nobody knows which keys %s set or deleted: each key has its last value that is proven\n", lostText(r), they)
	} else {
		fmt.Fprintln(w, "nothing was lost")
	}
	_, err := fmt.Fprintf(w, "saved in %s: %s, %s, up to sequence %d\n", printable(to), count(int64(r.Keys), "key"), byteText(int64(r.DataBytes)), r.LastSeq)
	return err
}

// lostText is how much was lost.
func lostText(r *inspect.RepairReport) string {
	n, more := r.LostOperations()
	text := count(int64(n), "operation")
	switch {
	case n == 0:
		return "operations may have been lost"
	case more:
		return text + " and perhaps more were lost"
	case n == 1:
		return text + " was lost"
	}
	return text + " were lost"
}
