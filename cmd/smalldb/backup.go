package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/engine"
)

func backupVerb() *verb {
	return &verb{
		name: "backup", args: "[FILE|-]", max: 1, long: true, summary: "write a copy of the whole database to a file",
		details: "It is one consistent state, in the format of a checkpoint, with checksums; restore makes a directory of it.\n" +
			"A file takes its name only when it is complete, and verified from the disk; one that is replaced keeps its permissions. Without a\n" +
			"file, standard output (-), which is not verified here: restore does that.",
		prepare: func(c *call) func(context.Context) error {
			t := newTarget(c)
			return func(ctx context.Context) error {
				if err := t.refuseOutput(c.outputName()); err != nil {
					return err
				}
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
	if err == nil && out.canVerify() {
		err = c.verifyBackup(ctx, s, out)
	}
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

// verifyBackup reads a backup again, all of it.
func (c *call) verifyBackup(ctx context.Context, s store, out *output) error {
	p := c.progress("backup: verify", "bytes", out.bytes)
	defer p.end()
	err := ckpt.Verify(&watchedFile{ctx: ctx, file: out.file, p: p}, out.bytes, out.name)
	_, remote := s.(*client)
	switch {
	case err == nil, ctx.Err() != nil:
		return ctx.Err()
	case remote:
		return fmt.Errorf("%w: it is no whole backup: %v", errStranger, err)
	}
	return fmt.Errorf("%w: what was written does not verify: %w", engine.ErrNotBackup, err)
}

// watchedFile shows as progress what is read, until a context ends.
type watchedFile struct {
	ctx  context.Context
	file *os.File
	p    *progress
	n    int64
}

// ReadAt is io.ReaderAt's.
func (f *watchedFile) ReadAt(b []byte, offset int64) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := f.file.ReadAt(b, offset)
	f.n += int64(n)
	f.p.at(f.n, f.n)
	return n, err
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
