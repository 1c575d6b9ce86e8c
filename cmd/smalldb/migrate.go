package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tongpengdl/small-db/cmd/smalldb/reference"
	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
)

func migrateVerb() *verb {
	return &verb{
		name: "migrate", args: "OLD NEW", min: 2, max: 2, long: true, summary: "make a new directory from one of the reference implementation",
		details: "OLD is only read; stop the server that writes to it. NEW must be missing or empty. It is built as NEW.tmp, read back and\n" +
			"compared, and only then takes its name. All keys and values must fit in memory.",
		prepare: func(c *call) func(context.Context) error {
			m := &migration{c: c}
			c.flags.BoolVar(&m.opts.AcceptDamage, "accept-damage", false, "take what a log that is damaged in its middle has before that")
			c.maxValueFlag(&m.maxValue, format.MaxValueLen)
			return m.run
		},
	}
}

// migration is one migrate.
type migration struct {
	c    *call
	opts reference.Options
	temp string // NEW.tmp

	maxValue int // bytes
}

func (m *migration) run(ctx context.Context) error {
	from := m.c.args[0]
	to, err := m.target(from, m.c.args[1])
	if err != nil {
		return err
	}
	old, err := m.read(ctx, from)
	if err != nil {
		return err
	}
	if err := m.checkValues(ctx, old); err != nil {
		return err
	}
	m.temp = to + ".tmp"
	if err := os.Mkdir(m.temp, 0o700); err != nil {
		return fmt.Errorf("%w; if no other migrate is at work, remove it", err)
	}
	version, err := m.build(ctx, old)
	if err != nil {
		return fmt.Errorf("%w; %s was not made, %s is incomplete: remove it", err, to, m.temp)
	}
	if err := replaceEmptyDir(m.temp, to); err != nil {
		return fmt.Errorf("%w; %s is complete: rename it", err, m.temp)
	}
	if m.c.json {
		return m.c.printJSON(m.c.stdout, struct {
			Keys    int    `json:"keys"`
			Bytes   int64  `json:"bytes"`
			Dir     string `json:"dir"`
			Version string `json:"version"`
		}{old.Keys(), old.Bytes(), to, version.String()})
	}
	return m.c.say("%s, %s, from %s in %s", count(int64(old.Keys()), "key"), byteText(old.Bytes()), from, to)
}

// target is the path of the new directory, if it may be made.
func (m *migration) target(from, to string) (string, error) {
	if err := checkMaxValue(m.maxValue); err != nil {
		return "", err
	}
	if from == "" || to == "" {
		return "", usage("the name of a directory is empty")
	}
	to, err := filepath.Abs(to)
	if err == nil {
		err = isFree(to)
	}
	switch {
	case err != nil:
		return "", err
	case isInside(to, from):
		return "", usage("%s is in %s, which is only read; name a directory elsewhere", to, from)
	case isInside(from, to), isInside(from, to+".tmp"):
		return "", usage("%s is in %s, which is to be made; name a directory elsewhere", from, to)
	}
	return to, nil
}

// checkValues refuses values that are too large for the new directory, and notes those that few accept.
func (m *migration) checkValues(ctx context.Context, old *reference.Directory) error {
	large := int64(0)
	err := old.Each(ctx, func(key, value []byte) error {
		if len(value) > m.maxValue {
			return fmt.Errorf("%w: key %.100q has %d bytes, at most %d; -max-value-bytes raises that", engine.ErrValueTooLarge, key, len(value), m.maxValue)
		}
		if len(value) > engine.DefaultMaxValueBytes {
			large++
		}
		return nil
	})
	if err == nil && large > 0 {
		m.c.note("larger than %s, the default of -max-value-bytes elsewhere and of servers: %s. They can be read everywhere; to write such values "+
			"raise it there", byteText(engine.DefaultMaxValueBytes), count(large, "value"))
	}
	return err
}

// read reads the old directory and says what of it does not count.
func (m *migration) read(ctx context.Context, from string) (*reference.Directory, error) {
	p := m.c.progress("migrate: read", "bytes", 0)
	defer p.end()
	m.opts.Progress = p.of
	old, err := reference.Open(ctx, from, m.opts)
	if err != nil {
		return nil, err
	}
	for _, part := range old.Dropped() {
		m.c.note("%s", part)
	}
	return old, nil
}

// options are those of the new database.
func (m *migration) options() engine.Options {
	return engine.Options{Dir: m.temp, MaxValueBytes: m.maxValue, DisableBackgroundCheckpoint: true} // there is a checkpoint at the end
}

// build makes a database of what was read, and verifies it.
func (m *migration) build(ctx context.Context, old *reference.Directory) (version engine.Version, err error) {
	opts := m.options()
	opts.Create = true
	db, err := openDB(ctx, opts)
	if err != nil {
		return version, err
	}
	err = m.write(ctx, db, old)
	if err == nil {
		err = db.Checkpoint(ctx)
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return version, err
	}
	return m.verify(ctx, old)
}

// migrateBatchBytes is the size of the keys and values of a batch.
const migrateBatchBytes = 256 << 10

func (m *migration) write(ctx context.Context, db *engine.DB, old *reference.Directory) error {
	p := m.c.progress("migrate: write", "keys", int64(old.Keys()))
	defer p.end()
	var batch engine.Batch
	size, written := 0, int64(0)
	apply := func() error {
		_, err := db.Apply(ctx, &batch)
		written += int64(batch.Len())
		p.at(written, written)
		batch.Reset()
		size = 0
		return err
	}
	err := old.Each(ctx, func(key, value []byte) error {
		batch.Set(key, value)
		if size += len(key) + len(value); size < migrateBatchBytes {
			return nil
		}
		return apply()
	})
	if err != nil {
		return err
	}
	return apply()
}

// verify opens the new database again and compares every key and value.
func (m *migration) verify(ctx context.Context, old *reference.Directory) (version engine.Version, err error) {
	opts := m.options()
	db, err := openDB(ctx, opts)
	if err != nil {
		return version, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	p := m.c.progress("migrate: verify", "keys", int64(old.Keys()))
	defer p.end()
	read := int64(0)
	var found []byte
	err = old.Each(ctx, func(key, value []byte) error {
		var ok bool
		var err error
		if found, ok, err = db.AppendGet(found[:0], key); err != nil {
			return err
		}
		if !ok || !bytes.Equal(found, value) {
			return fmt.Errorf("%w: key %.100q does not read back", errDamaged, key)
		}
		if read++; read%entriesBetweenChecks == 0 {
			p.at(read, read)
		}
		return nil
	})
	if keys := db.Stats().Keys; err == nil && keys != uint64(old.Keys()) {
		err = fmt.Errorf("%w: it has %d keys instead of %d", errDamaged, keys, old.Keys())
	}
	return db.Version(), err
}

// isFree fails unless a directory is missing or empty.
func isFree(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty: %s is in it; name a directory that is missing or empty", dir, entries[0].Name())
	}
	return nil
}

// replaceEmptyDir gives a directory the name of one that is missing or empty, durably.
func replaceEmptyDir(from, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}
