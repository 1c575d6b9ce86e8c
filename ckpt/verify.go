package ckpt

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"io"

	"github.com/tongpengdl/small-db/format"
)

// Verify reads the checkpoint of size bytes in ra, once, and verifies all of it: header, footer,
// directory, epochs, the checksum of every segment, bucket, block and record, the
// padding; that keys rise from the first record to the last; that the hash index leads to
// every record and to nothing else; that the ordered index holds exactly the records it must; that the
// deadlines are those of the records, in rising order (by a sum of hashes: it cannot be misled but by chance).
// Damage is reported as a *format.CorruptionError with name and the offset.
//
// It takes memory for the slots of the hash index (10 bytes a key), a segment of records
// (format.SegmentSize or one larger record) and one of the ordered index.
func Verify(ra io.ReaderAt, size int64, name string) error {
	o, err := readOutline(ra, size, name)
	if err != nil {
		return err
	}
	src := source{ra: ra, name: name, salt: o.header.Salt}
	v := verifier{outline: o, name: name, data: src, index: src, deadlines: deadlineBalance{seed: maphash.MakeSeed()}}
	if err := v.readBuckets(); err != nil {
		return err
	}
	for i := range o.segments {
		if o.segments[i].Kind != format.SegmentRecords {
			break
		}
		if err := v.verifyRecords(i); err != nil {
			return err
		}
	}
	if err := v.verifyDeadlines(); err != nil {
		return err
	}
	return v.compare()
}

// VerifySums reads the checkpoint of size bytes in ra, once, and compares every byte of it with its checksums: header, footer, directory,
// epochs and every segment. That they fit together was verified when the file was made: what Verify knows beyond that, rot does not change.
// Damage is reported as a *format.CorruptionError with name and the offset. It takes memory for one segment (format.SegmentSize or one larger record).
func VerifySums(ra io.ReaderAt, size int64, name string) error {
	o, err := readOutline(ra, size, name)
	if err != nil {
		return err
	}
	src := source{ra: ra, name: name, salt: o.header.Salt}
	for i := range o.segments {
		seg := &o.segments[i]
		data, err := src.read(seg, o.next(i))
		if err != nil {
			return err
		}
		if err := src.checkSum(seg, data); err != nil {
			return err
		}
	}
	return nil
}

// verifier is a verification under way.
type verifier struct {
	*outline
	name        string
	data, index source // of record segments; of those of the indexes

	slots []format.Slot // of all buckets
	taken uint64        // of them

	ordered []uint64 // entries of the ordered index that were read and not yet met
	read    int      // segments up to here: those of the ordered index that were read
	met     uint64   // entries of the ordered index

	deadlines deadlineBalance // of the records, less those of the index
	expiring  uint64          // records with a deadline

	records uint64 // that were read
	dataLen uint64 // of their keys and values, in bytes
	key     []byte // of the last one
	indexed uint64 // offset of the last one that the ordered index must hold
}

// readBuckets verifies the buckets and keeps their slots.
func (v *verifier) readBuckets() error {
	v.slots = make([]format.Slot, 0, v.footer.Buckets*format.BucketSlots)
	for i := range v.segments {
		if v.segments[i].Kind != format.SegmentBuckets {
			continue
		}
		if err := v.index.units(&v.segments[i], format.BucketLen, v.addBucket); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) addBucket(b []byte, offset uint64) error {
	bucket, err := format.DecodeBucket(b, v.data.salt, offset)
	if err != nil {
		return err
	}
	for i, s := range bucket {
		if s == 0 {
			continue
		}
		if i > 0 && bucket[i-1] == 0 {
			return fmt.Errorf("bucket: %w: slot %d follows a free one", format.ErrField, i)
		}
		v.taken++
	}
	v.slots = append(v.slots, bucket[:]...)
	return nil
}

// leadsTo reports whether a lookup of a key with this hash comes to the record at offset.
func (v *verifier) leadsTo(hash, offset uint64) bool {
	want := format.NewSlot(hash, offset)
	bucket := format.BucketOf(hash, v.footer.Buckets)
	for range min(v.footer.Buckets, format.MaxProbe) {
		for _, s := range v.slots[bucket*format.BucketSlots:][:format.BucketSlots] {
			switch s {
			case want:
				return true
			case 0:
				return false
			}
		}
		if bucket++; bucket == v.footer.Buckets {
			bucket = 0
		}
	}
	return false
}

// verifyRecords verifies a record segment against everything else.
func (v *verifier) verifyRecords(i int) error {
	seg := &v.segments[i]
	return v.data.records(seg, v.next(i), func(e *format.Entry, offset uint64) error {
		if err := v.verifyRecord(seg, e, offset); err != nil {
			return corrupt(v.name, offset, fmt.Errorf("checkpoint record: %w", err))
		}
		if offset == seg.Offset || offset-v.indexed >= format.OrderedStride {
			v.indexed = offset
			return v.meet(offset)
		}
		return nil
	})
}

func (v *verifier) verifyRecord(seg *format.Segment, e *format.Entry, offset uint64) error {
	if offset == seg.Offset && e.SeqDelta != 0 {
		return fmt.Errorf("%w: the first of its segment has sequence delta %d", format.ErrField, e.SeqDelta)
	}
	if err := checkSeq(seg.BaseSeq+uint64(e.SeqDelta), v.header.Position.Seq); err != nil {
		return err
	}
	if bytes.Compare(e.Key, v.key) <= 0 {
		return fmt.Errorf("%w: %w: %.40q follows %.40q", format.ErrField, ErrOrder, e.Key, v.key)
	}
	if !v.leadsTo(format.KeyHash(v.footer.HashSeed, e.Key), offset) {
		return fmt.Errorf("%w: the hash index does not lead to key %.40q", format.ErrField, e.Key)
	}
	if e.Expiry != 0 {
		v.deadlines.add(uint64(e.Expiry))
		v.expiring++
	}
	v.key = append(v.key[:0], e.Key...)
	v.records++
	v.dataLen += uint64(len(e.Key)) + uint64(len(e.Value))
	return nil
}

// meet takes the next entry of the ordered index, which must be that of the record at offset.
func (v *verifier) meet(offset uint64) error {
	at := v.footer.OrderedAt + v.met/format.WordBlockWords*format.WordBlockLen
	if v.met == v.footer.Entries {
		return corrupt(v.name, at, fmt.Errorf("ordered index: %w: no entry for the record at %d", format.ErrField, offset))
	}
	for len(v.ordered) == 0 {
		if err := v.readOrdered(); err != nil {
			return err
		}
	}
	if v.ordered[0] != offset {
		return corrupt(v.name, at, fmt.Errorf("ordered index: %w: entry %d leads to %d, the record is at %d", format.ErrField, v.met, v.ordered[0], offset))
	}
	v.ordered = v.ordered[1:]
	v.met++
	return nil
}

// readOrdered verifies the next segment of the ordered index, if v.read is one, and keeps its entries. There
// is one as long as the entries are not all met: tally has counted the blocks.
func (v *verifier) readOrdered() error {
	seg := &v.segments[v.read]
	v.read++
	if seg.Kind != format.SegmentOrdered {
		return nil
	}
	v.ordered = v.ordered[:0]
	left := v.footer.Entries - v.met
	return v.index.units(seg, format.WordBlockLen, func(b []byte, offset uint64) error {
		entries, n, err := v.decodeWords(b, offset, left)
		if err != nil {
			return err
		}
		v.ordered = append(v.ordered, entries[:n]...)
		left -= n
		return nil
	})
}

// decodeWords verifies a block of an array of which left words remain, and says how many it holds.
func (v *verifier) decodeWords(b []byte, offset, left uint64) (block format.WordBlock, n uint64, err error) {
	if block, err = format.DecodeWordBlock(b, v.data.salt, offset); err != nil {
		return block, 0, err
	}
	n = min(left, format.WordBlockWords)
	for _, w := range block[n:] {
		if w != 0 {
			return block, 0, fmt.Errorf("word block: %w: a word after the last", format.ErrField)
		}
	}
	return block, n, nil
}

// compare holds the counts against those of the footer. The number of records is the directory's: source.records has seen to that.
func (v *verifier) compare() error {
	at := v.footer.FileLen - format.FooterLen
	switch f := &v.footer; {
	case v.taken != v.records:
		return corrupt(v.name, f.BucketsAt, fmt.Errorf("hash index: %w: it leads to %d records of %d", format.ErrField, v.taken, v.records))
	case v.met != f.Entries:
		return corrupt(v.name, f.OrderedAt, fmt.Errorf("ordered index: %w: %d entries, %d are due", format.ErrField, f.Entries, v.met))
	case v.dataLen != f.DataLen:
		return corrupt(v.name, at, fmt.Errorf("checkpoint footer: %w: %d bytes of keys and values, it says %d", format.ErrField, v.dataLen, f.DataLen))
	}
	return nil
}
