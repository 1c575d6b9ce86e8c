package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tongpengdl/small-db/engine"
)

// Keys of a workload. A client has some of its own, which only it writes, and a marker, which its batches set first.
const (
	ownKeys    = 6
	sharedKeys = 48
	maxBatch   = 8 // operations
)

func ownKey(client, i int) string { return fmt.Sprintf("own-%02d-%d", client, i) }
func markerKey(client int) string { return fmt.Sprintf("marker-%02d", client) }
func sharedKey(i int) string      { return fmt.Sprintf("shared-%02d", i) }

// workload is what clients do to a store at the same time.
type workload struct {
	store      Store
	tell       func(event) // may be called concurrently; keeps the order
	life       uint64      // in the names of units
	seed       uint64
	clients    int
	valueBytes int   // the longest value
	units      int64 // how many at most; 0 for no limit
	bytes      int64 // of values in all, at most; 0 for no limit

	issued, written atomic.Int64
}

// lives is how far the number of a life is shifted in the name of a unit.
const lives = 32

// run returns when the limits are reached, ctx has ended, or the store takes no writes any more.
func (w *workload) run(ctx context.Context) {
	var all sync.WaitGroup
	for i := range w.clients {
		c := &client{workload: w, number: i, rng: rand.New(rand.NewPCG(w.seed, uint64(i)))}
		all.Go(func() { c.run(ctx) })
	}
	all.Wait()
}

// more reports whether another unit may be issued, and names it.
func (w *workload) more() (id uint64, ok bool) {
	n := w.issued.Add(1)
	ok = (w.units == 0 || n <= w.units) && (w.bytes == 0 || w.written.Load() < w.bytes)
	return w.life<<lives | uint64(n), ok
}

// client issues one unit after the other.
type client struct {
	*workload
	number int
	rng    *rand.Rand
}

// refusals is how many in a row end a client: the log has failed.
const refusals = 3

func (c *client) run(ctx context.Context) {
	poisoned := 0
	for ctx.Err() == nil && poisoned < refusals {
		id, ok := c.more()
		if !ok {
			return
		}
		err := c.step(ctx, id)
		switch {
		case err == nil || errors.Is(err, engine.ErrConditionFailed):
			poisoned = 0
		case errors.Is(err, engine.ErrPoisoned) || errors.Is(err, engine.ErrIndeterminate):
			poisoned++
		default: // no room for a log, or none could be made: that may pass
			time.Sleep(time.Millisecond)
		}
		c.look()
		if c.rng.IntN(200) == 0 && c.store.Checkpoint(ctx) == nil {
			c.tell(event{Kind: checkpointed})
		}
	}
}

// step issues one unit.
func (c *client) step(ctx context.Context, id uint64) error {
	switch n := c.rng.IntN(20); {
	case n < 10:
		return c.single(ctx, id)
	case n < 16:
		return c.batch(ctx, id, false)
	default:
		return c.batch(ctx, id, true)
	}
}

// single writes a key of the client's own.
func (c *client) single(ctx context.Context, id uint64) error {
	o := op{Key: ownKey(c.number, c.rng.IntN(ownKeys))}
	_, set, err := get(c.store, o.Key)
	if err != nil {
		return c.misread(o.Key, err)
	}
	switch n := c.rng.IntN(8); {
	case n == 0 && set: // else nothing would show whether it is there
		o.Delete = true
	case n == 1 && set:
		o.Size, o.Deadline = c.size(), past
	case n == 2:
		o.Size, o.Deadline = c.size(), future
	default:
		o.Size = c.size()
	}
	return c.issue(id, event{Ops: []op{o}}, func() (engine.Version, error) {
		key, v := []byte(o.Key), value(ref{id, 0}, o.Size)
		switch {
		case o.Delete:
			return c.store.Delete(ctx, key)
		case o.Deadline != 0:
			return c.store.SetUntil(ctx, key, v, time.Unix(0, o.Deadline))
		}
		return c.store.Set(ctx, key, v)
	})
}

// batch writes the marker and shared keys, perhaps on a condition.
func (c *client) batch(ctx context.Context, id uint64, conditional bool) error {
	e := event{Ops: []op{{Key: markerKey(c.number), Size: c.size()}}}
	for range 1 + c.rng.IntN(maxBatch-1) {
		e.Ops = append(e.Ops, c.shared())
	}
	var b engine.Batch
	if conditional {
		var err error
		if e.Never, err = c.condition(&b, e.Ops[1].Key); err != nil {
			return err
		}
	}
	for i, o := range e.Ops {
		key := []byte(o.Key)
		switch {
		case o.Delete:
			b.Delete(key)
		case o.Deadline != 0:
			b.SetUntil(key, value(ref{id, i}, o.Size), time.Unix(0, o.Deadline))
		default:
			b.Set(key, value(ref{id, i}, o.Size))
		}
	}
	return c.issue(id, e, func() (engine.Version, error) { return c.store.Apply(ctx, &b) })
}

// shared draws an operation on a shared key.
func (c *client) shared() op {
	o := op{Key: sharedKey(c.rng.IntN(sharedKeys)), Delete: c.rng.IntN(5) == 0}
	if !o.Delete {
		o.Size = c.size()
		soon := time.Now().Add(time.Duration(c.rng.IntN(2000)) * time.Millisecond).UnixNano()
		o.Deadline = []int64{0, 0, 0, past, soon, future}[c.rng.IntN(6)]
	}
	return o
}

// condition adds one: that a key is as it was read, which others may have changed, or one that cannot hold.
func (c *client) condition(b *engine.Batch, key string) (never bool, err error) {
	e, ok, err := c.store.Entry([]byte(key))
	switch {
	case err != nil:
		return false, c.misread(key, err)
	case c.rng.IntN(4) == 0:
		b.IfValue([]byte(key), []byte("nobody writes this"))
		return true, nil
	case ok:
		b.IfVersion([]byte(key), e.Version)
	default:
		b.IfAbsent([]byte(key))
	}
	return false, nil
}

// size draws the size of a value: from the shortest to the longest, and the short ones often.
func (c *client) size() int {
	size := min(MinValueBytes<<c.rng.IntN(13), c.valueBytes)
	size = max(MinValueBytes, size-c.rng.IntN(size/2+1))
	c.written.Add(int64(size))
	return size
}

// issue tells of a unit, does it and tells what has become of it.
func (c *client) issue(id uint64, e event, do func() (engine.Version, error)) error {
	e.Kind, e.Unit = issued, id
	c.tell(e)
	version, err := do()
	switch {
	case err == nil:
		c.tell(event{Kind: acknowledged, Unit: id, Seq: version.Seq})
	case errors.Is(err, engine.ErrIndeterminate):
		c.tell(event{Kind: unknown, Unit: id, Text: err.Error()})
	default: // every other error says that nothing was written
		c.tell(event{Kind: refused, Unit: id, Text: err.Error()})
	}
	return err
}

// look reads a key and tells what is there.
func (c *client) look() {
	owner := c.rng.IntN(c.clients)
	key := []string{ownKey(owner, c.rng.IntN(ownKeys)), markerKey(owner), sharedKey(c.rng.IntN(sharedKeys))}[c.rng.IntN(3)]
	e, ok, err := get(c.store, key)
	if err != nil {
		_ = c.misread(key, err)
	} else if ok {
		c.tell(event{Kind: read, Key: key, Unit: e.by.Unit, Index: e.by.Index, Seq: e.seq})
	}
}

// misread tells of a read that failed: no byte was damaged, so none may.
func (c *client) misread(key string, err error) error {
	c.tell(event{Kind: wrong, Key: key, Text: fmt.Sprintf("no byte was damaged, but the read of %s fails: %v", key, err)})
	return err
}
