package engine_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/tongpengdl/small-db/engine"
)

// The blocks of docs/embedding.md are the bodies of these examples; a test in docs compares them.

// A cache: what is not there, or has expired, is made anew and kept for a minute.
func Example_cache() {
	db, done := open()
	defer done()
	ctx := context.Background()
	render := func(page string) []byte { fmt.Println("rendering", page); return []byte("<p>" + page) }

	// recipe: cache
	cached := func(page string) ([]byte, error) {
		value, ok, err := db.Get([]byte("page/" + page))
		if ok || err != nil {
			return value, err
		}
		value = render(page)
		_, err = db.SetUntil(ctx, []byte("page/"+page), value, time.Now().Add(time.Minute))
		return value, err
	}
	// end

	for range 2 {
		value, err := cached("index")
		fmt.Println(string(value), err)
	}
	// Output:
	// rendering index
	// <p>index <nil>
	// <p>index <nil>
}

// A lock that is lost when its holder does not renew it, and that only its holder gives back.
func Example_lock() {
	db, done := open()
	defer done()
	ctx := context.Background()

	// recipe: lock
	lock := func(name, holder string) (token engine.Version, ok bool, err error) {
		var b engine.Batch
		b.IfAbsent([]byte("lock/" + name)) // or expired
		b.SetUntil([]byte("lock/"+name), []byte(holder), time.Now().Add(30*time.Second))
		token, err = db.Apply(ctx, &b)
		if errors.Is(err, engine.ErrConditionFailed) {
			return token, false, nil // somebody else holds it
		}
		return token, err == nil, err
	}
	unlock := func(name string, token engine.Version) error {
		var b engine.Batch
		b.IfVersion([]byte("lock/"+name), token) // not if it was lost and is another's now
		b.Delete([]byte("lock/" + name))
		_, err := db.Apply(ctx, &b)
		return err
	}
	// end

	token, ok, err := lock("printer", "anna")
	fmt.Println(ok, err)
	_, ok, err = lock("printer", "bert")
	fmt.Println(ok, err)
	fmt.Println(unlock("printer", token))
	_, ok, err = lock("printer", "bert")
	fmt.Println(ok, err)
	fmt.Println(errors.Is(unlock("printer", token), engine.ErrConditionFailed))
	// Output:
	// true <nil>
	// false <nil>
	// <nil>
	// true <nil>
	// true
}

// A counter that any number of goroutines raise.
func Example_counter() {
	db, done := open()
	defer done()
	ctx := context.Background()

	// recipe: counter
	add := func(key []byte, n uint64) (sum uint64, err error) {
		_, err = db.Update(ctx, func(tx *engine.Tx) error { // runs again if another one was faster
			sum = n
			value, ok, err := tx.Get(key)
			if err != nil {
				return err
			}
			if ok {
				sum += binary.BigEndian.Uint64(value)
			}
			tx.Set(key, binary.BigEndian.AppendUint64(nil, sum))
			return nil
		})
		return sum, err
	}
	// end

	fmt.Println(add([]byte("visits"), 1))
	fmt.Println(add([]byte("visits"), 41))
	// Output:
	// 1 <nil>
	// 42 <nil>
}

// Everything under a prefix, from one moment, whatever is written meanwhile.
func Example_list() {
	db, done := open()
	defer done()
	ctx := context.Background()
	for _, name := range []string{"user/carol", "user/anna", "group/admin", "user/bert"} {
		db.Set(ctx, []byte(name), []byte("…"))
	}

	// recipe: list
	s := db.Snapshot()
	for key, value := range s.Prefix([]byte("user/")) { // valid until the next turn
		fmt.Println(string(key), len(value))
	}
	if err := s.Err(); err != nil { // it ends early where it meets damage
		log.Fatal(err)
	}
	// end

	// Output:
	// user/anna 3
	// user/bert 3
	// user/carol 3
}

// The newest ten of a log that is kept under rising keys.
func Example_newest() {
	db, done := open()
	defer done()
	ctx := context.Background()
	for i := range 100 {
		db.Set(ctx, fmt.Appendf(nil, "event/%08d", i), fmt.Appendf(nil, "event %d", i))
	}

	// recipe: newest
	newest := func(n int) (events []string, err error) {
		s := db.Snapshot()
		prefix := []byte("event/")
		for _, value := range s.Backward(prefix, engine.PrefixEnd(prefix)) {
			if events = append(events, string(value)); len(events) == n {
				break
			}
		}
		return events, s.Err()
	}
	// end

	fmt.Println(newest(3))
	// Output: [event 99 event 98 event 97] <nil>
}

// A page of a list at a time, all of one state.
func Example_pages() {
	db, done := open()
	defer done()
	ctx := context.Background()
	for i := range 5 {
		db.Set(ctx, fmt.Appendf(nil, "item/%d", i), nil)
	}

	// recipe: pages
	s := db.Snapshot() // keep it as long as the list is looked at
	page := func(after []byte, n int) (keys [][]byte) {
		start := append(bytes.Clone(after), 0) // the first key behind it
		for key := range s.Scan(start, engine.PrefixEnd([]byte("item/"))) {
			if keys = append(keys, bytes.Clone(key)); len(keys) == n {
				break
			}
		}
		return keys
	}
	// end

	for keys := page([]byte("item/"), 2); len(keys) > 0; keys = page(keys[len(keys)-1], 2) {
		fmt.Printf("%q\n", keys)
	}
	fmt.Println(s.Err())
	// Output:
	// ["item/0" "item/1"]
	// ["item/2" "item/3"]
	// ["item/4"]
	// <nil>
}

// Two lists walked side by side.
func Example_join() {
	db, done := open()
	defer done()
	ctx := context.Background()
	for _, key := range []string{"price/fig", "price/kiwi", "price/plum", "stock/fig", "stock/plum"} {
		db.Set(ctx, []byte(key), []byte{byte(len(key))})
	}

	// recipe: join
	s := db.Snapshot()
	next, stop := iter.Pull2(s.Prefix([]byte("stock/")))
	defer stop()
	stock, _, more := next()
	for price := range s.Prefix([]byte("price/")) {
		for more && bytes.Compare(stock[len("stock/"):], price[len("price/"):]) < 0 {
			stock, _, more = next()
		}
		if more && bytes.Equal(stock[len("stock/"):], price[len("price/"):]) {
			fmt.Println("to be had:", string(price[len("price/"):]))
		}
	}
	// end

	// Output:
	// to be had: fig
	// to be had: plum
}

// A copy of everything, taken while writes go on, and a database made of it elsewhere.
func Example_backup() {
	db, done := open()
	defer done()
	ctx := context.Background()
	db.Set(ctx, []byte("key"), []byte("value"))
	dir, err := os.MkdirTemp("", "small-db")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path, elsewhere := filepath.Join(dir, "backup"), filepath.Join(dir, "restored")

	// recipe: backup
	f, err := os.Create(path)
	if err != nil {
		log.Fatal(err)
	}
	version, err := db.Backup(ctx, f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		log.Fatal(err)
	}
	fmt.Println("has everything up to", version)

	if f, err = os.Open(path); err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	if err := engine.Restore(engine.Options{Dir: elsewhere}, f); err != nil { // verifies first
		log.Fatal(err)
	}
	restored, err := engine.Open(engine.Options{Dir: elsewhere})
	if err != nil {
		log.Fatal(err)
	}
	defer restored.Close()
	// end

	fmt.Println(restored.Stats().Keys)
	// Output:
	// has everything up to 1.1
	// 1
}

// A session that lives as long as it is used.
func Example_session() {
	db, done := open()
	defer done()
	ctx := context.Background()
	db.SetUntil(ctx, []byte("session/7"), []byte("anna"), time.Now().Add(time.Minute))

	// recipe: session
	renew := func(id string) (ok bool, err error) {
		return db.Touch(ctx, []byte("session/"+id), time.Now().Add(20*time.Minute))
	}
	keep := func(id string) (ok bool, err error) {
		return db.Touch(ctx, []byte("session/"+id), time.Time{}) // it does not expire any more
	}
	// end

	fmt.Println(renew("7"))
	fmt.Println(renew("8"))
	fmt.Println(keep("7"))
	e, _, _ := db.Entry([]byte("session/7"))
	fmt.Println(string(e.Value), e.Deadline.IsZero())
	// Output:
	// true <nil>
	// false <nil>
	// true <nil>
	// anna true
}
