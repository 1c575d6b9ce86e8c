package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/tongpengdl/small-db/engine"
)

// open makes a database in a new directory for an example.
func open() (db *engine.DB, done func()) {
	dir, err := os.MkdirTemp("", "small-db")
	if err != nil {
		log.Fatal(err)
	}
	db, err = engine.Open(engine.Options{Dir: dir, Create: true})
	if err != nil {
		log.Fatal(err)
	}
	return db, func() {
		if err := db.Close(); err != nil {
			log.Fatal(err)
		}
		os.RemoveAll(dir)
	}
}

func Example() {
	dir, err := os.MkdirTemp("", "small-db")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	db, err := engine.Open(engine.Options{Dir: dir, Create: true})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if _, err := db.Set(ctx, []byte("greeting"), []byte("hello")); err != nil {
		log.Fatal(err) // on nil it is on the disk
	}
	if err := db.Close(); err != nil {
		log.Fatal(err)
	}

	db, err = engine.Open(engine.Options{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	value, ok, err := db.Get([]byte("greeting"))
	fmt.Println(string(value), ok, err)
	// Output: hello true <nil>
}

func ExampleOpen() {
	_, err := engine.Open(engine.Options{Dir: "/tmp/there is no such directory"})
	fmt.Println(errors.Is(err, engine.ErrNoDatabase))
	// Output: true
}

func ExampleOptions() {
	opts := engine.Options{
		Dir:                "/var/lib/example",
		Create:             true,             // a new database if there is none
		Sync:               engine.SyncData,  // instead of O_DSYNC
		CheckpointInterval: 10 * time.Minute, // or sooner, when CheckpointLogBytes were logged
	}
	fmt.Println(opts.CheckpointLogBytes == 0) // fields that are not set have their defaults
	// Output: true
}

func ExampleDB_Set() {
	db, done := open()
	defer done()
	version, err := db.Set(context.Background(), []byte("key"), []byte("value"))
	fmt.Println(version, err)
	version, err = db.Set(context.Background(), []byte("key"), []byte("another"))
	fmt.Println(version, err)
	// Output:
	// 1.1 <nil>
	// 1.2 <nil>
}

// What an error of a write says about the write.
func ExampleDB_Set_errors() {
	db, done := open()
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := db.Set(ctx, nil, []byte("value"))
	switch {
	case err == nil:
		fmt.Println("it is durable")
	case errors.Is(err, engine.ErrIndeterminate):
		fmt.Println("it may be there after the next open, or not")
	default:
		fmt.Println("it was not written:", err)
	}
	// Output: it was not written: key is empty
}

func ExampleDB_Delete() {
	db, done := open()
	defer done()
	ctx := context.Background()
	db.Set(ctx, []byte("key"), []byte("value"))
	_, err := db.Delete(ctx, []byte("key"))
	_, ok, _ := db.Get([]byte("key"))
	fmt.Println(ok, err)
	_, err = db.Delete(ctx, []byte("key")) // it is no error that it is gone
	fmt.Println(err)
	// Output:
	// false <nil>
	// <nil>
}

func ExampleDB_Get() {
	db, done := open()
	defer done()
	db.Set(context.Background(), []byte("key"), []byte("value"))

	value, ok, err := db.Get([]byte("key"))
	fmt.Printf("%q %t %v\n", value, ok, err)
	value, ok, err = db.Get([]byte("another"))
	fmt.Printf("%q %t %v\n", value, ok, err)
	// Output:
	// "value" true <nil>
	// "" false <nil>
}

// With a buffer that is used again, reading allocates nothing.
func ExampleDB_AppendGet() {
	db, done := open()
	defer done()
	ctx := context.Background()
	db.Set(ctx, []byte("one"), []byte("1"))
	db.Set(ctx, []byte("two"), []byte("22"))

	var buf []byte
	for _, key := range []string{"one", "two", "three"} {
		var ok bool
		var err error
		buf, ok, err = db.AppendGet(buf[:0], []byte(key))
		fmt.Printf("%s: %q %t %v\n", key, buf, ok, err)
	}
	// Output:
	// one: "1" true <nil>
	// two: "22" true <nil>
	// three: "" false <nil>
}

// A View reads the value where it lies, in the file. What is needed afterwards must be taken out of it.
func ExampleDB_View() {
	db, done := open()
	defer done()
	db.Set(context.Background(), []byte("key"), make([]byte, 1<<20))

	var length int
	ok, err := db.View([]byte("key"), func(value []byte) error {
		length = len(value)
		return nil
	})
	fmt.Println(length, ok, err)
	// Output: 1048576 true <nil>
}

// The operations of a batch survive a crash together, or none does.
func ExampleBatch() {
	db, done := open()
	defer done()
	ctx := context.Background()
	db.Set(ctx, []byte("from"), []byte("100"))

	var b engine.Batch
	b.Set([]byte("from"), []byte("60"))
	b.Set([]byte("to"), []byte("40"))
	b.Delete([]byte("pending"))
	version, err := db.Apply(ctx, &b)
	fmt.Println(b.Len(), version, err)

	b.Reset() // to fill it again
	fmt.Println(b.Len())
	// Output:
	// 3 1.4 <nil>
	// 0
}

// Checkpoints come by themselves. One may be asked for, so that the next open has nothing to replay.
func ExampleDB_Checkpoint() {
	db, done := open()
	defer done()
	ctx := context.Background()
	db.Set(ctx, []byte("key"), []byte("value"))
	fmt.Println(db.Stats().LogBytes > 0)
	err := db.Checkpoint(ctx)
	fmt.Println(err, db.Stats().LogBytes, db.Stats().Checkpoints)
	// Output:
	// true
	// <nil> 0 1
}

func ExampleDB_Stats() {
	db, done := open()
	defer done()
	ctx := context.Background()
	db.Set(ctx, []byte("a"), nil)
	db.Set(ctx, []byte("b"), nil)
	db.Delete(ctx, []byte("a"))

	s := db.Stats()
	fmt.Println(s.Keys, "key at version", s.Version)
	fmt.Println(s.Operations, "operations in", s.Groups, "groups")
	fmt.Println("healthy:", s.Failure == nil && s.CheckpointFailure == nil)
	fmt.Println("created:", s.Recovery.Created)
	// Output:
	// 1 key at version 1.3
	// 3 operations in 3 groups
	// healthy: true
	// created: true
}

func ExampleDB_Close() {
	db, done := open()
	done()
	_, _, err := db.Get([]byte("key"))
	fmt.Println(errors.Is(err, engine.ErrClosed))
	fmt.Println(db.Close()) // twice is fine
	// Output:
	// true
	// <nil>
}
