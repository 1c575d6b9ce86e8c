package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
)

func restoreVerb() *verb {
	return &verb{
		name: "restore", args: "FILE|-", min: 1, max: 1, long: true, summary: "make a new directory from a backup",
		details: "The directory must be missing or empty. The whole backup is verified before anything takes its place there.",
		prepare: func(c *call) func(context.Context) error {
			dir := c.flags.String("dir", "", "data `directory` to make; SMALLDB_DIR if it is not given")
			return func(ctx context.Context) error {
				if *dir == "" {
					*dir = c.getenv("SMALLDB_DIR")
				}
				if *dir == "" {
					return usage("-dir DIRECTORY says where to")
				}
				return c.restore(ctx, *dir)
			}
		},
	}
}

func (c *call) restore(ctx context.Context, dir string) error {
	in, err := c.openInput(ctx, c.args[0])
	if err != nil {
		return err
	}
	defer in.close()
	p := c.progress("restore", "bytes", in.size)
	_, err = os.Lstat(dir)
	fresh := errors.Is(err, fs.ErrNotExist)
	err = engine.Restore(engine.Options{Dir: dir}, bufio.NewReaderSize(&watchedReader{in, p}, readBytes))
	p.end()
	if err != nil {
		if fresh && !errors.Is(err, engine.ErrIndeterminate) && !errors.Is(err, engine.ErrLocked) {
			_ = os.Remove(filepath.Join(dir, format.LockName)) // with anything else in it, the directory stays
			_ = os.Remove(dir)
		}
		return adviseOpen(dir, fmt.Errorf("%w; read from %s", err, in.name))
	}
	if c.json {
		return c.printJSON(c.stdout, struct {
			Bytes int64  `json:"bytes"`
			Dir   string `json:"dir"`
		}{in.taken.Load(), dir})
	}
	return c.say("restored %s from %s, %s", dir, in.name, byteText(in.taken.Load()))
}
