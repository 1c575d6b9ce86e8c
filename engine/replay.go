package engine

import (
	"fmt"
	"hash/maphash"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/logrecord"
)

// replay is a checkpoint and the logs after it on their way to the state that they make. One goroutine uses it.
type replay struct {
	view        *view           // the checkpoint, and a delta of the logs so far
	position    format.Position // where the history stands
	epochs      []format.EpochStart
	time        int64 // engine time: the latest that was recorded
	frames      uint64
	operations  uint64
	recordBytes int64
	interrupted func() error // says why to give up; asked for each frame; nil if nothing does

	reading, finding *replayBatch // of records that are verified and not entered: one that is being read, one that is being looked up
}

// replayBatch is some records on their way into the view. Nearly all the time of replay goes into looking up what they replace: all
// processors do that for one batch while the one before is entered, and the next one read. (Seen on two: 1 M records over 1 M keys took 1.30 s one by one, and 0.82 s so.)
type replayBatch struct {
	records []change
	keys    []byte         // of the records
	looking sync.WaitGroup // find
}

// replayRecords is how many records a batch has, and a few more.
const replayRecords = 1024

// newReplay begins with a checkpoint. There is address space for these logs.
func newReplay(seed maphash.Seed, base *ckpt.Reader, logs []*sealedLog) (*replay, error) {
	var span int64
	for _, l := range logs {
		span += format.Align(l.id.Size, logStride)
	}
	d, err := newDelta(seed, base.Footer().FileLen, span)
	if err != nil {
		return nil, err
	}
	at := base.Header().Position
	d.references.start(at.Seq)
	return &replay{view: &view{base: base, delta: d}, position: at, epochs: base.Epochs(), time: at.Time,
		reading: new(replayBatch), finding: new(replayBatch)}, nil
}

// follow goes on to the next log, which must start where the history stands. Its epoch may be a later one.
func (r *replay) follow(l *sealedLog) error {
	starts := l.before.Position
	starts.Epoch = r.position.Epoch
	if starts != r.position || l.before.Position.Epoch < r.position.Epoch {
		return l.corrupt(format.BlockSize, fmt.Errorf("%w: it starts at %v, the history stands at %v", format.ErrField, l.before.Position, r.position))
	}
	if l.before.Position.Epoch > r.position.Epoch {
		r.startEpoch(l.before.Position.Epoch, l.before.Position.Seq+1) // of a cut; perhaps no frame followed it
	}
	r.position = l.before.Position
	return nil
}

// apply applies a log up to its end, every record verified.
func (r *replay) apply(l *sealedLog, end int64) error {
	if err := r.follow(l); err != nil {
		return err
	}
	d := r.view.delta
	start, err := d.attach(l.file, &l.id)
	if err != nil {
		return err
	}
	defer func() { r.finding.looking.Wait() }() // also after an error: then the files are closed
	reader := logrecord.NewReader(l.file, l.id, l.before.Position, end)
	for {
		if r.interrupted != nil {
			if err := r.interrupted(); err != nil {
				return err
			}
		}
		frame, err := reader.Next()
		if err == io.EOF {
			if err := r.enterAll(); err != nil {
				return err
			}
			d.bytes.Add(reader.Offset() - format.LogHeaderSize)
			if closed, ok := reader.Closed(); ok {
				r.time = max(r.time, closed)
			}
			r.position = reader.Position()
			return nil
		}
		if err != nil {
			return l.readError(err)
		}
		if err := r.enter(frame, start); err != nil {
			return err
		}
	}
}

// enter applies a frame of a log that is mapped at start. Its records wait in part.
func (r *replay) enter(frame *logrecord.Frame, start int64) error {
	d, b, now := r.view.delta, r.reading, frame.Header.Time
	r.startEpoch(frame.Header.Epoch, frame.Header.FirstSeq)
	for i := range frame.Records {
		rec := &frame.Records[i]
		b.keys = append(b.keys, rec.Key...) // where this moves them, those before keep what they had
		b.records = append(b.records, change{hash: d.hash(rec.Key), key: b.keys[len(b.keys)-len(rec.Key):],
			is: state{rec.Kind, rec.Expiry}, place: (start + rec.Offset) / placeUnit, now: now})
		r.recordBytes += int64(format.RecordLen(len(rec.Key), len(rec.Value), rec.Expiry != 0))
	}
	r.time = max(r.time, now)
	r.frames++
	r.operations += uint64(len(frame.Records))
	if len(b.records) < replayRecords {
		return nil
	}
	return r.turn()
}

// turn begins to look up the batch that was read, and enters the one before. What is looked up may be entered meanwhile, or
// a segment of the table be split: put finds out.
func (r *replay) turn() error {
	r.reading.find(r.view)
	r.reading, r.finding = r.finding, r.reading
	b := r.reading
	b.looking.Wait()
	for i := range b.records {
		if err := r.view.enter(&b.records[i]); err != nil {
			return err
		}
	}
	r.view.delta.references.publish()
	b.records, b.keys = b.records[:0], b.keys[:0]
	return nil
}

// enterAll enters all that was read.
func (r *replay) enterAll() error {
	if err := r.turn(); err != nil {
		return err
	}
	return r.turn()
}

// find begins to look up the keys of b in v.
func (b *replayBatch) find(v *view) {
	share := max(findLeast, (len(b.records)+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0))
	for part := range slices.Chunk(b.records, share) {
		b.looking.Go(func() { v.findAll(part) })
	}
}

// startEpoch notes that operations from seq on are of this epoch.
func (r *replay) startEpoch(epoch, seq uint64) {
	if n := len(r.epochs); n == 0 || r.epochs[n-1].Epoch < epoch {
		r.epochs = append(slices.Clip(r.epochs), format.EpochStart{Epoch: epoch, FirstSeq: seq})
	}
}
