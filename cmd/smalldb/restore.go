package main

import (
	"bufio"
	"context"
	"fmt"

	"github.com/tongpengdl/small-db/engine"
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
	err = engine.Restore(dirOptions(dir), bufio.NewReaderSize(&watchedReader{in, p}, readBytes))
	p.end()
	if err != nil {
		return adviseOpen(dir, fmt.Errorf("%w; read from %s", err, in.name))
	}
	if c.json {
		return c.printJSON(c.stdout, struct {
			Bytes int64  `json:"bytes"`
			Dir   string `json:"dir"`
		}{in.taken.Load(), dir})
	}
	_, err = fmt.Fprintf(c.stdout, "restored %s from %s, %s\n", dir, in.name, byteText(in.taken.Load()))
	return err
}
