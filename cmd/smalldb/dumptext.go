package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/inspect"
	"github.com/tongpengdl/small-db/format"
)

// title begins a file in text.
func (d *dumper) title(name string, kind inspect.Kind) {
	if !d.c.json {
		fmt.Fprintf(d.out, "%s: %s\n", printable(name), kind)
	}
}

func (d *dumper) line(format string, args ...any) error {
	_, err := fmt.Fprintf(d.out, "  "+format+"\n", args...)
	return err
}

func (d *dumper) logItem(name string, item *inspect.LogItem) error {
	if d.c.json {
		return d.c.printJSON(d.out, struct {
			File string `json:"file"`
			*inspect.LogItem
		}{name, item})
	}
	at := item.Offset
	switch {
	case item.Identity != nil:
		i := item.Identity
		return d.line("%d identity: uuid %s, generation %d, salt %s, size %d, align %d", at, i.UUID, i.Generation, i.Salt, i.Size, i.Align)
	case item.Predecessor != nil:
		b := item.Predecessor
		return d.line("%d predecessor: generation %d, salt %s, end %d, commit %d, %s", at, b.Generation, b.Salt, b.End, b.Commit, positionText(&b.Position))
	case item.Frame != nil:
		return d.frame(at, item.Frame)
	case item.Trailer != nil:
		return d.line("%d trailer: the next log has generation %d, salt %s", at, item.Trailer.Generation, item.Trailer.Salt)
	case item.Damage != nil:
		return d.line("%d damage to %d: %s%s", at, item.Damage.End, item.Damage.What, sequencesText(item.Damage.FirstSeq, item.Damage.LastSeq))
	case item.End != nil:
		return d.end(at, item.End)
	}
	return nil
}

func (d *dumper) frame(at int64, f *inspect.Frame) error {
	err := d.line("%d frame %d: %s, %d bytes%s, epoch %d, commit %d, time %s, synced %d, chain %s", at, f.Index, f.Kind, f.Length,
		sequencesText(f.FirstSeq, f.LastSeq), f.Epoch, f.Commit, timeText(f.Time), f.Synced, f.Chain)
	for i := range f.Records {
		r := &f.Records[i]
		text := fmt.Sprintf("  %d %s %d %s", r.Offset, r.Kind, r.Seq, appendField(nil, r.Key))
		if r.Kind == format.KindSet.String() {
			text += fmt.Sprintf(", %d bytes", r.ValueLen)
		}
		if r.ValueLen > 0 && d.opts.Values {
			text += fmt.Sprintf(": %s", appendField(nil, r.Value))
		}
		if r.Expiry != 0 {
			text += ", expires at " + timeText(r.Expiry)
		}
		err = errors.Join(err, d.line("%s", text))
	}
	return err
}

func (d *dumper) end(at int64, e *inspect.LogEnd) error {
	var words []string
	if e.Sealed {
		words = append(words, "sealed")
	}
	if e.Position != nil {
		words = append(words, positionText(e.Position))
	}
	if e.What != "" {
		words = append(words, e.What)
	}
	return d.line("%d end: %s", at, strings.Join(words, ", "))
}

func (d *dumper) checkpoint(name string, info *inspect.CheckpointInfo) error {
	if d.c.json {
		return d.c.printJSON(d.out, struct {
			File       string                  `json:"file"`
			Checkpoint *inspect.CheckpointInfo `json:"checkpoint"`
		}{name, info})
	}
	d.title(name, inspect.KindCheckpoint)
	if info.Position != nil {
		_ = d.line("uuid %s, generation %d, salt %s, %s", info.UUID, info.Generation, info.Salt, positionText(info.Position))
	}
	_ = d.line("%d bytes; %d keys, %d bytes of keys and values, %d buckets", info.Size, info.Keys, info.DataBytes, info.Buckets)
	if len(info.FirstKey) > 0 {
		_ = d.line("keys from %s to %s", appendField(nil, info.FirstKey), appendField(nil, info.LastKey))
	}
	for _, e := range info.Epochs {
		_ = d.line("epoch %d from sequence %d", e.Epoch, e.FirstSeq)
	}
	for _, s := range info.Segments {
		state := ""
		if !s.Intact {
			state = ", DAMAGED"
		}
		_ = d.line("%d segment: %s, %d bytes, %d parts%s", s.Offset, s.Kind, s.Length, s.Count, state)
	}
	var err error
	for i := range info.Damage {
		err = d.line("%s", info.Damage[i].String())
	}
	return err
}

// version shows a version file; a damaged one is shown as such.
func (d *dumper) version(name, path string) error {
	info, err := inspect.DumpVersion(path)
	damage := ""
	if errors.Is(err, engine.ErrCorrupt) {
		damage, err = err.Error(), nil
	}
	switch {
	case err != nil:
		return err
	case d.c.json:
		return d.c.printJSON(d.out, struct {
			File    string               `json:"file"`
			Version *inspect.VersionInfo `json:"version,omitempty"`
			Damage  string               `json:"damage,omitempty"`
		}{name, info, damage})
	}
	d.title(name, inspect.KindVersion)
	if info == nil {
		return d.line("damage: %s", damage)
	}
	return d.line("uuid %s, generation %d, previous %d, epoch %d, checkpoint of %d bytes with sum %s",
		info.UUID, info.Generation, info.Previous, info.Epoch, info.CheckpointLen, info.CheckpointSum)
}

// other shows a file that holds nothing of the state.
func (d *dumper) other(name string, kind inspect.Kind, size int64) error {
	if d.c.json {
		return d.c.printJSON(d.out, struct {
			File string       `json:"file"`
			Kind inspect.Kind `json:"kind"`
			Size int64        `json:"size"`
		}{name, kind, size})
	}
	d.title(name, kind)
	return d.line("%d bytes", size)
}

func positionText(p *inspect.Position) string {
	return fmt.Sprintf("version %d.%d, index %d, time %s, chain %s", p.Epoch, p.Seq, p.Index, timeText(p.Time), p.Chain)
}

// sequencesText says which operations are meant, if that is known.
func sequencesText(first, last uint64) string {
	switch {
	case first == 0 || last != 0 && last < first:
		return ""
	case last == 0:
		return fmt.Sprintf(", sequences from %d", first)
	}
	return fmt.Sprintf(", sequences %d to %d", first, last)
}

func timeText(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }
