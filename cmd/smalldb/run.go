package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

const name = "smalldb"

// program is what surrounds a command. Tests replace its parts.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	now            func() time.Time
	isTerminal     func(stream any) bool
}

// run is the program: it does what args say and returns the exit status. SIGINT and SIGTERM end what is going on
// in order, a second one at once.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)() // the second signal is the system's to handle
	p := &program{stdin, stdout, stderr, os.Getenv, time.Now, isTerminal}
	return p.run(ctx, args)
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (p *program) run(ctx context.Context, args []string) int {
	c := &call{program: p, json: asksForJSON(args)}
	err := c.run(ctx, args)
	if errors.Is(err, flag.ErrHelp) { // the help is printed
		return exitOK
	}
	if err != nil {
		c.complain(err)
	}
	return exitOf(err)
}

// call is one command.
type call struct {
	*program
	flags *flag.FlagSet
	args  []string // the arguments that are no flags
	json  bool
	quiet bool
}

func (c *call) run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		_ = c.printOverview(c.stderr)
		return usage("which verb?")
	}
	switch args[0] {
	case "-h", "-help", "--help":
		args = []string{"help"}
	case "-version", "--version":
		args = []string{"version"}
	}
	v := findVerb(args[0])
	if v == nil {
		return usage("there is no verb %q; %s help lists them", args[0], name)
	}
	do := c.prepare(v)
	if err := c.parse(v, args[1:]); err != nil {
		return err
	}
	return do(ctx)
}

// prepare makes the flags of a verb and returns what it does once they are parsed.
func (c *call) prepare(v *verb) func(context.Context) error {
	c.flags = flag.NewFlagSet(v.name, flag.ContinueOnError)
	c.flags.SetOutput(io.Discard) // an error is one line, and is complain's to print
	c.flags.BoolVar(&c.json, "json", c.json, "print results and errors as JSON, and no progress")
	if v.long {
		c.flags.BoolVar(&c.quiet, "quiet", false, "print no progress")
	}
	return v.prepare(c)
}
