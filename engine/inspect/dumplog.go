package inspect

import (
	"context"
	"errors"
	"io"

	"github.com/tongpengdl/small-db/format"
)

// LogItem is one thing that lies in a log, at Offset. Exactly one of the pointers is set.
type LogItem struct {
	Offset      int64        `json:"offset"` // in the log, in bytes
	Identity    *LogIdentity `json:"identity,omitempty"`
	Predecessor *Predecessor `json:"predecessor,omitempty"`
	Frame       *Frame       `json:"frame,omitempty"`
	Trailer     *Trailer     `json:"trailer,omitempty"`
	Damage      *LogDamage   `json:"damage,omitempty"`
	End         *LogEnd      `json:"end,omitempty"` // the last item
}

// LogIdentity is block 0.
type LogIdentity struct {
	UUID       string `json:"uuid"`
	Generation uint64 `json:"generation"`
	Salt       string `json:"salt"`
	Size       int64  `json:"size"`  // in bytes
	Align      uint32 `json:"align"` // of frames, in bytes
}

// Predecessor is block 1: where the log before this one ends.
type Predecessor struct {
	Generation uint64   `json:"generation"` // 0 if this is the first log
	Salt       string   `json:"salt"`
	End        int64    `json:"end"` // in bytes
	Commit     uint64   `json:"commit"`
	Position   Position `json:"position"`
}

// Frame is a verified frame.
type Frame struct {
	Kind     string   `json:"kind"`
	Length   uint32   `json:"length"` // of the payload, in bytes
	FirstSeq uint64   `json:"first_seq"`
	LastSeq  uint64   `json:"last_seq"` // FirstSeq - 1 if it holds no operation
	Epoch    uint64   `json:"epoch"`
	Index    uint64   `json:"index"`
	Commit   uint64   `json:"commit"`
	Time     int64    `json:"time"`   // in ns since the Unix epoch
	Synced   uint64   `json:"synced"` // in bytes
	Chain    string   `json:"chain"`
	Records  []Record `json:"records"`
}

// Record is an operation.
type Record struct {
	Offset   int64  `json:"offset"` // in the log, in bytes
	Kind     string `json:"kind"`
	Seq      uint64 `json:"seq"`
	Key      []byte `json:"key"`
	ValueLen int    `json:"value_len"`       // in bytes
	Value    []byte `json:"value,omitempty"` // with DumpOptions.Values
	Expiry   int64  `json:"expiry,omitempty"`
}

// Trailer is the frame that seals a log.
type Trailer struct {
	Generation uint64 `json:"generation"` // of the successor
	Salt       string `json:"salt"`       // of the successor; zeros if the log was closed before it had one
}

// LogDamage is a part of a log that was durable and cannot be read, or, with an End that is the offset, a frame that is intact but does
// not continue the one before it. The items after it are what lies behind.
type LogDamage struct {
	End      int64  `json:"end"`                 // just past it, in bytes
	FirstSeq uint64 `json:"first_seq,omitempty"` // of the operations in it; 0 if that is not known
	LastSeq  uint64 `json:"last_seq,omitempty"`  // 0 if that is not known
	What     string `json:"what"`
	Err      error  `json:"-"`
}

// LogEnd says how a log ends.
type LogEnd struct {
	Sealed   bool      `json:"sealed"`             // a trailer ends it
	Position *Position `json:"position,omitempty"` // nil if not even the beginning can be read
	What     string    `json:"what,omitempty"`     // of an end without trailer: what lies there
}

// DumpOptions say what DumpLog shows.
type DumpOptions struct {
	// Values shows values, too. Default: false.
	Values bool
}

// DumpLog calls each with what lies in a log, in order, and ends when each returns an error, with that error. What
// it calls a frame has verified, under the salt of this file and at its offset. Damage is an item like any other: it goes on at
// the next frame that verifies. Without block 0 it tries the salt that stands in it. The other files of the directory
// are not asked, so the end of a log with a successor may lie before what is shown. What an item points to is valid during the call.
//
// The error is that of each, of the context or of opening the file.
func DumpLog(ctx context.Context, path string, opts DumpOptions, each func(*LogItem) error) error {
	f, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	src := &source{ctx: ctx, ra: f, name: baseName(path), size: info.Size()}
	w, err := dumpHead(src, each)
	if err != nil {
		return err
	}
	return dumpFrames(w, opts, each)
}

// dumpHead shows blocks 0 and 1.
func dumpHead(src *source, each func(*LogItem) error) (*walker, error) {
	id, before, idErr, beforeErr := readHead(src, 0)
	first := &LogItem{Offset: 0}
	if idErr == nil {
		first.Identity = &LogIdentity{id.UUID.String(), id.Generation, hex64(id.Salt), id.Size, id.Align}
	} else {
		first.Damage = &LogDamage{End: format.BlockSize, What: idErr.Error(), Err: idErr}
	}
	second := &LogItem{Offset: format.BlockSize}
	if beforeErr == nil {
		second.Predecessor = &Predecessor{before.Generation, hex64(before.Salt), before.End, before.Commit, newPosition(before.Position)}
	} else {
		second.Damage = &LogDamage{End: format.LogHeaderSize, What: beforeErr.Error(), Err: beforeErr}
	}
	w := newWalker(src, &id)
	w.last, w.known = before.Position, beforeErr == nil
	for _, item := range []*LogItem{first, second} {
		if err := errors.Join(src.ctx.Err(), each(item)); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func dumpFrames(w *walker, opts DumpOptions, each func(*LogItem) error) error {
	for {
		f, g, err := w.next()
		item := new(LogItem)
		switch {
		case errors.Is(err, io.EOF):
			return each(dumpEnd(w))
		case err != nil:
			return err
		case g != nil:
			item.Offset = g.from
			item.Damage = &LogDamage{End: g.to, FirstSeq: g.firstSeq, LastSeq: g.lastSeq, What: g.String(), Err: g.err}
		case f.header.Kind == format.FrameTrailer:
			item.Offset = f.offset
			item.Trailer = &Trailer{f.trailer.Generation, hex64(f.trailer.Salt)}
		default:
			item.Offset, item.Frame = f.offset, dumpFrame(f, opts)
		}
		if err := each(item); err != nil {
			return err
		}
	}
}

func dumpEnd(w *walker) *LogItem {
	end := &LogEnd{Sealed: w.sealed}
	if w.known {
		position := newPosition(w.last)
		end.Position = &position
	}
	if w.stop != nil {
		end.What = w.stop.err.Error()
	}
	return &LogItem{Offset: w.at, End: end}
}

// frameKinds are the names of the kinds of frames.
var frameKinds = map[format.FrameKind]string{
	format.FrameOperations: "operations", format.FrameEmpty: "empty", format.FrameConfiguration: "configuration", format.FrameTrailer: "trailer",
}

func dumpFrame(f *frame, opts DumpOptions) *Frame {
	h := &f.header
	out := &Frame{
		Kind: frameKinds[h.Kind], Length: h.Length, FirstSeq: h.FirstSeq, LastSeq: h.LastSeq(), Epoch: h.Epoch, Index: h.Index, Commit: h.Commit,
		Time: h.Time, Synced: h.Synced, Chain: hex64(h.Chain), Records: make([]Record, len(f.records)),
	}
	for i := range f.records {
		r := &f.records[i]
		out.Records[i] = Record{Offset: r.offset, Kind: r.Kind.String(), Seq: r.Seq, Key: r.Key, ValueLen: len(r.Value), Expiry: r.Expiry}
		if opts.Values {
			out.Records[i].Value = r.Value
		}
	}
	return out
}
