package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/http"
)

// directory is the store in a data directory.
type directory struct {
	db    *engine.DB
	path  string
	note  func(format string, args ...any)
	wrote bool // a little: see close

	maxValue int // bytes; of what is imported; 0 means that the database says so itself
}

func (t *target) openDir(ctx context.Context) (*directory, error) {
	opts := engine.Options{Dir: t.dir, Create: t.create, MaxValueBytes: t.maxValue}
	if t.small {
		opts.LogFileBytes = smallLogFile
	}
	db, err := openDB(ctx, opts)
	switch {
	case err == nil:
	case errors.Is(err, engine.ErrNoDatabase) && t.canCreate:
		return nil, fmt.Errorf("%s: %w; -create makes one", t.dir, engine.ErrNoDatabase)
	case errors.Is(err, engine.ErrNoDatabase): // what the engine says of making one does not help here
		return nil, fmt.Errorf("%s: %w", t.dir, engine.ErrNoDatabase)
	case errors.Is(err, engine.ErrCorrupt):
		return nil, fmt.Errorf("%w; %s check %s says what is lost, check -repair-to NEWDIR %s saves the rest", err, name, t.dir, t.dir)
	default:
		return nil, adviseOpen(t.dir, err)
	}
	for _, what := range db.Stats().Recovery.Repaired {
		t.c.note("repaired %s", what)
	}
	return &directory{db: db, path: t.dir, note: t.c.note, maxValue: t.maxValue}, nil
}

// openDB is engine.Open, which may take long and has no context of its own. When ctx ends, the process is about to: the database stands
// that, as it stands every stop.
func openDB(ctx context.Context, opts engine.Options) (*engine.DB, error) {
	db, err := await(ctx, func() (*engine.DB, error) { return engine.Open(opts) }, func(db *engine.DB) { _ = db.Close() })
	if ctx.Err() != nil && err != nil {
		return nil, fmt.Errorf("open %s: %w", opts.Dir, err)
	}
	return db, err
}

const (
	// smallLogFile is the size of a log for one write, in bytes: each command that writes begins a new log.
	smallLogFile = 1 << 20
	// manyLogs is how many of them are enough for a checkpoint, so that a directory that is written in this way only does not
	// grow, and open slower, without end.
	manyLogs = 64
)

// lockHolder finds the process in the message of engine.ErrLocked.
var lockHolder = regexp.MustCompile(`\bpid \d+`)

// adviseOpen adds what to do about an error of engine.Open, or of inspection, where it does not say.
func adviseOpen(dir string, err error) error {
	if !errors.Is(err, engine.ErrLocked) {
		return err
	}
	holder := lockHolder.FindString(err.Error())
	if holder == "" {
		holder = "another process"
	}
	return &lockedError{dir, holder}
}

// lockedError says that another process has the directory open.
type lockedError struct{ dir, holder string }

func (e *lockedError) Error() string {
	return fmt.Sprintf("directory %s is held by %s; use -addr if that is a server, or stop it", e.dir, e.holder)
}
func (e *lockedError) Is(target error) bool { return target == engine.ErrLocked }

func (d *directory) close() error {
	recovery := d.db.Stats().Recovery
	if d.wrote && recovery.Logs >= manyLogs || len(recovery.Repaired) > 0 { // a repair is in memory until then
		if err := d.db.Checkpoint(context.Background()); err != nil { // what was written is durable all the same
			d.note("the checkpoint that was due failed: %v", err)
		}
	}
	if err := d.db.Close(); err != nil {
		return fmt.Errorf("close %s: %w", d.path, err)
	}
	return nil
}

func (d *directory) keys() int64 { return int64(d.db.Stats().Keys) }

func (d *directory) get(_ context.Context, key []byte) ([]byte, bool, error) {
	return d.db.AppendGet(nil, key)
}

func (d *directory) entry(_ context.Context, key []byte) (engine.Entry, bool, error) {
	return d.db.Entry(key)
}

func (d *directory) set(ctx context.Context, key, value []byte, deadline time.Time, when conditions) (engine.Version, error) {
	d.wrote = true
	var b engine.Batch
	when.add(&b, key)
	b.SetUntil(key, value, deadline)
	return d.db.Apply(ctx, &b)
}

func (d *directory) delete(ctx context.Context, key []byte, when conditions) (engine.Version, error) {
	d.wrote = true
	var b engine.Batch
	when.add(&b, key)
	b.Delete(key)
	return d.db.Apply(ctx, &b)
}

// entriesBetweenChecks is how many entries a scan yields before it looks at its context and shows progress.
const entriesBetweenChecks = 256

func (d *directory) scan(ctx context.Context, r keyRange, each func(engine.Entry) error) error {
	snapshot := d.db.Snapshot()
	n := 0
	visit := func(e engine.Entry) error {
		if n++; n%entriesBetweenChecks == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		return each(e)
	}
	var err error
	if r.reverse {
		err = scanBackward(snapshot, r, visit)
	} else {
		err = scanForward(snapshot, r, visit)
	}
	if err != nil {
		return err
	}
	return snapshot.Err()
}

func scanForward(s *engine.Snapshot, r keyRange, visit func(engine.Entry) error) error {
	n := 0
	for e := range s.Entries(r.start, r.end) {
		if err := visit(e); err != nil {
			return err
		}
		if n++; n == r.limit {
			break
		}
	}
	return nil
}

// scanBackward looks every key up again: the sequence has no deadlines.
func scanBackward(s *engine.Snapshot, r keyRange, visit func(engine.Entry) error) error {
	n := 0
	for key := range s.Backward(r.start, r.end) {
		e, _, err := s.Entry(key)
		if err != nil {
			return err
		}
		if err := visit(e); err != nil {
			return err
		}
		if n++; n == r.limit {
			break
		}
	}
	return nil
}

func (d *directory) export(ctx context.Context, r keyRange, w io.Writer, p *progress) (int64, error) {
	out := bufio.NewWriterSize(w, 256<<10)
	var n int64
	var line []byte
	err := d.scan(ctx, r, func(e engine.Entry) error {
		line = http.AppendLine(line[:0], &e)
		if n++; n%entriesBetweenChecks == 0 {
			p.at(n, n)
		}
		_, err := out.Write(line)
		return err
	})
	if err != nil {
		return n, err
	}
	return n, out.Flush()
}

func (d *directory) backup(ctx context.Context, w io.Writer) (engine.Version, error) {
	return d.db.Backup(ctx, w)
}
