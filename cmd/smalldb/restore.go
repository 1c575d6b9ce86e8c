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
	left := newRestoreDir(dir)
	err = engine.Restore(engine.Options{Dir: dir}, bufio.NewReaderSize(&watchedReader{in, p}, readBytes))
	p.end()
	if err != nil {
		left.leave(err)
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

// restoreDir is a directory that a database is to be made in, as it was before.
type restoreDir struct {
	path    string
	missing bool
	locked  bool // there was a LOCK, which is somebody's
}

func newRestoreDir(path string) restoreDir {
	_, err := os.Lstat(path)
	_, lockErr := os.Lstat(filepath.Join(path, format.LockName))
	return restoreDir{path, errors.Is(err, fs.ErrNotExist), lockErr == nil}
}

// leave removes what an attempt that has failed has left there: its LOCK, if that is all there is, and the directory, if it was missing.
func (d *restoreDir) leave(err error) {
	if errors.Is(err, engine.ErrIndeterminate) || errors.Is(err, engine.ErrLocked) || errors.Is(err, engine.ErrNotEmpty) {
		return
	}
	entries, err := os.ReadDir(d.path)
	if err != nil || d.locked || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != format.LockName {
		return
	}
	_ = os.Remove(filepath.Join(d.path, format.LockName)) // it may not be there
	if d.missing {
		_ = os.Remove(d.path) // with a file that somebody has just put there it stays
	}
}
