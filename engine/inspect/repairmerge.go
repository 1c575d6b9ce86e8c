package inspect

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
)

// merge writes what is saved, in the order of the keys: of each key what the latest proof says.
type merge struct {
	r       *Repair
	ctx     context.Context
	keys    []string // that have an operation after the intact checkpoint
	next    int      // of them
	cursors []*remnantCursor
	b       *ckpt.Builder
}

// firstGeneration is that of a backup.
const firstGeneration = 1

func (m *merge) write(w io.Writer) error {
	r := m.r
	r.report.Keys, r.report.DataBytes = 0, 0
	expect := uint64(len(m.keys))
	for _, remnant := range r.remnants {
		remnant.src.ctx = m.ctx
		c := &remnantCursor{m: remnant}
		m.cursors = append(m.cursors, c)
		c.next()
		expect += remnant.records
	}
	header := format.CheckpointHeader{UUID: r.c.uuid, Generation: firstGeneration, Salt: randomUint64(), Position: r.at}
	var err error
	if m.b, err = ckpt.NewStreamBuilder(w, header, expect); err != nil {
		return err
	}
	for n := 0; ; n++ {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		key := m.least()
		if key == nil {
			break
		}
		if err := m.add(key); err != nil {
			return err
		}
		if err := m.pass(key); err != nil {
			return err
		}
	}
	if err := m.verify(); err != nil {
		return err
	}
	_, err = m.b.Finish(r.epochs)
	return err
}

// least is the next key; nil after the last.
func (m *merge) least() []byte {
	var key []byte
	if m.next < len(m.keys) {
		key = []byte(m.keys[m.next])
	}
	for _, c := range m.cursors {
		if !c.done && (key == nil || bytes.Compare(c.key, key) < 0) {
			key = bytes.Clone(c.key)
		}
	}
	return key
}

// pass moves everything that stands on a key past it.
func (m *merge) pass(key []byte) error {
	if m.next < len(m.keys) && m.keys[m.next] == string(key) {
		m.next++
	}
	for _, c := range m.cursors {
		if c.done || !bytes.Equal(c.key, key) {
			continue
		}
		if c.next(); c.hole && c.m.complete() {
			return m.changed(c.m.name, c.from)
		}
	}
	return nil
}

func (m *merge) changed(file string, offset int64) error {
	return &format.CorruptionError{File: file, Offset: offset,
		Err: fmt.Errorf("%w: these bytes were intact a moment ago; repair again", format.ErrChecksum)}
}

// verify fails unless as many records were read as the first time.
func (m *merge) verify() error {
	for _, c := range m.cursors {
		if c.read != c.m.records {
			return m.changed(c.m.name, -1)
		}
	}
	return nil
}

// add adds a key, if it is set.
func (m *merge) add(key []byte) error {
	last, logged := m.r.last[string(key)]
	for _, c := range m.cursors { // the latest first
		if logged && last.seq > c.m.position.Seq {
			break
		}
		order := -1 // a key after the last record
		if !c.done {
			order = bytes.Compare(key, c.key)
		}
		switch {
		case order == 0:
			seq := c.seq
			if !c.m.versioned() {
				seq = m.r.at.Seq // which nobody was given
			}
			return m.save(ckpt.Record{Seq: seq, Expiry: c.expiry, Key: key, Value: c.value})
		case !c.hole: // it was not there
			return nil
		}
	}
	if !logged || last.length == 0 {
		return nil
	}
	rec, err := m.read(key, &last)
	if err != nil {
		return err
	}
	return m.save(rec)
}

// read reads an operation again.
func (m *merge) read(key []byte, p *place) (ckpt.Record, error) {
	src, err := m.r.source(p.log)
	if err != nil {
		return ckpt.Record{}, err
	}
	src.ctx = m.ctx
	l := m.r.c.logs[p.log]
	b, err := src.exactly(p.offset, int64(p.length))
	if err != nil {
		return ckpt.Record{}, err
	}
	rec, _, err := format.DecodeRecord(b, l.id.Salt, uint64(p.offset))
	if err != nil || rec.Seq != p.seq || !bytes.Equal(rec.Key, key) {
		return ckpt.Record{}, m.changed(l.name, p.offset)
	}
	return ckpt.Record{Seq: rec.Seq, Expiry: rec.Expiry, Key: rec.Key, Value: rec.Value}, nil
}

// save adds a record to the copy, unless it was due at the last engine time: then nobody has seen it since.
func (m *merge) save(rec ckpt.Record) error {
	if rec.Expiry != 0 && rec.Expiry <= m.r.at.Time {
		return nil
	}
	m.r.report.Keys++
	m.r.report.DataBytes += uint64(len(rec.Key)) + uint64(len(rec.Value))
	return m.b.Add(rec)
}
