package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/tongpengdl/small-db/engine"
)

// tour is the list of stops. Each builds on those before it.
var tour = []struct {
	title string
	visit func(*tourist) error
}{
	{"Open a database", openNew},
	{"Set, get and delete", setGetDelete},
	{"Change several keys at once", applyBatch},
	{"Read without copying", readInPlace},
	{"Write from many goroutines", writeTogether},
	{"Walk through a snapshot", walkSnapshot},
	{"Write on a condition, and in a transaction", writeOnCondition},
	{"Let a key expire", letExpire},
	{"Make a checkpoint", makeCheckpoint},
	{"Take a backup, and restore it", backUp},
	{"Meet the errors", meetErrors},
	{"Close, and open again", closeAndReopen},
	{"Kill the process, and open again", killAndReopen},
}

// openNew makes a database. Only Dir must be set: the defaults of all other options are the durable ones.
func openNew(t *tourist) (err error) {
	t.db, err = engine.Open(engine.Options{Dir: t.dir, Create: true})
	if err != nil {
		return err
	}
	t.say("there was none: %v; version %v", t.db.Stats().Recovery.Created, t.db.Version())
	return nil
}

// setGetDelete writes and reads single keys. Keys and values are bytes. A write returns when it is durable, with the
// version that the database has then. Its context bounds how long it may wait.
func setGetDelete(t *tourist) error {
	ctx := context.Background()
	version, err := t.db.Set(ctx, []byte("apple"), []byte("green"))
	if err != nil {
		return err
	}
	t.say("set apple: durable as version %v", version)

	value, ok, err := t.db.Get([]byte("apple")) // a copy, which is ours
	if err != nil {
		return err
	}
	t.say("get apple: %q, %v", value, ok)

	version, err = t.db.Delete(ctx, []byte("apple"))
	if err != nil {
		return err
	}
	_, ok, err = t.db.Get([]byte("apple"))
	t.say("deleted as version %v; now get apple says %v", version, ok)
	return err
}

// applyBatch changes several keys atomically: all operations of a batch are there after a crash, or none.
func applyBatch(t *tourist) error {
	var b engine.Batch
	b.Set([]byte("from"), []byte("90"))
	b.Set([]byte("to"), []byte("110"))
	b.Delete([]byte("transfer"))
	version, err := t.db.Apply(context.Background(), &b)
	if err != nil {
		return err
	}
	t.say("%d operations, one durable write, version %v", b.Len(), version)
	return nil
}

// readInPlace reads values without an allocation. View shows the bytes where they lie, in the mapped file; they
// must not be kept. AppendGet copies them to where the caller wants them.
func readInPlace(t *tourist) error {
	length := 0
	ok, err := t.db.View([]byte("to"), func(value []byte) error {
		length = len(value)
		return nil
	})
	if err != nil || !ok {
		return fmt.Errorf("view: %v, %w", ok, err)
	}
	t.say("view to: %d bytes", length)

	line := []byte("to=")
	line, _, err = t.db.AppendGet(line, []byte("to"))
	t.say("append to: %s", line)
	return err
}

// writeTogether writes from many goroutines. Writes that arrive together share one durable write, a group, so
// many writers are much faster than one.
func writeTogether(t *tourist) error {
	const writers, each = 64, 20
	before := t.db.Stats()
	failures := make(chan error, writers*each)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := t.db.Set(context.Background(), fmt.Appendf(nil, "writer/%02d/%02d", w, i), []byte("x")); err != nil {
					failures <- err
				}
			}
		})
	}
	wg.Wait()
	close(failures)
	if err := <-failures; err != nil {
		return err
	}
	after := t.db.Stats()
	t.say("%d sets by %d goroutines in %d durable writes; the database has %d keys",
		after.Operations-before.Operations, writers, after.Groups-before.Groups, after.Keys)
	return nil
}

// makeCheckpoint writes the whole state to one sorted and indexed file, from which the next open starts. It happens by
// itself in the background, by Options.CheckpointInterval and the options beside it. Nobody waits for it but who asks.
func makeCheckpoint(t *tourist) error {
	if err := t.db.Checkpoint(context.Background()); err != nil {
		return err
	}
	t.say("the next open starts from generation %d", t.db.Stats().Generation)
	return t.list()
}

// meetErrors provokes errors. All of them work with errors.Is, and say what to do.
func meetErrors(t *tourist) error {
	_, err := t.db.Set(context.Background(), nil, []byte("x"))
	if !errors.Is(err, engine.ErrKeyEmpty) {
		return fmt.Errorf("set an empty key: %w", err)
	}
	t.say("an empty key: %v", err)

	_, err = engine.Open(engine.Options{Dir: t.dir + "-elsewhere"})
	if !errors.Is(err, engine.ErrNoDatabase) {
		return fmt.Errorf("open a missing directory: %w", err)
	}
	t.say("a missing directory: %v", engine.ErrNoDatabase)

	_, err = engine.Open(engine.Options{Dir: t.dir}) // a directory has one process, and one DB in it
	if !errors.Is(err, engine.ErrLocked) {
		return fmt.Errorf("open twice: %w", err)
	}
	t.say("the same directory again: %v", engine.ErrLocked)
	return nil
}

// closeAndReopen closes the database. That seals the log and makes no checkpoint: the log is replayed by the next open.
func closeAndReopen(t *tourist) (err error) {
	if _, err := t.db.Set(context.Background(), []byte("last"), []byte("words")); err != nil {
		return err
	}
	if err := t.db.Close(); err != nil {
		return err
	}
	if _, _, err := t.db.Get([]byte("last")); !errors.Is(err, engine.ErrClosed) {
		return fmt.Errorf("get after close: %w", err)
	}
	t.db, err = engine.Open(engine.Options{Dir: t.dir})
	if err != nil {
		return err
	}
	r := t.db.Stats().Recovery
	t.say("closed cleanly: %v; replayed %d operation of the log", r.Clean, r.Operations)
	value, _, err := t.db.Get([]byte("last"))
	t.say("get last: %q", value)
	return err
}

// close closes the database if it is open.
func (t *tourist) close() {
	if t.db != nil {
		t.db.Close() // a second time it does nothing
	}
}

// list prints the names of the files in the data directory.
func (t *tourist) list() error {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	t.say("files: %s", strings.Join(names, " "))
	return nil
}
