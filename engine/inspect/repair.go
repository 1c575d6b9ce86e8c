package inspect

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/tongpengdl/small-db/format"
)

// ErrNothingSaved is what NewRepair returns for a directory in which nothing can be proven: no checkpoint and no log.
var ErrNothingSaved = errors.New("nothing in it can be saved: no checkpoint and no log can be verified")

// Repair salvages what is intact in a data directory, damaged or not: NewRepair finds it, Write makes a backup of it, for
// engine.Restore to make a database of in another directory. The directory itself is never written to. One goroutine uses it.
//
// Each key gets its last state that is proven. Proofs are
//
//   - a record in an intact checkpoint, or an intact one in a damaged checkpoint;
//   - that a key is not in a checkpoint: nothing is unreadable between the two records where it would be;
//   - an operation in an intact frame, also behind damage. A damaged frame is left out as a whole, since a batch must not be applied in half and
//     frames do not say where batches begin; but if every operation that it held is intact by itself, nothing was lost.
//
// Of a checkpoint whose directory cannot be found, records are read one after the other from its beginning, up to the first that cannot be: nothing says
// where the next one begins, so all that follow it are a hole, which is reported.
//
// What a lost operation did to a key is not known. So the last state before it is saved, and any key may have had another one.
type Repair struct {
	ctx    context.Context // while NewRepair runs
	c      *checker
	close  func()
	report RepairReport

	remnants []*remnant       // of checkpoints, the latest position first
	whole    uint64           // everything up to this sequence is in an intact checkpoint, or in the empty state before the first operation
	last     map[string]place // of each key its last operation that is saved, if it is after whole
	sources  map[uint64]*source
	closers  []func()

	accounted uint64 // sequence up to which operations are saved or lost
	at        format.Position
	time      int64
	proven    bool   // there is anything that is intact
	highest   uint64 // sequence
	epochs    []format.EpochStart
	missing   lostPart // what is lost if the next operation does not follow accounted
	open      bool     // operations may have followed accounted, nobody knows how many
}

// place is where the record of an operation lies, verified.
type place struct {
	seq     uint64
	log     uint64 // generation
	offset  int64  // in bytes
	length  int32  // in bytes; 0 for a delete
	expires int64
}

// RepairOptions say how a directory is salvaged.
type RepairOptions struct {
	// MaxFindings is CheckOptions' field. Default: 1,000.
	MaxFindings int
	// Progress is told how many of how many bytes are read, as CheckOptions' field is.
	Progress func(done, total int64)
}

// NewRepair reads a data directory and finds out what of it can be saved. It holds the directory's lock, shared, until Close. It takes memory for each key that was
// changed since the newest intact checkpoint: about 100 bytes and the key.
//
// Errors: mmapio.ErrLocked, ErrNoDatabase, ErrNothingSaved, the context's, and those of opening the directory.
func NewRepair(ctx context.Context, dir string, opts RepairOptions) (*Repair, error) {
	c, closeIt, err := openChecker(ctx, dir, CheckOptions{Shallow: true, MaxFindings: opts.MaxFindings, Progress: opts.Progress})
	if err != nil {
		return nil, fmt.Errorf("repair %s: %w", dir, err)
	}
	r := newRepair(ctx, c, closeIt)
	if err := r.run(); err != nil {
		r.Close()
		return nil, fmt.Errorf("repair %s: %w", dir, err)
	}
	return r, nil
}

func newRepair(ctx context.Context, c *checker, closeIt func()) *Repair {
	r := &Repair{ctx: ctx, c: c, close: closeIt, last: map[string]place{}, sources: map[uint64]*source{}}
	c.salvage = r
	return r
}

// run finds out what can be saved.
func (r *Repair) run() error {
	if err := r.c.run(); err != nil {
		return err
	}
	if !r.proven {
		return ErrNothingSaved
	}
	r.settle()
	r.ctx = nil
	return nil
}

// Close unlocks the directory. It may be called twice.
func (r *Repair) Close() {
	for _, closeIt := range append(r.closers, r.close) {
		closeIt()
	}
	r.closers, r.close = nil, func() {}
}

// Report is what is saved and what is not. The number of keys is known once Write has returned.
func (r *Repair) Report() *RepairReport { return &r.report }

// distrustPointers leaves out a version or newVersion of another database: one whose UUID no checkpoint and no log has, while they have another.
func (r *Repair) distrustPointers(c *checker) {
	if r == nil {
		return
	}
	known := map[format.UUID]bool{}
	for _, p := range c.checkpoints {
		if p.reader != nil {
			known[p.reader.Header().UUID] = true
		}
	}
	for _, l := range c.logs {
		if l.identified() {
			known[l.id.UUID] = true
		}
	}
	foreign := func(name string, v *format.VersionFile) bool {
		if v == nil || len(known) == 0 || known[v.UUID] {
			return false
		}
		err := fmt.Errorf("%w: it belongs to database %v, none of the other files does", format.ErrField, v.UUID)
		c.add(Finding{File: name, Offset: 0, Severity: Damage, What: err.Error(), Err: err, about: aboutPointer})
		r.refuse(name, err.Error())
		return true
	}
	if foreign(format.VersionName, c.version) {
		c.version = nil
	}
	if foreign(format.NewVersionName, c.next) {
		c.next = nil
	}
}

// begin looks at the checkpoints, before the logs are read.
func (r *Repair) begin(c *checker, unfinished bool) error {
	if r == nil {
		return nil
	}
	if unfinished {
		return fmt.Errorf("%w: the creation of this database was cut off, and nothing was ever stored in it", ErrNoDatabase)
	}
	if c.uuid == (format.UUID{}) {
		if c.uuid = c.checkpointUUID(); c.uuid == (format.UUID{}) {
			return ErrNothingSaved
		}
	}
	for _, n := range slices.Backward(c.generations.checkpoints) {
		if err := r.examine(c.checkpoints[n]); err != nil {
			return err
		}
	}
	slices.SortStableFunc(r.remnants, func(a, b *remnant) int { return cmp.Compare(b.position.Seq, a.position.Seq) })
	for i, m := range r.remnants {
		r.reach(&m.position)
		if m.whole() {
			r.whole = m.position.Seq
			r.remnants = r.remnants[:i+1] // earlier ones say nothing more
			break
		}
	}
	for _, m := range r.remnants {
		if len(m.epochs) > 0 {
			r.epochs = m.epochs
			break
		}
	}
	if n := len(r.remnants); n == 0 {
		r.missing = lostPart{format.CheckpointName(max(1, min(c.kept, first(c.generations.checkpoints)))), -1, "what it held is not known"}
	} else if m := r.remnants[n-1]; !m.complete() {
		r.missing = lostPart{m.name, m.holes[0].Offset, "a part of it cannot be read"}
	}
	return nil
}

// checkpointUUID is the UUID in the header of the newest checkpoint whose header is intact.
func (c *checker) checkpointUUID() (uuid format.UUID) {
	for _, n := range slices.Backward(c.generations.checkpoints) {
		p := c.checkpoints[n]
		src, closeIt := c.open(p.name, min(p.size, format.CheckpointHeaderLen), aboutCheckpoint, n)
		if src == nil {
			continue
		}
		src.count = nil
		page, err := src.bytes(0, src.size)
		if err == nil && len(page) < format.CheckpointHeaderLen {
			err = format.ErrLength
		}
		if err == nil {
			var h format.CheckpointHeader
			h, err = decodeHeader(page)
			uuid = h.UUID
		}
		closeIt()
		if err == nil {
			return uuid
		}
	}
	return format.UUID{}
}

// reach takes up how far the history has come.
func (r *Repair) reach(at *format.Position) {
	r.proven = true
	r.highest = max(r.highest, at.Seq)
	r.time = max(r.time, at.Time)
	if at.Seq > r.at.Seq || at.Seq == r.at.Seq && (at.Index > r.at.Index || at.Index == r.at.Index && at.Epoch >= r.at.Epoch) {
		epoch := max(r.at.Epoch, at.Epoch)
		r.at = *at
		r.at.Epoch = epoch
	}
	r.at.Epoch = max(r.at.Epoch, at.Epoch)
}

// refuse notes a file that is not used.
func (r *Repair) refuse(name, why string) {
	r.report.Refused = append(r.report.Refused, Refused{name, why})
}

// source is an open log, for reading records again.
func (r *Repair) source(generation uint64) (*source, error) {
	if s := r.sources[generation]; s != nil {
		return s, nil
	}
	l := r.c.logs[generation]
	s, closeIt := r.c.open(l.name, l.size, aboutLog, generation)
	if s == nil {
		return nil, fmt.Errorf("%s cannot be opened any more", l.name)
	}
	s.count = nil
	r.sources[generation] = s
	r.closers = append(r.closers, closeIt)
	return s, nil
}

// Write writes what is saved as a backup: a checkpoint of a history that goes on after the highest sequence seen. It may be called once. Errors are those of w and ctx, and
// *format.CorruptionError for damage that was not there when NewRepair read the same bytes: repair again then.
func (r *Repair) Write(ctx context.Context, w io.Writer) error {
	out := &merge{r: r, ctx: ctx, keys: slices.Sorted(maps.Keys(r.last))}
	if err := out.write(w); err != nil {
		return fmt.Errorf("repair %s: %w", r.report.Dir, err)
	}
	return nil
}

func randomUint64() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}
