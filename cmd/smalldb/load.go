package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/tongpengdl/small-db/engine"
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

	lanes  [lanes]chan *engine.Batch
	free   sync.Pool    // of *engine.Batch, empty
	loaded atomic.Int64 // lines that had their effect
	failed atomic.Pointer[error]
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

// work is a block on its way.
type work struct {
	block
	batches [lanes][]*engine.Batch
	err     error         // of the first line that cannot be read; batches have what comes before it
	decoded chan struct{} // closed when the fields above are set
}

func (d *directory) load(ctx context.Context, in io.Reader, p *progress) (int64, error) {
	l := &loader{db: d.db, blocks: &blockReader{in: in}, seed: maphash.MakeSeed(), broken: make(chan struct{})}
	stop := make(chan struct{})
	ordered, unordered := make(chan *work, queuedBlocks), make(chan *work, queuedBlocks)
	go l.read(ordered, unordered, stop)
	for range runtime.GOMAXPROCS(0) {
		go l.decodeAll(unordered)
	}
	var done sync.WaitGroup
	for i := range l.lanes {
		l.lanes[i] = make(chan *engine.Batch, queuedBatches)
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
	if failure := l.failed.Load(); failure != nil {
		return loaded, fmt.Errorf("%w; %d lines have been imported, not always in their order", *failure, loaded)
	}
	return loaded, firstImported(err, loaded)
}

// firstImported adds to an error how many of the first lines have had their effect.
func firstImported(err error, loaded int64) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w; the first %d lines have been imported", err, loaded)
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
		lane := maphash.Bytes(l.seed, e.Key) % lanes
		size := len(e.Key) + len(e.Value)
		if w.batches[lane] == nil || sizes[lane]+size > maxBatchBytes {
			w.batches[lane] = append(w.batches[lane], l.batch())
			sizes[lane] = 0
		}
		sizes[lane] += size
		last := w.batches[lane][len(w.batches[lane])-1]
		last.SetUntil(e.Key, e.Value, e.Deadline)
	}
	return nil
}

func (l *loader) batch() *engine.Batch {
	if b, ok := l.free.Get().(*engine.Batch); ok {
		return b
	}
	return new(engine.Batch)
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
		for i, batches := range w.batches {
			for _, b := range batches {
				l.lanes[i] <- b
			}
		}
		if w.err != nil {
			return w.err
		}
		p.at(w.end, l.loaded.Load())
	}
}

// applyAll makes the batches of a lane durable, one after the other. After a failure in any lane, the rest is dropped.
func (l *loader) applyAll(lane <-chan *engine.Batch) {
	for b := range lane {
		if l.failed.Load() != nil {
			continue
		}
		if _, err := l.db.Apply(context.Background(), b); err != nil {
			if l.failed.CompareAndSwap(nil, &err) {
				close(l.broken)
			}
			continue
		}
		l.loaded.Add(int64(b.Len()))
		b.Reset()
		l.free.Put(b)
	}
}
