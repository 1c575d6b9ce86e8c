package inspect

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// replayed is what the logs since a checkpoint change in it, as hashes: about 100 bytes a key, whatever its size. A nil one is of no use and takes all calls.
type replayed struct {
	base    *checkpoint
	seeds   [2]maphash.Seed
	content maphash.Seed
	changes map[keyID]change
	useless bool // an operation is missing
}

// keyID is a key as a hash of 128 bits, under seeds that nobody knows.
type keyID [2]uint64

// change is the last operation on a key.
type change struct {
	seq     uint64
	content uint64 // hash of value and deadline
	expiry  int64
	deleted bool
	met     bool // in the next checkpoint
}

func (r *replayed) id(key []byte) keyID {
	return keyID{maphash.Bytes(r.seeds[0], key), maphash.Bytes(r.seeds[1], key)}
}

func (r *replayed) hash(value []byte, expiry int64) uint64 {
	var h maphash.Hash
	h.SetSeed(r.content)
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(expiry))
	_, _ = h.Write(b[:]) // never fails
	_, _ = h.Write(value)
	return h.Sum64()
}

// add replays an operation.
func (r *replayed) add(rec *format.Record) {
	if r == nil || r.useless {
		return
	}
	if rec.Kind == format.KindDelete {
		r.changes[r.id(rec.Key)] = change{seq: rec.Seq, deleted: true}
		return
	}
	r.changes[r.id(rec.Key)] = change{seq: rec.Seq, content: r.hash(rec.Value, rec.Expiry), expiry: rec.Expiry}
}

// broken says that an operation could not be replayed.
func (r *replayed) broken() {
	if r != nil {
		r.useless, r.changes = true, nil
	}
}

// replayFrom begins a replay where there is a checkpoint that a later one can be compared with; otherwise the one under way goes on.
func (c *checker) replayFrom(n uint64, current *replayed) *replayed {
	p := c.checkpoints[n]
	if p == nil {
		return current
	}
	later := c.generations.checkpoints[len(c.generations.checkpoints)-1] > n
	if c.opts.Shallow || !later || !p.sound() {
		return nil
	}
	return &replayed{
		base: p, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, content: maphash.MakeSeed(), changes: map[keyID]change{},
	}
}

// compareAt proves, if there is a checkpoint of this generation, that it is what r has made of the one before it.
func (c *checker) compareAt(n uint64, r *replayed) (err error) {
	p := c.checkpoints[n]
	if p == nil || c.opts.Shallow || n <= c.kept && r == nil {
		return nil
	}
	if r == nil || r.useless || !p.sound() {
		c.note(p.name, "it was not compared with the checkpoint before it and the logs between: something of them is damaged or missing")
		return nil
	}
	c.progress.begin(p.size + r.base.size)
	defer c.progress.end()
	m := &comparison{c: c, r: r, p: p, now: p.reader.Header().Position.Time}
	err = m.run()
	var fault *mmapio.FaultError
	var damage *format.CorruptionError
	switch {
	case c.ctx.Err() != nil:
		return c.ctx.Err()
	case errors.As(err, &damage):
		c.add(Finding{File: damage.File, Offset: damage.Offset, Severity: Damage, What: damage.Err.Error(), Err: err, about: aboutCheckpoint, generation: n})
	case errors.As(err, &fault):
		c.add(Finding{File: fault.File, Offset: fault.Offset, Severity: Damage, What: err.Error(), Err: err, about: aboutCheckpoint, generation: n})
	case err != nil:
		return err
	case m.differences > maxDifferences:
		m.differ(0, fmt.Sprintf("%d keys differ in all", m.differences))
	case m.differences == 0:
		c.report.Compared = append(c.report.Compared, n)
	}
	return nil
}

// maxDifferences is how many keys are reported that differ between a checkpoint and the one before it with the logs between.
const maxDifferences = 10

// comparison walks two checkpoints side by side.
type comparison struct {
	c           *checker
	r           *replayed
	p           *checkpoint // the later one
	now         int64       // keys that are due then may be left out of it
	differences int
}

func (m *comparison) run() (err error) {
	defer runtime.KeepAlive(m.p.reader)
	defer runtime.KeepAlive(m.r.base.reader)
	defer mmapio.Recover(mmapio.Arm(), &err)
	before, after := m.r.base.reader.Cursor(), m.p.reader.Cursor()
	old, hasOld, err := before.Next()
	if err != nil {
		return err
	}
	now, hasNow, err := after.Next()
	for n := 0; err == nil && (hasOld || hasNow); n++ {
		if n%1024 == 0 && m.c.ctx.Err() != nil {
			return m.c.ctx.Err()
		}
		order := 0
		switch {
		case !hasNow:
			order = -1
		case !hasOld:
			order = 1
		default:
			order = bytes.Compare(old.Key, now.Key)
		}
		m.pair(&old, &now, order)
		if order <= 0 {
			m.c.progress.add(int64(len(old.Key) + len(old.Value)))
			old, hasOld, err = before.Next()
		}
		if err == nil && order >= 0 {
			m.c.progress.add(int64(len(now.Key) + len(now.Value)))
			now, hasNow, err = after.Next()
		}
	}
	if err != nil {
		return err
	}
	for _, ch := range m.r.changes {
		if !ch.met && !ch.deleted && !m.due(ch.expiry) {
			m.differ(ch.seq, "the key that it set is missing")
		}
	}
	return nil
}

// due reports whether a checkpoint may leave out a key with this deadline.
func (m *comparison) due(expiry int64) bool { return expiry != 0 && expiry <= m.now }

// pair compares one key: in the earlier checkpoint only (order < 0), in both, or in the later one only (order > 0).
func (m *comparison) pair(old, now *ckpt.Record, order int) {
	key := now.Key
	if order < 0 {
		key = old.Key
	}
	id := m.r.id(key)
	ch, changed := m.r.changes[id]
	if changed {
		ch.met = true
		m.r.changes[id] = ch
	}
	switch {
	case order < 0 && changed && !ch.deleted && !m.due(ch.expiry):
		m.differ(ch.seq, fmt.Sprintf("key %.40q is missing", key))
	case order < 0 && !changed && !m.due(old.Expiry):
		m.differ(old.Seq, fmt.Sprintf("key %.40q is missing", key))
	case order < 0:
	case changed && ch.deleted:
		m.differ(ch.seq, fmt.Sprintf("key %.40q is there, but was deleted", key))
	case changed && (now.Seq != ch.seq || now.Expiry != ch.expiry || m.r.hash(now.Value, now.Expiry) != ch.content):
		m.differ(ch.seq, fmt.Sprintf("key %.40q is not what was set last", key))
	case changed:
	case order > 0:
		m.differ(now.Seq, fmt.Sprintf("key %.40q is there, but nobody set it", key))
	case now.Seq != old.Seq || now.Expiry != old.Expiry || !bytes.Equal(now.Value, old.Value):
		m.differ(old.Seq, fmt.Sprintf("key %.40q has changed, but nobody set it", key))
	}
}

// differ reports that the checkpoint is not what the one before it and the logs say.
func (m *comparison) differ(seq uint64, what string) {
	if m.differences++; m.differences > maxDifferences && seq != 0 {
		return
	}
	err := fmt.Errorf("%w: %s; it is not %s and the logs since", format.ErrField, what, m.r.base.name)
	m.p.foreign = true
	m.c.add(Finding{File: m.p.name, Offset: -1, FirstSeq: seq, LastSeq: seq, Severity: Damage, What: err.Error(), Err: err,
		about: aboutContent, generation: m.p.generation})
}
