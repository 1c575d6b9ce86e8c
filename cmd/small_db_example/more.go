package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tongpengdl/small-db/engine"
)

// walkSnapshot looks at the state of one moment, in order and either way, while writes go on.
func walkSnapshot(t *tourist) error {
	s := t.db.Snapshot()
	if _, err := t.db.Delete(context.Background(), []byte("writer/00/00")); err != nil {
		return err
	}
	prefix, n := []byte("writer/00/"), 0
	for range s.Prefix(prefix) {
		n++
	}
	var last string
	for key := range s.Backward(prefix, engine.PrefixEnd(prefix)) {
		last = string(key) // copied: the next step overwrites it
		break
	}
	if err := s.Err(); err != nil {
		return err
	}
	t.say("writer 0 has %d keys, the last is %s; one was deleted since, and the snapshot still has it", n, last)
	return nil
}

// writeOnCondition writes only if something is as expected, and then in a transaction what depends on what was read.
func writeOnCondition(t *tourist) error {
	ctx := context.Background()
	var b engine.Batch
	b.IfValue([]byte("from"), []byte("90"))
	b.Set([]byte("from"), []byte("80"))
	if _, err := t.db.Apply(ctx, &b); err != nil {
		return err
	}
	_, err := t.db.Apply(ctx, &b) // it is 80 now
	if !errors.Is(err, engine.ErrConditionFailed) {
		return fmt.Errorf("apply twice: %w", err)
	}
	t.say("the second time: %v", err)

	version, err := t.db.Update(ctx, func(tx *engine.Tx) error { // may run again, if somebody is faster
		value, _, err := tx.Get([]byte("from"))
		tx.Set([]byte("from"), append(value, '0'))
		return err
	})
	if err != nil {
		return err
	}
	value, _, err := t.db.Get([]byte("from"))
	t.say("a transaction made it %s as version %v", value, version)
	return err
}

// letExpire sets a key with a deadline. From then on it is not there, in any read, scan or count.
func letExpire(t *tourist) error {
	const life = 50 * time.Millisecond
	if _, err := t.db.SetUntil(context.Background(), []byte("session"), []byte("anna"), time.Now().Add(life)); err != nil {
		return err
	}
	before := t.db.Stats().Keys
	time.Sleep(life)
	_, ok, err := t.db.Get([]byte("session"))
	t.say("get session after %v: %v; %d key less", life, ok, before-t.db.Stats().Keys)
	return err
}

// backUp copies the database while it is open, and makes another one of the copy.
func backUp(t *tourist) error {
	var copied bytes.Buffer // or a file, or a connection
	version, err := t.db.Backup(context.Background(), &copied)
	if err != nil {
		return err
	}
	dir := t.dir + "-restored"
	defer os.RemoveAll(dir)
	size := copied.Len()
	if err := engine.Restore(engine.Options{Dir: dir}, &copied); err != nil {
		return err
	}
	restored, err := engine.Open(engine.Options{Dir: dir})
	if err != nil {
		return err
	}
	t.say("version %v in %d bytes; restored, it has %d keys", version, size, restored.Stats().Keys)
	return restored.Close()
}
