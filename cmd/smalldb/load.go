package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/http"
)

// loader imports lines into a directory:
//
//	read blocks ──► decode (one goroutine a processor) ──► in the order of the input again ──► lane by lane: Apply
//
// Decoding and waiting for the disk go on at the same time. A key always takes the same lane, and a lane
// has one batch under way, so of two lines with the same key the later one wins, while as many batches as there are lanes
// share the durable writes.
type loader struct {
	db     *engine.DB
	blocks *blockReader
	seed   maphash.Seed

	maxValue int // bytes

	lanes  [lanes]chan *lot
	free   sync.Pool    // of *lot, empty
	loaded atomic.Int64 // lines that had their effect
	queued int64        // of the first lines, how many were handed to the lanes; of the goroutine of dispatch
	lock   sync.Mutex
	failed error         // of the first lot that failed
	missed int64         // the first line of the lots that had no effect, if failed is set
	broken chan struct{} // closed when failed is set
}

const (
	// lanes is how many batches may be under way at once.
	lanes = 4
	// queuedBlocks bounds the blocks that are read and not decoded, and queuedBatches those of a lane that wait.
	queuedBlocks  = 4
	queuedBatches = 2
	// maxBatchBytes bounds the keys and values of a batch, unless one line has more.
	maxBatchBytes = 1 << 20
)

// lot is a batch of lines of one lane.
type lot struct {
	engine.Batch
	first int64 // number of its first line
}

// work is a block on its way.
type work struct {
	block
	lots    [lanes][]*lot
	err     error         // of the first line that cannot be read; lots have what comes before it
	decoded chan struct{} // closed when the fields above are set
}

func (d *directory) load(ctx context.Context, in io.Reader, p *progress) (int64, error) {
	l := &loader{db: d.db, seed: maphash.MakeSeed(), broken: make(chan struct{}), maxValue: cmp.Or(d.maxValue, format.MaxValueLen)}
	l.blocks = &blockReader{in: in, maxValue: l.maxValue}
	stop := make(chan struct{})
	ordered, unordered := make(chan *work, queuedBlocks), make(chan *work, queuedBlocks)
	go l.read(ordered, unordered, stop)
	for range runtime.GOMAXPROCS(0) {
		go l.decodeAll(unordered)
	}
	var done sync.WaitGroup
	for i := range l.lanes {
		l.lanes[i] = make(chan *lot, queuedBatches)
		done.Go(func() { l.applyAll(l.lanes[i]) })
	}
	err := l.dispatch(ctx, ordered, p)
	close(stop) // the reader may be waiting for a terminal; it ends with what it waits for
	for i := range l.lanes {
		close(l.lanes[i])
	}
	done.Wait()
	return l.outcome(err)
}

// outcome is what came of it all: err is that of dispatch.
func (l *loader) outcome(err error) (int64, error) {
	loaded := l.loaded.Load()
	if l.failed != nil {
		first := min(l.queued, l.missed-1)
		return first, firstForSure(l.failed, first)
	}
	return loaded, firstImported(err, loaded)
}

// firstImported adds to an error how many of the first lines have had their effect: these, and no others.
func firstImported(err error, loaded int64) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w; %s", err, firstText(loaded))
}

// firstForSure adds to an error how many of the first lines have had their effect at least.
func firstForSure(err error, loaded int64) error {
	return fmt.Errorf("%w; %s; later ones may be, too: to repeat the import is harmless", err, firstText(loaded))
}

func firstText(n int64) string {
	switch n {
	case 0:
		return "no line has been imported"
	case 1:
		return "the first line has been imported"
	}
	return fmt.Sprintf("the first %d lines have been imported", n)
}

// read hands the blocks to the decoders, and to dispatch in their order.
func (l *loader) read(ordered, unordered chan<- *work, stop <-chan struct{}) {
	defer close(ordered)
	defer close(unordered)
	for {
		b, err := l.blocks.next()
		if errors.Is(err, io.EOF) {
			return
		}
		w := &work{block: b, err: err, decoded: make(chan struct{})}
		to := unordered
		if err != nil {
			close(w.decoded)
			to = nil
		}
		select {
		case ordered <- w:
		case <-stop:
			return
		}
		if to == nil {
			return
		}
		to <- w // the decoders never wait for anybody else
	}
}

func (l *loader) decodeAll(unordered <-chan *work) {
	var e engine.Entry
	for w := range unordered {
		w.err = l.decode(w, &e)
		l.blocks.giveBack(&w.block)
		close(w.decoded)
	}
}

// decode makes batches of the lines of a block. e is memory to use.
func (l *loader) decode(w *work, e *engine.Entry) error {
	var sizes [lanes]int // of the last batch of each lane
	number := w.first - 1
	for line := range bytes.Lines(w.text) {
		number++
		if err := http.DecodeLine(line, e); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if len(e.Value) > l.maxValue {
			return fmt.Errorf("line %d: %w: %d bytes, at most %d; -max-value-bytes raises that", number, engine.ErrValueTooLarge, len(e.Value), l.maxValue)
		}
		lane := maphash.Bytes(l.seed, e.Key) % lanes
		size := len(e.Key) + len(e.Value)
		if w.lots[lane] == nil || sizes[lane]+size > maxBatchBytes {
			w.lots[lane] = append(w.lots[lane], l.lot(number))
			sizes[lane] = 0
		}
		sizes[lane] += size
		last := w.lots[lane][len(w.lots[lane])-1]
		last.SetUntil(e.Key, e.Value, e.Deadline)
	}
	return nil
}

// lot returns an empty one that begins with a line.
func (l *loader) lot(first int64) *lot {
	b, ok := l.free.Get().(*lot)
	if !ok {
		b = new(lot)
	}
	b.first = first
	return b
}

// dispatch hands the batches to their lanes in the order of the input, until that ends, or ctx does, or a line is bad.
func (l *loader) dispatch(ctx context.Context, ordered <-chan *work, p *progress) error {
	for {
		var w *work
		var ok bool
		select {
		case w, ok = <-ordered:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.broken:
			return nil
		}
		if !ok {
			return nil
		}
		<-w.decoded
		for i, lots := range w.lots {
			for _, b := range lots {
				l.queued += int64(b.Len())
				l.lanes[i] <- b
			}
		}
		if w.err != nil {
			return w.err
		}
		p.at(w.end, l.loaded.Load())
	}
}

// applyAll makes the lots of a lane durable, one after the other. After a failure in any lane, the rest is dropped.
func (l *loader) applyAll(lane <-chan *lot) {
	for b := range lane {
		if l.isBroken() {
			l.miss(b, nil)
			continue
		}
		if _, err := l.db.Apply(context.Background(), &b.Batch); err != nil {
			l.miss(b, err)
			continue
		}
		l.loaded.Add(int64(b.Len()))
		b.Reset()
		l.free.Put(b)
	}
}

func (l *loader) isBroken() bool {
	select {
	case <-l.broken:
		return true
	default:
		return false
	}
}

// miss notes a lot that had no effect, by an error or because another one had failed.
func (l *loader) miss(b *lot, err error) {
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.failed == nil {
		l.failed, l.missed = err, b.first
		close(l.broken)
	}
	l.missed = min(l.missed, b.first)
}
