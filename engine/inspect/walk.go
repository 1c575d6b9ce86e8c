package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/tongpengdl/small-db/format"
)

// walker reads the frames of a log in order and goes on behind damage. Where it and the reader of
// package logrecord judge the same, they do so independently.
type walker struct {
	src   *source
	salt  uint64
	align int64
	limit int64 // where the log ends at the latest, in bytes
	// end is where the successor says that the log ends, in bytes, and endSeq the last sequence up to there; 0 if nothing says so.
	end    int64
	endSeq uint64

	at     int64           // of the next frame
	last   format.Position // the history up to at
	known  bool            // last is known: nothing before at is missing
	sealed bool            // a trailer was read
	held   *frame          // read already, comes next
	stop   *torn           // where the log ends without a trailer or a successor; nil as long as it goes on
	chain  []byte          // scratch
	recs   []record        // scratch
}

// record is an operation of a frame and where its record lies.
type record struct {
	format.Record
	offset int64
}

// frame is a frame that verifies by itself. Its records are valid until the next step.
type frame struct {
	header  format.FrameHeader
	offset  int64
	next    int64 // where the frame after it begins
	stray   int64 // offset of the first byte of its padding that is not zero; -1 if there is none
	records []record
	trailer format.Trailer
}

// gap is a part of a log that was durable and is no frame any more, or a frame that does not follow the one before it.
type gap struct {
	from, to          int64  // in bytes; from == to if it is the next frame that does not follow
	firstSeq, lastSeq uint64 // operations that were there; 0 if that is not known
	proof             string // what proves that it was durable
	err               error  // what is wrong
	empty             bool   // no operation was in it
}

// String says what is wrong, how much of the log it is, and how that is known.
func (g *gap) String() string {
	s := fmt.Sprintf("%v (it was durable: %s)", g.err, g.proof)
	if g.to > g.from {
		s = fmt.Sprintf("%d bytes: %s", g.to-g.from, s)
	}
	return s
}

// torn is the end of a log that was not closed.
type torn struct {
	err    error               // what is wrong with the bytes there
	header *format.FrameHeader // of a frame that was being written; nil if not even that is whole
}

// next returns the next frame or the next gap. At the end the error is io.EOF; any other is that of the context.
func (w *walker) next() (*frame, *gap, error) {
	if f := w.held; f != nil {
		w.held = nil
		w.advance(f)
		return f, nil, nil
	}
	if w.sealed || w.stop != nil || w.end != 0 && w.at >= w.end {
		return nil, nil, io.EOF
	}
	f, cause := w.read(w.at)
	if err := w.src.ctx.Err(); err != nil {
		return nil, nil, err
	}
	if cause != nil {
		return w.skip(cause)
	}
	if w.end != 0 && (f.header.Kind == format.FrameTrailer || f.next > w.end) {
		g := &gap{from: w.at, to: w.end, proof: "its checksums are intact",
			err: fmt.Errorf("%w: a frame up to %d, but the next log says that this one ends at %d", format.ErrField, f.next, w.end)}
		w.at, w.known = w.end, false
		return nil, g, nil
	}
	if w.known {
		if err := w.follows(f); err != nil {
			w.held, w.known = f, false
			return nil, w.unfollowed(f, err), nil
		}
	}
	w.advance(f)
	return f, nil, nil
}

// unfollowed is the gap before an intact frame that does not continue the history.
func (w *walker) unfollowed(f *frame, err error) *gap {
	g := &gap{from: w.at, to: w.at, proof: "its checksums are intact", err: err}
	if f.header.FirstSeq > w.last.Seq+1 {
		g.firstSeq, g.lastSeq = w.last.Seq+1, f.header.FirstSeq-1
	}
	return g
}

func (w *walker) advance(f *frame) {
	if f.header.Kind == format.FrameTrailer {
		w.sealed = true
		return
	}
	h := &f.header
	w.at, w.known = f.next, true
	w.last = format.Position{Epoch: h.Epoch, Seq: h.LastSeq(), Index: h.Index, Time: h.Time, Chain: h.Chain}
}

// read verifies the frame at off by itself.
func (w *walker) read(off int64) (*frame, error) {
	h, err := w.header(off)
	if err != nil {
		return nil, err
	}
	n := format.FrameHeaderLen + int64(h.Length)
	if n > w.limit-off {
		return nil, fmt.Errorf("frame: %w: payload of %d bytes", format.ErrLength, h.Length)
	}
	f := &frame{header: *h, offset: off, next: off + format.FrameLen(int(h.Length), w.align), stray: -1}
	b, err := w.src.bytes(off, min(f.next, w.limit)-off)
	if err != nil {
		return nil, err
	}
	payload, padding := b[format.FrameHeaderLen:n], b[n:]
	if err := h.CheckPayload(payload, w.salt, uint64(off)); err != nil {
		return nil, err
	}
	for i, c := range padding {
		if c != 0 {
			f.stray = off + n + int64(i)
			break
		}
	}
	switch h.Kind {
	case format.FrameOperations:
		f.records, err = w.decode(h, payload, off+format.FrameHeaderLen)
	case format.FrameTrailer:
		f.trailer, err = format.DecodeTrailer(payload)
	}
	return f, err
}

func (w *walker) header(off int64) (*format.FrameHeader, error) {
	if w.limit-off < format.FrameHeaderLen {
		return nil, fmt.Errorf("frame: %w: %d bytes left", format.ErrLength, w.limit-off)
	}
	b, err := w.src.bytes(off, format.FrameHeaderLen)
	if err != nil {
		return nil, err
	}
	h, err := format.DecodeFrameHeader(b, w.salt, uint64(off))
	if err != nil {
		return nil, err
	}
	return &h, nil
}

// decode verifies the records of a payload whose sum is intact.
func (w *walker) decode(h *format.FrameHeader, payload []byte, base int64) ([]record, error) {
	w.recs = w.recs[:0]
	for at := int64(0); at < int64(len(payload)); {
		rec, size, err := format.DecodeRecord(payload[at:], w.salt, uint64(base+at))
		if err != nil {
			return nil, fmt.Errorf("at offset %d: %w", base+at, err)
		}
		if want := h.FirstSeq + uint64(len(w.recs)); rec.Seq != want {
			return nil, fmt.Errorf("record: %w: sequence %d instead of %d", format.ErrField, rec.Seq, want)
		}
		w.recs = append(w.recs, record{rec, base + at})
		at += int64(size)
	}
	if len(w.recs) != int(h.Count) {
		return nil, fmt.Errorf("frame: %w: %d records instead of %d", format.ErrField, len(w.recs), h.Count)
	}
	return w.recs, nil
}

// follows says why the frame does not continue the history.
func (w *walker) follows(f *frame) error {
	h, last := &f.header, &w.last
	if h.Kind == format.FrameTrailer {
		if h.FirstSeq != last.Seq+1 || h.Index != last.Index || h.Chain != last.Chain || h.Epoch != last.Epoch || h.Time < last.Time {
			return fmt.Errorf("trailer: %w: it ends another history than the one before it", format.ErrField)
		}
		return nil
	}
	chain := format.NewChain(w.chain, last.Chain, h.Epoch, h.FirstSeq, h.Time)
	for i := range f.records {
		chain.Add(f.records[i].Hash)
	}
	w.chain = chain.Scratch()
	var what string
	switch {
	case h.FirstSeq != last.Seq+1:
		what = fmt.Sprintf("it begins with sequence %d after %d", h.FirstSeq, last.Seq)
	case h.Index != last.Index+1:
		what = fmt.Sprintf("its index is %d after %d", h.Index, last.Index)
	case h.Epoch < last.Epoch:
		what = fmt.Sprintf("its epoch is %d after %d", h.Epoch, last.Epoch)
	case h.Time < last.Time:
		what = fmt.Sprintf("its time is %d after %d", h.Time, last.Time)
	case h.Synced > uint64(f.offset):
		what = fmt.Sprintf("the log is said to be durable up to %d", h.Synced)
	case h.Commit >= h.FirstSeq:
		what = fmt.Sprintf("sequence %d is said to be committed", h.Commit)
	case h.Chain != chain.Sum():
		what = fmt.Sprintf("its chain is %016x instead of %016x", h.Chain, chain.Sum())
	default:
		return nil
	}
	return fmt.Errorf("frame: %w: it does not continue the history: %s", format.ErrField, what)
}

// skip finds out whether the bytes at w.at, which are no frame for the reason cause, were one: it goes on behind them then. If
// nothing proves that, the log ends here.
func (w *walker) skip(cause error) (*frame, *gap, error) {
	g := &gap{from: w.at, err: cause}
	end := w.limit
	var disk *readError
	switch {
	case w.end != 0:
		end, g.proof = w.end, fmt.Sprintf("the next log says that this one ends at %d", w.end)
	case errors.As(cause, &disk):
		g.proof = "it cannot be read"
	case !errors.Is(cause, format.ErrMagic) && !errors.Is(cause, format.ErrChecksum) && w.limit-w.at >= format.FrameHeaderLen:
		g.proof = "its checksums are intact"
	}
	resume, proof, err := w.search(end)
	if err != nil {
		return nil, nil, err
	}
	if g.proof == "" {
		g.proof = proof
	}
	if g.proof == "" {
		h, _ := w.header(w.at)
		w.stop = &torn{cause, h}
		return nil, nil, cmp.Or(w.src.ctx.Err(), io.EOF)
	}
	g.to = end
	if w.known {
		g.firstSeq, g.lastSeq = w.last.Seq+1, w.endSeq
	}
	if resume != nil {
		g.to = resume.offset
		g.lastSeq = resume.header.FirstSeq - 1
	}
	if g.lastSeq != 0 && g.lastSeq < g.firstSeq {
		g.firstSeq, g.lastSeq, g.empty = 0, 0, true
	}
	w.at, w.known = g.to, false
	if resume == nil && w.end == 0 {
		w.stop = &torn{err: cause}
	}
	return nil, g, nil
}

// search looks behind w.at for the next frame that verifies by itself, and for a proof that w.at was durable.
func (w *walker) search(end int64) (*frame, string, error) {
	var proof string
	for off := w.at + w.align; off < end; off += w.align {
		h, err := w.header(off)
		if stopped := w.src.ctx.Err(); stopped != nil {
			return nil, "", stopped
		}
		if err != nil {
			continue
		}
		if h.Synced > uint64(w.at) && proof == "" {
			proof = fmt.Sprintf("a frame at %d says that the log was durable up to %d", off, h.Synced)
		}
		if proof == "" && w.end == 0 {
			continue // not behind a proof: it may be part of what a stop cut off
		}
		if f, err := w.read(off); err == nil {
			return f, proof, nil
		}
	}
	return nil, proof, nil
}
