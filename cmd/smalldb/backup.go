package main

import (
	"context"
	"fmt"
	"io"
)

func backupVerb() *verb {
	return &verb{
		name: "backup", args: "[FILE|-]", max: 1, long: true, summary: "write a copy of the whole database to a file",
		details: "It is one consistent state, in the format of a checkpoint, with checksums; restore makes a directory of it.\n" +
			"A file takes its name only when it is complete. Without one, standard output (-).",
		prepare: func(c *call) func(context.Context) error {
			t := newTarget(c)
			return func(ctx context.Context) error {
				return t.use(ctx, func(s store) error { return c.backup(ctx, s) })
			}
		},
	}
}

func (c *call) backup(ctx context.Context, s store) error {
	if c.outputName() == "-" && c.isTerminal(c.stdout) {
		return usage("a backup is binary; name a file, or send standard output somewhere")
	}
	out, err := c.createOutput(ctx, c.outputName())
	if err != nil {
		return err
	}
	p := c.progress("backup", "bytes", 0)
	version, err := s.backup(ctx, &watchedWriter{to: out, p: p})
	p.end()
	if err := out.finish(err); err != nil {
		return c.unfinished(out, err)
	}
	what := "backup"
	if text := versionText(version); text != "" {
		what = fmt.Sprintf("backup of version %s", text)
	}
	return c.wrote(out, what, struct {
		Bytes   int64  `json:"bytes"`
		File    string `json:"file"`
		Version string `json:"version,omitempty"`
	}{out.bytes, out.name, versionText(version)})
}

// watchedWriter shows as progress what is written.
type watchedWriter struct {
	to io.Writer
	p  *progress
	n  int64
}

func (w *watchedWriter) Write(b []byte) (int, error) {
	n, err := w.to.Write(b)
	w.n += int64(n)
	w.p.at(w.n, w.n)
	return n, err
}

// watchedReader shows as progress what is read.
type watchedReader struct {
	from *input
	p    *progress
}

func (r *watchedReader) Read(b []byte) (int, error) {
	n, err := r.from.Read(b)
	taken := r.from.taken.Load()
	r.p.at(taken, taken)
	return n, err
}
