package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
)

// store is what a verb works on: a directory or a server. A version is zero where it is not known.
type store interface {
	// get returns the value of key.
	get(ctx context.Context, key []byte) (value []byte, ok bool, err error)
	// entry returns all there is to know of key.
	entry(ctx context.Context, key []byte) (e engine.Entry, ok bool, err error)
	set(ctx context.Context, key, value []byte, deadline time.Time, when conditions) (engine.Version, error)
	delete(ctx context.Context, key []byte, when conditions) (engine.Version, error)
	// scan calls each with the entries of a range, in order; an entry is only valid during the call. The version
	// of an entry may be missing.
	scan(ctx context.Context, r keyRange, each func(engine.Entry) error) error
	// export writes the entries of a range as lines, and returns how many.
	export(ctx context.Context, r keyRange, w io.Writer, p *progress) (int64, error)
	// load sets what the lines of in say. It returns how many lines had their effect, -1 if that is not known.
	load(ctx context.Context, in io.Reader, p *progress) (int64, error)
	backup(ctx context.Context, w io.Writer) (engine.Version, error)
	// keys is how many there are, 0 if that is not known.
	keys() int64
	close() error
}

// target says which store a verb works on.
type target struct {
	c         *call
	dir, addr string
	create    bool
	canCreate bool          // there is -create
	small     bool          // what it writes is
	maxValue  int           // bytes, of what is written to a directory
	silence   time.Duration // of a server
}

// newTarget adds the flags that name a store.
func newTarget(c *call) *target {
	t := &target{c: c, maxValue: format.MaxValueLen}
	c.flags.StringVar(&t.dir, "dir", "", "data `directory`; SMALLDB_DIR if neither -dir nor -addr is given")
	c.flags.StringVar(&t.addr, "addr", "", "`address` of a server, host:port or URL; SMALLDB_ADDR if neither is given")
	c.flags.DurationVar(&t.silence, "timeout", defaultSilence, "with -addr: the `duration` for which the server may be silent, 60s if not given; 0 means any")
	return t
}

// mayCreate adds -create.
func (t *target) mayCreate() *target {
	t.canCreate = true
	t.c.flags.BoolVar(&t.create, "create", false, "with -dir: make a new database if the directory is missing or empty")
	return t
}

// mayWrite adds -create and -max-value-bytes.
func (t *target) mayWrite() *target {
	t.mayCreate()
	t.c.maxValueFlag(&t.maxValue, engine.DefaultMaxValueBytes)
	return t
}

// maxValueFlag adds -max-value-bytes.
func (c *call) maxValueFlag(into *int, initial int) {
	c.flags.IntVar(into, "max-value-bytes", initial, fmt.Sprintf("the `size` of the largest value that is written to a directory, %d if not given, at most %d", initial, format.MaxValueLen))
}

// checkMaxValue says whether -max-value-bytes can be.
func checkMaxValue(size int) error {
	if size < 1 || size > format.MaxValueLen {
		return usage("-max-value-bytes %d is not within 1 and %d", size, format.MaxValueLen)
	}
	return nil
}

// refuseOutput refuses a file within the data directory.
func (t *target) refuseOutput(file string) error {
	if err := t.choose(); err != nil {
		return err
	}
	return refuseInside(file, t.dir)
}

// choose decides between the flags, and then between the variables of the environment.
func (t *target) choose() error {
	from := "-dir and -addr are"
	if t.dir == "" && t.addr == "" {
		from = "SMALLDB_DIR and SMALLDB_ADDR are"
		t.dir, t.addr = t.c.getenv("SMALLDB_DIR"), t.c.getenv("SMALLDB_ADDR")
	}
	switch {
	case t.dir == "" && t.addr == "":
		return usage("-dir DIRECTORY or -addr HOST:PORT says which database")
	case t.dir != "" && t.addr != "":
		return usage("%s both given, which name two databases", from)
	case t.create && t.dir == "":
		return usage("-create goes with -dir")
	case t.silence < 0:
		return usage("-timeout %v is negative", t.silence)
	}
	return checkMaxValue(t.maxValue)
}

// use opens the store, does something with it and closes it.
func (t *target) use(ctx context.Context, do func(store) error) (err error) {
	if err := t.choose(); err != nil {
		return err
	}
	s, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return do(s)
}

func (t *target) open(ctx context.Context) (store, error) {
	if t.addr != "" {
		return newClient(t.addr, t.silence)
	}
	return t.openDir(ctx)
}
