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
	if name == "" {
		return nil, usage("the name of a file is empty")
	}
	var err error
	if target, err := filepath.EvalSymlinks(name); err == nil { // a link stays one
		o.name = target
	}
	info, statErr := os.Stat(o.name)
	if statErr != nil {
		info = nil
	}
	if info != nil && !info.Mode().IsRegular() {
		o.whole = true
		o.file, err = openFile(ctx, o.name, os.O_WRONLY)
	} else {
		o.file, err = createTemp(o.name, info)
	}
	if err != nil {
		return nil, err
	}
	o.Writer = o.file
	return o, nil
}

// createTemp begins what is to replace a file, of which info is nil if there is none: it keeps the permissions.
func createTemp(name string, info os.FileInfo) (*os.File, error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.tmp")
	if err != nil || info == nil {
		return f, err
	}
	if err := f.Chmod(info.Mode().Perm()); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return f, nil
}

// refuseInside refuses a file that a verb is to write into the data directory that it reads.
func refuseInside(file, dir string) error {
	if file != "-" && dir != "" && isInside(file, dir) {
		return usage("%s is in the data directory %s, where only the database writes", file, dir)
	}
	return nil
}

// isInside reports whether a path, which need not exist, is a directory or below it.
func isInside(path, dir string) bool {
	path, pathErr := realPath(path)
	dir, dirErr := realPath(dir)
	if pathErr != nil || dirErr != nil {
		return false
	}
	if relative, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(relative) {
		return true
	}
	around, err := os.Stat(dir)
	if err != nil {
		return false
	}
	for { // it may be mounted in two places
		if info, err := os.Stat(path); err == nil && os.SameFile(info, around) {
			return true
		}
		parent := filepath.Dir(path)
		if parent == path {
			return false
		}
		path = parent
	}
}

// realPath is a path without links, as far as it exists.
func realPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for rest := ""; ; {
		if found, err := filepath.EvalSymlinks(path); err == nil {
			return filepath.Join(found, rest), nil
		}
		parent := filepath.Dir(path)
		if parent == path {
			return filepath.Join(path, rest), nil
		}
		path, rest = parent, filepath.Join(filepath.Base(path), rest)
	}
}

func (o *output) isFile() bool { return o.file != nil }

// canVerify reports whether what was written can be read again before it takes its name.
func (o *output) canVerify() bool { return o.file != nil && !o.whole }

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
