package torture

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// Sizes of one cycle.
const (
	recordedUnits = 80      // before a checkpoint, and half as many after it
	recordedBytes = 2 << 20 // of values
	imagesPerRun  = 40
	copiesPerRun  = 40
	leastPerRun   = 8 // even if the time is up
)

// record performs a short workload in this process and closes the store, or leaves it as it is. It tells no event twice.
func (r *run) record(l *life, opts engine.Options, tell func(event), close bool) error {
	s, err := r.open(opts)
	if err != nil {
		return undamaged("it does not open", err)
	}
	tell(event{Kind: opened, Seq: s.Version().Seq})
	w := &workload{
		store: s, tell: tell, life: l.Number, seed: l.Seed, clients: l.Clients, valueBytes: l.ValueBytes,
		units: recordedUnits, bytes: recordedBytes,
	}
	w.run(context.Background())
	if err := s.Checkpoint(context.Background()); err != nil {
		return undamaged("a checkpoint fails", err)
	}
	w.units += recordedUnits / 2
	w.issued.Store(recordedUnits)
	w.run(context.Background())
	if !close {
		return nil
	}
	if err := s.Close(); err != nil {
		return undamaged("it does not close", err)
	}
	return nil
}

// cut is a cycle: a run is recorded as it goes to the disk, and what a power cut could have left of it is built and opened.
func (r *run) cut(ctx context.Context) error {
	dir := filepath.Join(r.dir, "recorded")
	if r.rng.IntN(2) == 0 || r.recorded == nil {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		r.recorded = newModel()
	}
	l := r.newLife(dir)
	l.LogFileBytes = 64 << 10
	r.evidence = evidence{Life: l}
	rec := mmapiotest.NewRecorder()
	opts := l.options(dir)
	opts.OpenDir = rec.OpenDir
	if err := r.record(l, opts, func(e event) { rec.Mark(e) }, r.rng.IntN(3) > 0); err != nil {
		return err
	}
	rec.Kill() // does nothing to one that is closed
	trace := rec.Trace()
	r.evidence.Events = events(trace)
	r.count(r.evidence.Events)
	if err := r.images(ctx, l, trace); err != nil {
		return err
	}
	return r.settleRecorded(l)
}

// events are those in a trace.
func events(trace mmapiotest.Trace) []event {
	var out []event
	for _, op := range trace {
		if e, ok := op.Value.(event); ok {
			out = append(out, e)
		}
	}
	return out
}

// settleRecorded judges what the recorded run itself has left.
func (r *run) settleRecorded(l *life) error {
	m := r.recorded
	for _, e := range r.evidence.Events {
		if err := m.note(e); err != nil {
			return err
		}
	}
	st, err := r.judgeDir(l.options(l.Dir), m)
	if err != nil {
		return err
	}
	r.recorded = settled(st)
	return diskFailure(r.evidence.Events)
}

// judgeDir opens a directory, in which no byte was damaged, and judges it.
func (r *run) judgeDir(opts engine.Options, m *model) (*state, error) {
	s, err := r.open(opts)
	if err != nil {
		return nil, undamaged("it does not open", err)
	}
	st, f, err := verify(s, m)
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	r.found(f)
	if err := s.Close(); err != nil {
		return nil, undamaged("it does not close", err)
	}
	return st, nil
}

// images opens what power cuts at random points of a trace could have left.
func (r *run) images(ctx context.Context, l *life, trace mmapiotest.Trace) error {
	cuts := sample(r.rng, trace.Cuts(), imagesPerRun)
	replayer, modes := trace.Replayer(), mmapiotest.Modes()
	begun := *r.recorded
	next := func() trialImage {
		c, mode := cuts[0], modes[r.rng.IntN(len(modes))]
		cuts = cuts[1:]
		image := replayer.Image(c, mode, r.rng.Uint64())
		return trialImage{image, c.String() + ", " + mode.String(), func(dir string) error {
			m := begun
			m.units = map[uint64]*unit{}
			for _, e := range events(trace[:c.Op]) {
				if err := m.note(e); err != nil {
					return err
				}
			}
			return r.judgeCut(l, dir, &m)
		}}
	}
	return r.judgeAll(ctx, len(cuts), next)
}

// judgeCut judges what a power cut has left.
func (r *run) judgeCut(l *life, dir string, m *model) error {
	opts := l.options(dir)
	opts.DisableBackgroundCheckpoint = true
	_, err := r.judgeDir(opts, m)
	r.change(func(out *Result) { out.PowerCuts++ })
	return err
}

// sample draws n of cuts, in order.
func sample(rng *rand.Rand, cuts []mmapiotest.Cut, n int) []mmapiotest.Cut {
	chosen := rng.Perm(len(cuts))[:min(n, len(cuts))]
	slices.Sort(chosen)
	out := make([]mmapiotest.Cut, len(chosen))
	for i, c := range chosen {
		out[i] = cuts[c]
	}
	return out
}
