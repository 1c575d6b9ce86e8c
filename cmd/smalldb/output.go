package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// output is what a verb writes: standard output, or a file that takes its name only when it is complete and
// durable, so that a failure leaves what was there before.
type output struct {
	io.Writer
	ctx   context.Context
	bytes int64    // written
	name  string   // "-" for standard output
	file  *os.File // under another name until commit; nil for standard output
	whole bool     // file has its own name from the start: it is a device or a pipe
}

// createOutput begins a file, or standard output for "-". Writing ends with ctx.
func (c *call) createOutput(ctx context.Context, name string) (*output, error) {
	o := &output{ctx: ctx, name: name}
	if name == "-" {
		o.Writer = c.stdout
		return o, nil
	}
	var err error
	if target, err := filepath.EvalSymlinks(name); err == nil { // a link stays one
		o.name = target
	}
	if info, statErr := os.Stat(o.name); statErr == nil && !info.Mode().IsRegular() {
		o.whole = true
		o.file, err = os.OpenFile(o.name, os.O_WRONLY, 0)
	} else {
		o.file, err = os.CreateTemp(filepath.Dir(o.name), filepath.Base(o.name)+".*.tmp")
	}
	if err != nil {
		return nil, err
	}
	o.Writer = o.file
	return o, nil
}

func (o *output) isFile() bool { return o.file != nil }

func (o *output) Write(p []byte) (int, error) {
	if err := o.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := o.Writer.Write(p)
	o.bytes += int64(n)
	return n, err
}

// finish completes the file if err is nil, and else removes it. It returns err, or what went wrong then.
func (o *output) finish(err error) error {
	switch {
	case o.file == nil:
		return err
	case o.whole:
		return errors.Join(err, o.file.Close())
	}
	if err == nil {
		err = o.commit()
	}
	if err != nil {
		_ = o.file.Close()
		_ = os.Remove(o.file.Name())
	}
	return err
}

func (o *output) commit() error {
	if err := errors.Join(o.file.Sync(), o.file.Close()); err != nil {
		return err
	}
	if err := os.Rename(o.file.Name(), o.name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(o.name))
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	return nil
}
