package inspect

import (
	"fmt"

	"github.com/tongpengdl/small-db/format"
)

// arrive comes to the generation of a checkpoint: what it says of the history, or of how far that had come, is known before a log is read.
func (r *Repair) arrive(generation uint64) {
	if r == nil {
		return
	}
	for _, m := range r.remnants {
		if m.name == format.CheckpointName(generation) {
			r.lose(m.name, -1, "it says how far the history had come, and nothing leads there", false)
			r.account(m.position.Seq)
			r.open = false
		}
	}
}

// enter begins a log, unless it does not belong to the history: it is of another database, or follows another log than the one here.
func (r *Repair) enter(l *log, h *history) {
	if r == nil {
		return
	}
	if why := r.stranger(l, h); why != "" {
		l.stranger = true
		r.refuse(l.name, why)
		r.lose(l.name, -1, why, true)
		return
	}
	if l.beforeErr != nil {
		return
	}
	at := &l.before.Position
	r.lose(l.name, format.BlockSize, "it says how far the history had come, and nothing leads there", false)
	r.account(at.Seq)
	r.startEpoch(at.Epoch, at.Seq+1)
	r.reach(at)
	r.open = false
}

// stranger says why a log does not belong to the history; "" if it does.
func (r *Repair) stranger(l *log, h *history) string {
	uuid, follows := r.c.uuid, h.log != nil && !h.log.stranger && h.log.identified()
	next := r.c.logs[l.generation+1]
	switch {
	case l.stranger:
		return fmt.Sprintf("it does not continue %s", format.CheckpointName(l.generation))
	case l.identified() && l.id.UUID != uuid:
		return fmt.Sprintf("it belongs to database %v, not to %v", l.id.UUID, uuid)
	case l.identified() && l.id.Generation != l.generation:
		return fmt.Sprintf("it is %s", format.LogName(l.id.Generation))
	case l.beforeErr == nil && l.before.Generation != l.generation-1:
		return fmt.Sprintf("it follows generation %d", l.before.Generation)
	case l.beforeErr == nil && follows && l.before.Salt != h.log.id.Salt:
		return fmt.Sprintf("it follows another %s than the one here", h.log.name)
	case l.identified(), l.id.UUID == uuid, l.beforeErr == nil && follows, next.names(l) && next.before.Salt == l.id.Salt:
		return ""
	}
	return fmt.Sprintf("nothing intact says that it belongs to database %v", uuid)
}

// startEpoch notes that operations from seq on are of this epoch.
func (r *Repair) startEpoch(epoch, seq uint64) {
	if n := len(r.epochs); n == 0 || r.epochs[n-1].Epoch < epoch && r.epochs[n-1].FirstSeq <= seq {
		r.epochs = append(r.epochs[:n:n], format.EpochStart{Epoch: epoch, FirstSeq: seq})
	}
}

// frame saves the operations of an intact frame.
func (r *Repair) frame(l *log, f *frame) {
	if r == nil || l.stranger {
		return
	}
	h := &f.header
	if h.FirstSeq <= r.accounted { // never, unless two logs hold the same sequences; the first counts
		if h.LastSeq() <= r.whole {
			return
		}
		r.report.Lost = append(r.report.Lost, Lost{File: l.name, Offset: f.offset,
			What: fmt.Sprintf("the sequences from %d to %d were met before", h.FirstSeq, h.LastSeq())})
		return
	}
	r.lose(l.name, f.offset, "the frame before it does not lead there", false)
	r.account(h.FirstSeq - 1)
	r.open = false
	if h.Kind != format.FrameTrailer {
		r.startEpoch(h.Epoch, h.FirstSeq)
	}
	r.take(l, f.records)
	r.accounted = h.LastSeq()
	r.reach(&format.Position{Epoch: h.Epoch, Seq: h.LastSeq(), Index: h.Index, Time: h.Time, Chain: h.Chain})
}

// take saves operations, each as the last one of its key.
func (r *Repair) take(l *log, records []record) {
	for i := range records {
		rec := &records[i]
		if rec.Seq <= r.whole {
			continue
		}
		r.used(l.name).Operations++
		p := place{seq: rec.Seq, log: l.generation, offset: rec.offset, expires: rec.Expiry}
		if rec.Kind == format.KindSet {
			p.length = int32(format.RecordLen(len(rec.Key), len(rec.Value), rec.Expiry != 0))
		}
		r.last[string(rec.Key)] = p
	}
}

// used is the entry of a file in the report; logs come one after the other.
func (r *Repair) used(name string) *Used {
	n := len(r.report.Used)
	if n == 0 || r.report.Used[n-1].File != name {
		r.report.Used = append(r.report.Used, Used{File: name})
		n++
	}
	return &r.report.Used[n-1]
}

// gap saves what it can of a damaged part of a log.
func (r *Repair) gap(l *log, w *walker, g *gap) {
	if r == nil || l.stranger || g.empty {
		return
	}
	if g.from == g.to && g.firstSeq == 0 {
		if w.held != nil && w.held.header.LastSeq() <= r.whole {
			return
		}
		r.report.Lost = append(r.report.Lost, Lost{File: l.name, Offset: g.from, What: g.err.Error()})
		return
	}
	if g.firstSeq == r.accounted+1 && g.lastSeq >= g.firstSeq && r.missing.file == "" {
		if records := w.rescue(g); records != nil {
			r.take(l, records)
			r.accounted = g.lastSeq
			r.highest = max(r.highest, r.accounted)
			return
		}
	}
	r.lose(l.name, g.from, g.err.Error(), g.lastSeq == 0)
}

// leave ends a log. Where it ends as one does that was not closed, operations are missing only if something later says so.
func (r *Repair) leave(l *log, w *walker) {
	if r == nil || l.stranger {
		return
	}
	if l.identified() && l.size < l.id.Size && w.end == 0 && l.trailer == nil {
		r.lose(l.name, l.size, fmt.Sprintf("the file has been cut: it has %d bytes instead of %d", l.size, l.id.Size), true)
	}
	if w.stop != nil {
		r.lose(l.name, w.at, w.stop.err.Error(), false)
	}
}

// maxRescue is the longest damaged part of a log that is searched for whole groups, in bytes.
const maxRescue = 2 * format.MaxPayloadLen

// rescue returns every operation of a gap, if each of them is intact by itself, and otherwise nil: that
// a group is whole can be told only from its frame, or from the frames around it when no sequence is missing in between.
func (w *walker) rescue(g *gap) []record {
	n := min(g.to, w.limit) - g.from
	if n <= 0 || n > maxRescue || g.lastSeq-g.firstSeq >= uint64(n)/format.MinRecordLen {
		return nil
	}
	b, err := w.src.bytes(g.from, n)
	if err != nil {
		return nil
	}
	var found []record
	want := g.firstSeq
	for at := int64(0); want <= g.lastSeq; { // a frame begins there
		next := at + format.FrameHeaderLen
		for want <= g.lastSeq && next < n {
			rec, size, err := format.DecodeRecord(b[next:], w.salt, uint64(g.from+next))
			if err != nil || rec.Seq != want {
				break
			}
			found = append(found, record{rec, g.from + next})
			want++
			next += int64(size)
		}
		if at = format.Align(next, w.align); at >= n && want <= g.lastSeq {
			return nil
		}
	}
	return found
}
