package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/inspect"
)

func dumpVerb() *verb {
	return &verb{
		name: "dump", args: "[DIR|FILE]", max: 1, summary: "show what is in the files of a directory, damaged or not",
		details: "Of a log it shows frames and records, of a checkpoint a summary, of a version file what it says. Damage is shown where it is\n" +
			"and ends nothing; check judges it. Nothing is written. With -json each line has the name of the file.",
		prepare: func(c *call) func(context.Context) error {
			var opts inspect.DumpOptions
			c.flags.BoolVar(&opts.Values, "values", false, "show the values of records, too")
			dir := c.flags.String("dir", "", "data `directory`, if there is no argument; SMALLDB_DIR if neither is given")
			return func(ctx context.Context) error {
				path, err := c.chooseDir(*dir)
				if err != nil {
					return err
				}
				return c.dump(ctx, path, opts)
			}
		},
	}
}

func (c *call) dump(ctx context.Context, path string, opts inspect.DumpOptions) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	files := []dumpFile{{path: path}}
	if info.IsDir() {
		if files, err = listFiles(path); err != nil {
			return err
		}
	} else if files[0].kind, err = inspect.KindOfFile(path); err != nil {
		return err
	}
	out := &dumper{c: c, opts: opts, out: bufio.NewWriter(c.stdout)}
	for _, f := range files {
		if err = out.file(ctx, f); err != nil {
			break
		}
	}
	return errors.Join(err, out.out.Flush())
}

// dumpFile is a file to show.
type dumpFile struct {
	path       string
	kind       inspect.Kind
	generation uint64
}

// kindOrder is the order of the files of a directory.
var kindOrder = []inspect.Kind{inspect.KindVersion, inspect.KindCheckpoint, inspect.KindLog, inspect.KindSpare, inspect.KindLock,
	inspect.KindTemporary, inspect.KindForeign}

func listFiles(dir string) ([]dumpFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []dumpFile
	database := false
	for _, entry := range entries {
		f := dumpFile{path: filepath.Join(dir, entry.Name())}
		f.kind, f.generation = inspect.KindByName(entry.Name())
		database = database || f.kind != inspect.KindForeign
		files = append(files, f)
	}
	if !database {
		return nil, engine.ErrNoDatabase
	}
	slices.SortStableFunc(files, func(a, b dumpFile) int {
		return cmp.Or(cmp.Compare(slices.Index(kindOrder, a.kind), slices.Index(kindOrder, b.kind)), cmp.Compare(a.generation, b.generation))
	})
	return files, nil
}

// dumper shows files, as text or as JSON.
type dumper struct {
	c    *call
	opts inspect.DumpOptions
	out  *bufio.Writer
}

func (d *dumper) file(ctx context.Context, f dumpFile) error {
	name := filepath.Base(f.path)
	switch f.kind {
	case inspect.KindLog:
		d.title(name, f.kind)
		return inspect.DumpLog(ctx, f.path, d.opts, func(item *inspect.LogItem) error { return d.logItem(name, item) })
	case inspect.KindCheckpoint:
		info, err := inspect.DumpCheckpoint(ctx, f.path)
		if err != nil {
			return err
		}
		return d.checkpoint(name, info)
	case inspect.KindVersion:
		return d.version(name, f.path)
	}
	info, err := os.Lstat(f.path)
	if err != nil {
		return err
	}
	return d.other(name, f.kind, info.Size())
}
