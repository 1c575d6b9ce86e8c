package engine

import (
	"fmt"
	"hash/maphash"
	"io"
	"slices"

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
}

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
	return &replay{view: &view{base: base, delta: d}, position: at, epochs: base.Epochs(), time: at.Time}, nil
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
	reader := logrecord.NewReader(l.file, l.id, l.before.Position, end)
	for {
		if r.interrupted != nil {
			if err := r.interrupted(); err != nil {
				return err
			}
		}
		frame, err := reader.Next()
		if err == io.EOF {
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

// enter applies a frame of a log that is mapped at start.
func (r *replay) enter(frame *logrecord.Frame, start int64) error {
	d, now := r.view.delta, frame.Header.Time
	r.startEpoch(frame.Header.Epoch, frame.Header.FirstSeq)
	for i := range frame.Records {
		rec := &frame.Records[i]
		is := state{rec.Kind, rec.Expiry}
		if err := r.view.enter(d.hash(rec.Key), rec.Key, new(finding), is, (start+rec.Offset)/placeUnit, now); err != nil {
			return err
		}
		r.recordBytes += int64(format.RecordLen(len(rec.Key), len(rec.Value), rec.Expiry != 0))
	}
	d.references.publish()
	r.time = max(r.time, now)
	r.frames++
	r.operations += uint64(len(frame.Records))
	return nil
}

// startEpoch notes that operations from seq on are of this epoch.
func (r *replay) startEpoch(epoch, seq uint64) {
	if n := len(r.epochs); n == 0 || r.epochs[n-1].Epoch < epoch {
		r.epochs = append(slices.Clip(r.epochs), format.EpochStart{Epoch: epoch, FirstSeq: seq})
	}
}
