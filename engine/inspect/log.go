package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/tongpengdl/small-db/format"
)

// log is a log of the directory.
type log struct {
	generation uint64
	name       string
	size       int64
	id         format.LogIdentity // what can be made out of block 0, also if idErr is set
	idErr      error
	before     format.Predecessor
	beforeErr  error
	trailer    *format.Trailer // that was read; nil if there is none
	stranger   bool            // it is of another database or another history: nothing of it is saved
	walked     bool            // to its end, or as far as it can be read
	damaged    bool            // an operation that it held cannot be read
}

func (l *log) headIntact() bool { return l.idErr == nil && l.beforeErr == nil }

// identified reports whether block 0 is intact: it may name a log that does not belong here, and another size than the file has.
func (l *log) identified() bool { return l.id.Generation != 0 }

// names reports whether a log says that it follows another one, whatever its salt.
func (l *log) names(before *log) bool {
	return l != nil && l.beforeErr == nil && l.before.Generation == before.generation
}

// readLogHead reads blocks 0 and 1. What is wrong with them is reported by checkLogs, if they are needed.
func (c *checker) readLogHead(l *log) error {
	src, closeIt := c.open(l.name, l.size, aboutLog, l.generation)
	if src == nil {
		l.idErr, l.beforeErr = errMissing, errMissing
		return c.ctx.Err()
	}
	defer closeIt()
	src.count = nil
	l.id, l.before, l.idErr, l.beforeErr = readHead(src, 0)
	if l.idErr == nil && l.id.Generation != l.generation {
		l.idErr = fmt.Errorf("log identity: %w: it is generation %d", format.ErrField, l.id.Generation)
	}
	return c.ctx.Err()
}

// readHead reads blocks 0 and 1 of a log. If block 0 is damaged, what stands in it is tried nevertheless, or the salt given: under a wrong salt
// nothing verifies.
func readHead(src *source, salt uint64) (id format.LogIdentity, before format.Predecessor, idErr, beforeErr error) {
	var blocks [format.LogHeaderSize]byte
	n := min(src.size, format.LogHeaderSize)
	for at := int64(0); at < n; at += format.BlockSize {
		b, err := src.bytes(at, min(format.BlockSize, n-at))
		if err != nil && at == 0 {
			idErr = err
		} else if err != nil {
			beforeErr = err
		}
		copy(blocks[at:], b)
	}
	if idErr == nil {
		id, idErr = format.DecodeLogIdentity(blocks[:min(n, format.BlockSize)])
	}
	if idErr != nil {
		id = format.LogIdentity{
			Align: binary.LittleEndian.Uint32(blocks[logAlignAt:]), Salt: binary.LittleEndian.Uint64(blocks[logSaltAt:]), Size: src.size,
			UUID: format.UUID(blocks[logUUIDAt : logUUIDAt+len(format.UUID{})]),
		}
		if salt != 0 {
			id.Salt = salt
		}
		if !format.ValidAlign(int64(id.Align)) {
			id.Align = format.BlockSize
		}
	} else if src.size != id.Size {
		idErr = fmt.Errorf("log identity: %w: the file has %d bytes instead of %d", format.ErrLength, src.size, id.Size)
	}
	if beforeErr == nil {
		if n < format.LogHeaderSize {
			beforeErr = fmt.Errorf("log predecessor: %w: the file ends before it", format.ErrLength)
		} else {
			before, beforeErr = format.DecodePredecessor(blocks[format.BlockSize:], id.Salt)
		}
	}
	return id, before, idErr, beforeErr
}

// Where block 0 of a log has the alignment, the UUID and the salt, in bytes.
const (
	logAlignAt = 12
	logUUIDAt  = 16
	logSaltAt  = 40
)

// newWalker walks the frames of a log from the first one on.
func newWalker(src *source, id *format.LogIdentity) *walker {
	return &walker{src: src, salt: id.Salt, align: int64(id.Align), limit: min(src.size, format.MaxLogLen), at: format.LogHeaderSize}
}

// holdsFrames reports whether a log holds anything that is a frame, damaged or not.
func (c *checker) holdsFrames(l *log) (bool, error) {
	src, closeIt := c.open(l.name, l.size, aboutLog, l.generation)
	if src == nil {
		return true, c.ctx.Err()
	}
	defer closeIt()
	src.count = nil
	w := newWalker(src, &l.id)
	w.last, w.known = l.before.Position, true
	_, _, err := w.next()
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return true, c.ctx.Err()
}

// history is where the logs checked so far lead.
type history struct {
	at    format.Position
	known bool // at is the end of the log before; otherwise something is missing or damaged there
	log   *log // the log before; nil if there is none
}

// checkLogs walks all logs that are needed, and compares checkpoints on the way.
func (c *checker) checkLogs(unfinished bool) error {
	if unfinished {
		return nil
	}
	var h history
	var replay *replayed
	stops := c.stops()
	for i, n := range stops {
		from := n
		if i > 0 && n-stops[i-1]-1 <= maxGap {
			from = stops[i-1] + 1
		} else if i > 0 {
			c.missingRun(stops[i-1]+1, n-1)
			replay.broken()
			replay, h = nil, history{}
		}
		for m := from; ; m++ {
			if err := c.compareAt(m, replay); err != nil {
				return err
			}
			replay = c.replayFrom(m, replay)
			c.salvage.arrive(m)
			if l := c.logs[m]; l == nil {
				c.missingLog(m, &h)
				replay.broken()
				h = history{}
			} else if err := c.walkLog(l, &h, i == len(stops)-1, replay); err != nil {
				return err
			}
			if m == n {
				break // here and not above: it may be the greatest number there is
			}
		}
	}
	return nil
}

// missingLog adds the finding that a log is not there that must be.
func (c *checker) missingLog(n uint64, h *history) {
	f := Finding{File: format.LogName(n), Offset: -1, Severity: Damage, What: "the log is missing", Err: errMissing, about: aboutLog, generation: n}
	if h.known {
		f.FirstSeq = h.at.Seq + 1
	} else if p := c.checkpoints[n]; p.sound() {
		f.FirstSeq = p.reader.Header().Position.Seq + 1
	}
	if next := c.logs[n+1]; next != nil && next.headIntact() {
		f.LastSeq = next.before.Position.Seq
	}
	if f.LastSeq != 0 && f.FirstSeq > f.LastSeq {
		f.FirstSeq, f.LastSeq = 0, 0
	}
	if h.log != nil && h.log.trailer != nil && h.log.trailer.Salt != 0 {
		f.What = fmt.Sprintf("the log is missing, but the trailer of %s names it", h.log.name)
	}
	c.add(f)
	c.salvage.lose(f.File, -1, f.What, true)
}

// walkLog checks a log and moves h to its end.
func (c *checker) walkLog(l *log, h *history, newest bool, replay *replayed) error {
	src, closeIt := c.open(l.name, l.size, aboutLog, l.generation)
	if src == nil {
		replay.broken()
		c.salvage.lose(l.name, -1, "it cannot be opened", true)
		*h = history{log: l}
		return c.ctx.Err()
	}
	defer closeIt()
	c.progress.begin(l.size)
	defer c.progress.end()
	c.checkHead(l, h, src)
	w := newWalker(src, &l.id)
	w.last, w.known = l.before.Position, l.beforeErr == nil
	if !w.known && h.known {
		w.last, w.known = h.at, true
	}
	next := c.logs[l.generation+1]
	if next != nil && next.beforeErr == nil && next.before.Generation == l.generation && next.before.Salt == l.id.Salt &&
		next.before.End >= format.LogHeaderSize && next.before.End <= l.size {
		w.end, w.endSeq = next.before.End, next.before.Position.Seq
	}
	c.salvage.enter(l, h)
	v := visit{c: c, l: l, replay: replay, summary: c.report.file(l.name)}
	if err := v.run(w); err != nil {
		return err
	}
	c.salvage.leave(l, w)
	if l.idErr != nil && l.beforeErr != nil && v.summary.Frames == 0 && w.end == 0 {
		c.unreadable(l, h)
	} else {
		c.checkEnd(l, w, next, newest)
	}
	if l.walked = true; l.damaged {
		replay.broken()
	}
	*h = history{at: w.last, known: w.known, log: l}
	return c.ctx.Err()
}

// unreadable adds the finding that nothing in a log can be verified.
func (c *checker) unreadable(l *log, h *history) {
	l.damaged = true
	c.salvage.lose(l.name, format.LogHeaderSize, "without its first two blocks none of its frames can be verified", true)
	f := Finding{File: l.name, Offset: format.LogHeaderSize, Severity: Damage, What: "without its first two blocks none of its frames can be verified",
		Err: l.idErr, about: aboutLog, generation: l.generation}
	if h.known {
		f.FirstSeq = h.at.Seq + 1
	}
	c.add(f)
}

// checkHead reports what is wrong with blocks 0 and 1, and that the log does not continue the one before it.
func (c *checker) checkHead(l *log, h *history, src *source) {
	if l.idErr != nil && h.log != nil && h.log.trailer != nil && h.log.trailer.Salt != 0 { // it names the salt
		align := h.log.id.Align
		id, before, _, beforeErr := readHead(src, h.log.trailer.Salt)
		if beforeErr == nil {
			l.id, l.before, l.beforeErr = id, before, nil
			l.id.Align = align
		}
	}
	if next := c.logs[l.generation+1]; l.idErr != nil && l.beforeErr != nil && next.names(l) { // and so does its successor
		id, before, _, beforeErr := readHead(src, next.before.Salt)
		align := l.id.Align
		if l.id = id; next.idErr == nil {
			align = next.id.Align
		}
		l.id.Align = align
		if beforeErr == nil {
			l.before, l.beforeErr = before, nil
		}
	}
	head := func(offset int64, err error) {
		c.add(Finding{File: l.name, Offset: offset, Severity: Damage, What: err.Error(), Err: err, about: aboutLogHead, generation: l.generation})
	}
	if l.idErr != nil {
		head(0, l.idErr)
	}
	if l.beforeErr != nil {
		head(format.BlockSize, l.beforeErr)
		return
	}
	b := &l.before
	switch {
	case b.Generation != l.generation-1:
		head(format.BlockSize, fmt.Errorf("log predecessor: %w: it follows generation %d", format.ErrField, b.Generation))
	case h.log != nil && b.Salt != h.log.id.Salt:
		head(format.BlockSize, fmt.Errorf("log predecessor: %w: it follows another %s than the one here", format.ErrField, h.log.name))
	case h.log != nil && (b.End < format.LogHeaderSize || b.End > h.log.size):
		head(format.BlockSize, fmt.Errorf("log predecessor: %w: it says that %s ends at %d", format.ErrField, h.log.name, b.End))
	case h.known && !continues(b.Position, h.at):
		head(format.BlockSize, fmt.Errorf("log predecessor: %w: it starts at %v, but %s ends at %v", format.ErrField, b.Position, h.log.name, h.at))
	}
}

// continues reports whether a log may start at a position after one that ends at another: only a new epoch may begin there.
func continues(start, end format.Position) bool {
	later := start.Epoch >= end.Epoch
	start.Epoch = end.Epoch
	return later && start == end
}

// visit is a walk through one log under way.
type visit struct {
	c       *checker
	l       *log
	replay  *replayed
	summary *File
	last    *frame // the one before, without its records
}

func (v *visit) run(w *walker) error {
	for {
		f, g, err := w.next()
		switch {
		case err != nil && v.c.ctx.Err() != nil:
			return v.c.ctx.Err()
		case err != nil:
			return nil
		case g != nil:
			v.gap(g)
			v.c.salvage.gap(v.l, w, g)
		default:
			v.frame(f)
			v.c.salvage.frame(v.l, f)
		}
	}
}

// gap reports damage within a log.
func (v *visit) gap(g *gap) {
	f := Finding{File: v.l.name, Offset: g.from, FirstSeq: g.firstSeq, LastSeq: g.lastSeq, Severity: Damage, What: g.String(), Err: g.err,
		about: aboutLog, generation: v.l.generation}
	if g.empty {
		f.about, f.Follows = aboutNothing, "no operation is lost: none was in it"
	} else {
		v.l.damaged = true
	}
	v.c.add(f)
	v.last = nil
}

// frame counts and replays a frame.
func (v *visit) frame(f *frame) {
	v.strayAfter()
	v.last = &frame{stray: f.stray}
	if f.header.Kind == format.FrameTrailer {
		trailer := f.trailer
		v.l.trailer = &trailer
		return
	}
	s := v.summary
	s.Used, s.LastSeq = f.next, f.header.LastSeq()
	s.Frames++
	s.Operations += uint64(len(f.records))
	if s.FirstSeq == 0 && len(f.records) > 0 {
		s.FirstSeq = f.header.FirstSeq
	}
	for i := range f.records {
		v.replay.add(&f.records[i].Record)
	}
}

// strayAfter notes bytes in the padding of the last frame, now that another one was written after it.
func (v *visit) strayAfter() {
	if v.last != nil && v.last.stray >= 0 {
		v.c.add(Finding{File: v.l.name, Offset: v.last.stray, Severity: Note,
			What: "bytes between two frames are not zero; nothing needs them, but nobody writes them so"})
	}
}

// checkEnd judges how a log ends.
func (c *checker) checkEnd(l *log, w *walker, next *log, newest bool) {
	if s := c.report.file(l.name); s.Used == 0 {
		s.Used = format.LogHeaderSize
	}
	if w.end != 0 {
		c.checkSealed(l, w, next)
		return
	}
	if t := l.trailer; t != nil {
		switch {
		case t.Generation != l.generation+1:
			c.addTrailer(l, w.at, fmt.Errorf("trailer: %w: it names generation %d", format.ErrField, t.Generation))
		case t.Salt != 0 && next == nil && newest:
			h := history{at: w.last, known: w.known, log: l}
			c.missingLog(l.generation+1, &h)
		}
	}
	if newest {
		c.checkTail(l, w)
	}
}

// checkSealed reads the trailer of a log whose successor says where it ends. There need not be one.
func (c *checker) checkSealed(l *log, w *walker, next *log) {
	if w.at != w.end {
		return // damage, which is reported
	}
	f, err := w.read(w.end)
	if err != nil || f.header.Kind != format.FrameTrailer {
		return
	}
	l.trailer = &f.trailer
	switch t := f.trailer; {
	case t.Generation != next.generation:
		c.addTrailer(l, w.end, fmt.Errorf("trailer: %w: it names generation %d", format.ErrField, t.Generation))
	case t.Salt != 0 && next.idErr == nil && t.Salt != next.id.Salt:
		c.addTrailer(l, w.end, fmt.Errorf("trailer: %w: it names another %s than the one here", format.ErrField, next.name))
	}
}

func (c *checker) addTrailer(l *log, offset int64, err error) {
	c.add(Finding{File: l.name, Offset: offset, Severity: Damage, What: err.Error(), Err: err, about: aboutLogHead, generation: l.generation})
}

// checkTail says where the history ends, and what the next open drops.
func (c *checker) checkTail(l *log, w *walker) {
	t := Tail{File: l.name, Offset: w.at, Epoch: w.last.Epoch, Seq: w.last.Seq}
	c.report.Clean = l.trailer != nil && l.trailer.Salt == 0 && !l.damaged
	if w.stop == nil || l.damaged && !w.known {
		c.report.Tail = t
		return
	}
	n := Finding{File: l.name, Offset: w.at, Severity: Note, Err: w.stop.err}
	if h := w.stop.header; h != nil {
		t.Dropped = min(format.FrameLen(int(h.Length), w.align), l.size-w.at)
		n.FirstSeq, n.LastSeq = h.FirstSeq, h.LastSeq()
	} else if last, err := w.src.lastByte(w.at); err == nil {
		t.Dropped = last - w.at
	}
	c.report.Tail = t
	n.What = fmt.Sprintf("the database was not closed; it ends at %s offset %d with sequence %d", l.name, w.at, t.Seq)
	if t.Dropped > 0 {
		n.What += fmt.Sprintf("; up to %d bytes after it are dropped by the next open: a write that was cut off, or what a recycled file held before (%v)", t.Dropped, w.stop.err)
	}
	c.add(n)
}
