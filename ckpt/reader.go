package ckpt

import (
	"bytes"
	"fmt"
	"math/bits"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// Reader is an open checkpoint. It never changes; any number of goroutines may use it. The
// memory it takes beside the mapping is its directory's: about 28 bytes for each segment of records.
type Reader struct {
	data      []byte // of mapping
	salt      uint64
	seed      format.KeySeed
	buckets   uint64
	bucketsAt uint64
	spans     []span   // of the record segments, in order
	spanAt    []uint32 // for each SegmentSize bytes of the file, the first span that ends beyond their start
	name      string
	mapping   *mmapio.Mapping
	outline   outline // without its segments
}

// span is a record segment.
type span struct{ start, end, baseSeq uint64 }

// Open maps the checkpoint in f, which may be closed afterwards, and verifies its
// header, footer, directory and epochs. A *format.CorruptionError says what is wrong with the
// bytes; it is format.ErrVersion if a newer release wrote them.
func Open(f mmapio.File) (*Reader, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	o, err := readOutline(f, size, f.Name())
	if err != nil {
		return nil, err
	}
	mapping, err := mmapio.Map(f, size)
	if err != nil {
		return nil, err
	}
	r := &Reader{
		data: mapping.Bytes(), salt: o.header.Salt, seed: o.footer.HashSeed, buckets: o.footer.Buckets, bucketsAt: o.footer.BucketsAt,
		name: f.Name(), mapping: mapping, outline: *o,
	}
	r.outline.segments = nil
	r.indexSpans(o.segments)
	return r, nil
}

func (r *Reader) indexSpans(segments []format.Segment) {
	n := 0
	for n < len(segments) && segments[n].Kind == format.SegmentRecords {
		n++
	}
	r.spans = make([]span, n)
	for i := range r.spans {
		s := &segments[i]
		r.spans[i] = span{s.Offset, segmentEnd(s), s.BaseSeq}
		for uint64(len(r.spanAt))*format.SegmentSize < r.spans[i].end {
			r.spanAt = append(r.spanAt, uint32(i))
		}
	}
}

// Header is the first page.
func (r *Reader) Header() format.CheckpointHeader { return r.outline.header }

// Footer is the end of the file.
func (r *Reader) Footer() format.Footer { return r.outline.footer }

// FooterSum is the footer's checksum: the last 8 bytes of the file.
func (r *Reader) FooterSum() uint64 { return r.outline.footerSum }

// Epochs says with which operation each epoch began, in order. It must not be changed.
func (r *Reader) Epochs() []format.EpochStart { return r.outline.epochs }

// Mapping is the whole file in memory: to advise about or lock. The bytes in it are as the file has them, not verified.
func (r *Reader) Mapping() *mmapio.Mapping { return r.mapping }

// Probe is where the hash index has a key, if it has it.
type Probe struct{ hash, bucket uint64 }

// Probe begins a lookup: it asks the processor for the bucket of key, and does not wait for it. Who has something else to look into before Get needs the
// bucket has one cache miss less to wait for. It reads nothing of the file.
func (r *Reader) Probe(key []byte) Probe {
	hash := format.KeyHash(r.seed, key)
	p := Probe{hash, format.BucketOf(hash, r.buckets)}
	mmapio.Prefetch(&r.data[r.bucketsAt+p.bucket*format.BucketLen])
	return p
}

// Ask asks the processor for the record that Get of a probe is likely to read, and does not wait for it: whoever looks up many keys asks for all of them first. It reads
// the bucket, as Get does, but verifies nothing.
func (r *Reader) Ask(p Probe) {
	bucket := r.data[r.bucketsAt+p.bucket*format.BucketLen:]
	if mask := format.Candidates(bucket, p.hash); mask != 0 {
		mmapio.PrefetchAt(r.data, format.SlotAt(bucket, bits.TrailingZeros(mask)).Offset())
	}
}

// Get finds the key of a probe, with one bucket and one record to read as a rule, and stores its record; ok is false if there is none, and then record is no
// answer. It allocates nothing. See the package comment about what the record points into.
func (r *Reader) Get(p Probe, key []byte, record *Record) (ok bool, err error) {
	s := r.search(p)
	for {
		offset, found, err := s.next(r)
		if !found || err != nil {
			return false, err
		}
		span, err := r.span(offset)
		if err != nil {
			return false, err
		}
		var e format.Entry
		if err := e.Decode(r.data[offset:span.end], r.salt, offset); err != nil {
			return false, corrupt(r.name, offset, err)
		}
		if bytes.Equal(e.Key, key) {
			*record = span.recordOf(&e)
			return true, nil
		}
	}
}

// Fetch is Get of a copy. What was verified is the copy, so the Record stays right even if the mapped bytes change meanwhile. A record lies in small if that has room for
// it; else its value is appended to dst, and out is the longer dst. key may lie in the memory of dst. It is returned and not stored, unlike by Get: else small
// could not lie on the stack of the caller.
func (r *Reader) Fetch(p Probe, key, small, dst []byte) (record Record, out []byte, ok bool, err error) {
	s := r.search(p)
	for {
		offset, found, err := s.next(r)
		if !found || err != nil {
			return Record{}, dst, false, err
		}
		span, err := r.span(offset)
		if err != nil {
			return Record{}, dst, false, err
		}
		e, out, same, err := format.FetchEntry(small, dst, r.data[offset:span.end], key, r.salt, offset)
		if err != nil {
			return Record{}, dst, false, corrupt(r.name, offset, err)
		}
		if same {
			return span.recordOf(&e), out, true, nil
		}
	}
}

// search is a walk through the records that the hash index has for a hash.
type search struct {
	hash   uint64
	bucket uint64 // the next one
	left   uint64 // buckets not looked at
	slots  [format.BucketLen]byte
	mask   uint // slots of the last bucket that are to be looked at
}

func (r *Reader) search(p Probe) search {
	return search{hash: p.hash, bucket: p.bucket, left: min(r.buckets, format.MaxProbe)}
}

// next returns where the next record lies; ok is false if there is no more.
func (s *search) next(r *Reader) (offset uint64, ok bool, err error) {
	for s.mask == 0 {
		if s.left == 0 {
			return 0, false, nil
		}
		at := r.bucketsAt + s.bucket*format.BucketLen
		s.slots = [format.BucketLen]byte(r.data[at:]) // a copy: "absent" is only ever said from bytes that were verified
		if err := format.CheckBucket(s.slots[:], r.salt, at); err != nil {
			return 0, false, corrupt(r.name, at, err)
		}
		s.mask = format.Candidates(s.slots[:], s.hash)
		if s.left--; format.SlotAt(s.slots[:], format.BucketSlots-1) == 0 { // there is room: it would be here
			s.left = 0
		}
		if s.bucket++; s.bucket == r.buckets {
			s.bucket = 0
		}
	}
	slot := format.SlotAt(s.slots[:], bits.TrailingZeros(s.mask))
	s.mask &= s.mask - 1
	return slot.Offset(), slot != 0, nil // those after a free slot are free, too
}

// spanOf returns the index of the span in which offset lies, or that of another one
// or none if it lies in none.
func (r *Reader) spanOf(offset uint64) int {
	part := offset / format.SegmentSize
	if part >= uint64(len(r.spanAt)) {
		return -1
	}
	i := int(r.spanAt[part])
	for i < len(r.spans)-1 && offset >= r.spans[i].end {
		i++
	}
	return i
}

// record verifies the record at offset, in the span with this index, and returns it and its size.
func (r *Reader) record(offset uint64, i int) (Record, uint64, error) {
	if err := r.holds(i, offset); err != nil {
		return Record{}, 0, err
	}
	s := &r.spans[i]
	e, size, err := format.DecodeEntry(r.data[offset:s.end], r.salt, offset)
	if err != nil {
		return Record{}, 0, corrupt(r.name, offset, err)
	}
	return s.recordOf(&e), uint64(size), nil
}

// copyRecord copies the record at offset, in the span with this index, to buf, verifies the copy, and returns it and buf.
func (r *Reader) copyRecord(offset uint64, i int, buf []byte) (Record, []byte, error) {
	if err := r.holds(i, offset); err != nil {
		return Record{}, buf, err
	}
	s := &r.spans[i]
	buf = append(buf[:0], format.EntryBytes(r.data[offset:s.end])...)
	e, _, err := format.DecodeEntry(buf, r.salt, offset)
	if err != nil {
		return Record{}, buf, corrupt(r.name, offset, err)
	}
	return s.recordOf(&e), buf, nil
}

// span returns the span in which offset lies.
func (r *Reader) span(offset uint64) (*span, error) {
	i := r.spanOf(offset)
	if err := r.holds(i, offset); err != nil {
		return nil, err
	}
	return &r.spans[i], nil
}

// holds checks that there is a span with this index and that offset lies in it.
func (r *Reader) holds(i int, offset uint64) error {
	if uint(i) >= uint(len(r.spans)) || offset < r.spans[i].start || offset >= r.spans[i].end {
		return corrupt(r.name, offset, fmt.Errorf("checkpoint record: %w: not in a segment of records", format.ErrField))
	}
	return nil
}

// recordOf is an entry of the span as a record.
func (s *span) recordOf(e *format.Entry) Record {
	return Record{Seq: s.baseSeq + uint64(e.SeqDelta), Expiry: e.Expiry, Key: e.Key, Value: e.Value}
}
