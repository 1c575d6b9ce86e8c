package ckpt

import (
	"fmt"

	"github.com/tongpengdl/small-db/format"
)

// tally adds up the segments of a directory, in order, and holds them against the layout and the footer.
type tally struct {
	end         uint64 // of the last one, in bytes
	kind        format.SegmentKind
	segments    uint64 // of records
	records     uint64
	buckets     uint64
	bucketsAt   uint64 // where the first bucket lies
	orderedAt   uint64 // where the last bucket ends
	ordered     uint64 // word blocks of the ordered index
	deadlinesAt uint64 // where the ordered index ends
	deadlines   uint64 // word blocks of the deadlines
	lists       uint64 // of epochs
}

// add fails unless s lies where it must after those before it, and has the shape of its kind.
func (t *tally) add(s *format.Segment) error {
	count, align, fits := uint64(s.Count), int64(8), false
	switch s.Kind {
	case format.SegmentRecords:
		fits = count > 0 && s.Length >= count*format.MinEntryLen && s.Length <= format.MaxEntryLen &&
			(count == 1 || s.Length <= format.SegmentSize)
		t.segments++
		t.records += count
	case format.SegmentBuckets:
		align, fits = format.BucketLen, isUnits(s, format.BucketLen)
		if t.buckets == 0 {
			t.bucketsAt = s.Offset
		}
		t.buckets += count
		t.orderedAt = segmentEnd(s)
		t.deadlinesAt = t.orderedAt
	case format.SegmentOrdered:
		fits = isUnits(s, format.WordBlockLen)
		t.ordered += count
		t.deadlinesAt = segmentEnd(s)
	case format.SegmentDeadlines:
		fits = isUnits(s, format.WordBlockLen)
		t.deadlines += count
	case format.SegmentEpochs:
		fits = s.Length == count*format.EpochStartLen && s.BaseSeq == 0
		t.lists++
	}
	if s.Kind < t.kind || !fits || s.Offset != uint64(format.Align(int64(t.end), align)) {
		return fmt.Errorf("segment directory: %w: kind %d, %d parts in %d bytes at %d; the one before is of kind %d and ends at %d",
			format.ErrField, s.Kind, count, s.Length, s.Offset, t.kind, t.end)
	}
	t.kind, t.end = s.Kind, segmentEnd(s)
	return nil
}

// isUnits reports whether s is a segment of an index made of parts of size bytes.
func isUnits(s *format.Segment, size uint64) bool {
	return s.Count > 0 && s.Length == uint64(s.Count)*size && s.Length <= format.SegmentSize && s.BaseSeq == 0
}

// compare fails unless the footer says the same as the whole directory.
func (t *tally) compare(f *format.Footer) error {
	switch {
	case t.records != f.Records:
		return fmt.Errorf("segment directory: %w: %d records, the footer says %d", format.ErrField, t.records, f.Records)
	case t.buckets != f.Buckets || t.bucketsAt != f.BucketsAt:
		return fmt.Errorf("segment directory: %w: %d buckets at %d, the footer says %d at %d", format.ErrField, t.buckets, t.bucketsAt, f.Buckets, f.BucketsAt)
	case t.ordered != format.WordBlocks(f.Entries) || t.orderedAt != f.OrderedAt || f.Entries < t.segments:
		return fmt.Errorf("segment directory: %w: %d ordered blocks at %d, the footer says %d entries at %d", format.ErrField, t.ordered, t.orderedAt, f.Entries, f.OrderedAt)
	case t.deadlines != format.WordBlocks(f.Deadlines) || t.deadlinesAt != f.DeadlinesAt:
		return fmt.Errorf("segment directory: %w: %d blocks of deadlines at %d, the footer says %d deadlines at %d", format.ErrField, t.deadlines, t.deadlinesAt, f.Deadlines, f.DeadlinesAt)
	case t.lists != 1 || t.end != f.Directory:
		return fmt.Errorf("segment directory: %w: %d lists of epochs, the last segment ends at %d", format.ErrField, t.lists, t.end)
	}
	return nil
}
