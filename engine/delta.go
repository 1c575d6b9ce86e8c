package engine

import (
	"bytes"
	"hash/maphash"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// delta is the index over the logs since a checkpoint began: for every key that
// changed, the place of its last record in the mapped logs. The holder of the pipeline
// writes it; any number of readers look into it, inside a guard.
//
// All its logs are mapped into one reserved range of addresses, so that a place is one number, whichever
// log it lies in. The range goes when the delta goes.
type delta struct {
	seed   maphash.Seed
	table  *table
	memory *mmapio.Mapping
	gone   *atomic.Bool                    // set when memory is unmapped
	failed atomic.Pointer[map[int64]error] // places that the writer could not read once: they are damaged from then on
	logs   atomic.Pointer[[]mappedLog]     // in order; a longer list replaces it when a log is added

	references references
	orders     orders
	deadlines  deadlines
	net        atomic.Int64 // keys that it adds to those below it, less those that it deletes; stored by the holder of the pipeline
	bytes      atomic.Int64 // of its frames; stored by the holder of the pipeline
}

// mappedLog is a log within the memory of a delta, from start to end of it, in bytes.
type mappedLog struct {
	generation uint64
	salt       uint64
	start, end int64
}

const (
	// placeUnit is the alignment of records and the unit of places, in bytes.
	placeUnit = format.RecordAlign
	// maxDeltaSpan is the most address space that a delta reserves, in bytes: all that a place can name. A small
	// database takes minDeltaSpan, so that a process can hold thousands; where the system does not give
	// what is asked for, leastDeltaSpan must do.
	maxDeltaSpan   = placeUnit << placeBits
	minDeltaSpan   = 1 << 36
	leastDeltaSpan = 1 << 32
	// deltaSpanFactor is the address space for each byte of the base: a checkpoint is due long before the
	// logs after it have taken as much.
	deltaSpanFactor = 4 * fileBytesFactor
	// logStride aligns logs within a delta; any page size divides it.
	logStride = 64 << 10
)

// newDelta returns an empty delta for the logs after a base of this size in bytes.
func newDelta(seed maphash.Seed, baseLen uint64, logs int64) (*delta, error) {
	gone := new(atomic.Bool)
	span := int64(minDeltaSpan)
	for span < maxDeltaSpan && (uint64(span) < deltaSpanFactor*baseLen || span/2 < logs) {
		span *= 2
	}
	memory, err := mmapio.Reserve(span, max(leastDeltaSpan, logs+logStride+smallLogBytes), func() { gone.Store(true) })
	if err != nil {
		return nil, err
	}
	d := &delta{seed: seed, table: newTable(), memory: memory, gone: gone}
	d.logs.Store(new([]mappedLog))
	return d, nil
}

// attach maps a log after those it has, and returns where in memory it starts. The holder of the pipeline only.
func (d *delta) attach(f mmapio.File, id *format.LogIdentity) (start int64, err error) {
	logs := *d.logs.Load()
	if n := len(logs); n > 0 {
		start = format.Align(logs[n-1].end, logStride)
	}
	if err := d.memory.MapAt(f, start, id.Size); err != nil {
		return 0, err
	}
	logs = append(slices.Clone(logs), mappedLog{id.Generation, id.Salt, start, start + id.Size})
	d.logs.Store(&logs)
	return start, nil
}

// logAt returns the log in which a byte of memory lies.
func (d *delta) logAt(at int64) *mappedLog {
	logs := *d.logs.Load()
	i := len(logs) - 1
	for i > 0 && at < logs[i].start { // few logs, and mostly the last ones are asked for
		i--
	}
	return &logs[i]
}

// record reads and verifies the record at a place. Its slices point into the mapping.
func (d *delta) record(place int64) (format.Record, error) {
	b, log, offset, err := d.at(place)
	if err != nil {
		return format.Record{}, err
	}
	rec, _, err := format.DecodeRecord(b, log.salt, offset)
	if err != nil {
		return format.Record{}, d.corrupt(place, err)
	}
	return rec, nil
}

// at returns the memory from a place on, the log that it belongs to, and where in that the place is.
func (d *delta) at(place int64) (b []byte, log *mappedLog, offset uint64, err error) {
	if err := d.known(place); err != nil {
		return nil, nil, 0, err
	}
	at := place * placeUnit
	log = d.logAt(at)
	return d.memory.Bytes()[at:log.end], log, uint64(at - log.start), nil
}

// corrupt is what is wrong with the record at a place.
func (d *delta) corrupt(place int64, err error) error {
	log := d.logAt(place * placeUnit)
	return &format.CorruptionError{File: format.LogName(log.generation), Offset: place*placeUnit - log.start, Err: err}
}

// copy copies the record at a place to buf, verifies the copy, which the record's slices point into, and returns it and buf.
func (d *delta) copy(place int64, buf []byte) (format.Record, []byte, error) {
	b, log, offset, err := d.at(place)
	if err != nil {
		return format.Record{}, buf, err
	}
	buf = append(buf[:0], format.RecordBytes(b)...)
	rec, _, err := format.DecodeRecord(buf, log.salt, offset)
	if err != nil {
		return format.Record{}, buf, d.corrupt(place, err)
	}
	return rec, buf, nil
}

// get finds the last record of a key. What rec holds is no answer unless ok is true. The slices of rec point into the mapping.
func (d *delta) get(hash uint64, key []byte, rec *format.Record) (ok bool, err error) {
	s := d.table.search(hash)
	for slot, place := s.next(); slot != nil; slot, place = s.next() {
		b, log, offset, err := d.at(place)
		if err != nil {
			return false, err
		}
		if err := rec.Decode(b, log.salt, offset); err != nil {
			return false, d.corrupt(place, err)
		}
		if bytes.Equal(rec.Key, key) {
			return true, nil
		}
	}
	return false, nil
}

// fetch is get of a copy that was verified, as format.FetchRecord makes it.
func (d *delta) fetch(hash uint64, key, small, dst []byte) (rec format.Record, out []byte, ok bool, err error) {
	s := d.table.search(hash)
	for slot, place := s.next(); slot != nil; slot, place = s.next() {
		b, log, offset, err := d.at(place)
		if err != nil {
			return format.Record{}, dst, false, err
		}
		rec, out, same, err := format.FetchRecord(small, dst, b, key, log.salt, offset)
		if err != nil {
			return format.Record{}, dst, false, d.corrupt(place, err)
		}
		if same {
			return rec, out, true, nil
		}
	}
	return format.Record{}, dst, false, nil
}

// ask asks the processor for the record that a search of the hash would read first, and does not wait for it. It is false if there is none. It reads nothing that is
// mapped.
func (d *delta) ask(hash uint64) bool {
	s := d.table.search(hash)
	slot, place := s.next()
	if slot == nil {
		return false
	}
	d.askRecord(place)
	return true
}

// askRecord asks the processor for the record at a place, and does not wait for it.
func (d *delta) askRecord(place int64) { mmapio.PrefetchAt(d.memory.Bytes(), uint64(place)*placeUnit) }

// state is what a record says of its key. The zero state is that of a key without a record.
type state struct {
	kind     format.Kind
	deadline int64 // 0 means none
}

// set reports whether the key is set at an engine time.
func (s state) set(t int64) bool { return s.kind == format.KindSet && !dueAt(s.deadline, t) }

// put enters the record of a change, and returns the state of the key before it, the zero state if it had no record here. The holder of the pipeline only.
func (d *delta) put(c *change) (before state, err error) {
	if c.found.replace(d.table, c.hash, c.place) {
		return c.found.state, nil
	}
	s := d.table.search(c.hash)
	for slot, other := s.next(); slot != nil; slot, other = s.next() {
		before, same, err := d.sameKey(other, c.key)
		if err != nil {
			d.condemn(other, err)
		}
		if same {
			slot.Store(slotOf(c.hash, c.place))
			return before, nil
		}
	}
	return state{}, d.table.insert(c.hash, c.place)
}

// sameKey reports whether the record at a place is one of key, and what it says. A record that cannot be read
// counts as another key's: it keeps its slot, so that whoever asks for its key meets the damage.
func (d *delta) sameKey(place int64, key []byte) (is state, same bool, err error) {
	defer func() { same = same && err == nil }()
	defer mmapio.Recover(mmapio.Arm(), &err)
	rec, err := d.record(place)
	return state{rec.Kind, rec.Expiry}, err == nil && bytes.Equal(rec.Key, key), err
}

// condemn makes a place that could not be read fail for good: a newer record of its key may lie behind it now.
func (d *delta) condemn(place int64, err error) {
	failed := map[int64]error{}
	if old := d.failed.Load(); old != nil {
		maps.Copy(failed, *old)
	}
	failed[place] = readError(err)
	d.failed.Store(&failed)
}

// known is what condemn was told of a place.
func (d *delta) known(place int64) error {
	if failed := d.failed.Load(); failed != nil {
		return (*failed)[place]
	}
	return nil
}

// hash is the hash of a key for this delta's table.
func (d *delta) hash(key []byte) uint64 { return maphash.Bytes(d.seed, key) }
