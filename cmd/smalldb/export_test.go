package main

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/tongpengdl/small-db/engine"
)

// Program is a command's surroundings as a test has them.
type Program struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Env            map[string]string
	Now            func() time.Time
	Terminal       func(stream any) bool
}

// Run does what args say and returns the exit status.
func (p *Program) Run(ctx context.Context, args ...string) int {
	inner := &program{p.Stdin, p.Stdout, p.Stderr, func(name string) string { return p.Env[name] }, p.Now, p.Terminal}
	return inner.run(ctx, args)
}

// Load imports lines into an open database, as import does.
func Load(ctx context.Context, db *engine.DB, in io.Reader) (int64, error) {
	c := &call{program: &program{stderr: io.Discard, getenv: os.Getenv, now: time.Now, isTerminal: isTerminal}, quiet: true}
	return (&directory{db: db}).load(ctx, in, c.progress("import", "lines", 0))
}

// Draw shows progress on a terminal that is w, for positions of total that are a second apart.
func Draw(w io.Writer, unit string, total int64, between func(), positions ...int64) {
	now := time.Now()
	c := &call{program: &program{stderr: w, getenv: func(string) string { return "" }, now: func() time.Time { return now },
		isTerminal: func(any) bool { return true }}}
	p := c.progress("import", unit, total)
	for _, done := range positions {
		now = now.Add(time.Second)
		between()
		p.at(done, done)
	}
	p.end()
}

// Main is the program as main runs it.
func Main() int { return run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr) }

// ExitOf is the exit status for an error.
func ExitOf(err error) int { return exitOf(err) }

// The errors that have an exit status of their own.
var (
	ErrNotFound = errNotFound
	ErrDamaged  = errDamaged
	IsTerminal  = isTerminal
)

// Usage and ServerError are an error of the command, and one that a server answers.
func Usage() error                 { return usage("x") }
func ServerError(status int) error { return &statusError{status: status, text: "x"} }

// IsInside reports whether a path is a directory or below it.
func IsInside(path, dir string) bool { return isInside(path, dir) }
