package format_test

import (
	"cmp"
	"slices"
	"time"

	"github.com/tongpengdl/small-db/format"
)

// The sample is a whole database of three small files. Three keys were set in generation 1, of which
// only the checkpoint that followed is left; in generation 2 one was set, then one set with a deadline and one deleted
// in a batch; then it was closed.

const (
	sampleOldSalt = 0x1111111122222222 // of logfile.1
	sampleLogSalt = 0x0123456789abcdef // of logfile.2
	sampleSalt    = 0xfedcba9876543210 // of checkpoint.2
	sampleAlign   = 512
	sampleLogSize = 12288
)

var (
	sampleID      = format.UUID([]byte("a small database"))
	sampleSeed    = format.KeySeed{K0: 0x0706050403020100, K1: 0x0f0e0d0c0b0a0908}
	sampleStart   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()
	sampleExpires = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
)

// part is a stretch of a file with one layout.
type part struct {
	at     int
	title  string // "" if it goes on with what is before it
	fields []field
}

// image is a file that is being put together, with the layout of all of it.
type image struct {
	bytes []byte
	parts []part
}

func (m *image) add(title string, b []byte, fields []field) {
	m.parts = append(m.parts, part{len(m.bytes), title, fields})
	m.bytes = append(m.bytes, b...)
}

// pad fills the file with zeros up to a multiple of align.
func (m *image) pad(align int64) {
	if n := int(format.Align(int64(len(m.bytes)), align)) - len(m.bytes); n > 0 {
		m.add("", make([]byte, n), []field{zero(0, n, "padding")})
	}
}

func (m *image) at() uint64 { return uint64(len(m.bytes)) }

// addFrame adds the frame of h with these records, and returns where the history then stands.
func (m *image) addFrame(title string, last format.Position, h format.FrameHeader, records []format.Record) format.Position {
	offset := m.at()
	chain := format.NewChain(nil, last.Chain, h.Epoch, h.FirstSeq, h.Time)
	var payload []byte
	starts := []int{}
	for i := range records {
		var hash uint64
		starts = append(starts, len(payload))
		payload, hash = format.AppendRecord(payload, &records[i], sampleLogSalt, offset+format.FrameHeaderLen+uint64(len(payload)))
		chain.Add(hash)
	}
	h.Kind, h.Count, h.Chain = format.FrameOperations, uint32(len(records)), chain.Sum()
	m.addHeader(title, &h, payload)
	for i, start := range starts {
		end := append(starts, len(payload))[i+1]
		at := offset + format.FrameHeaderLen + uint64(start)
		m.add("a record: "+recordKinds[uint64(records[i].Kind)]+" "+string(records[i].Key), payload[start:end],
			recordFields(payload[start:end], records[i], sampleLogSalt, at))
	}
	m.pad(sampleAlign)
	return format.Position{Epoch: h.Epoch, Seq: h.LastSeq(), Index: h.Index, Time: h.Time, Chain: h.Chain}
}

func (m *image) addHeader(title string, h *format.FrameHeader, payload []byte) {
	offset := m.at()
	h.Length, h.Synced = uint32(len(payload)), offset
	h.PayloadSum = format.Sum(payload, sampleLogSalt, offset+format.FrameHeaderLen)
	b := make([]byte, format.FrameHeaderLen)
	h.Encode(b, sampleLogSalt, offset)
	m.add(title, b, frameFields(b, *h, sampleLogSalt, offset))
}

// samplePosition is where the history stands at the start of generation 2.
func samplePosition() format.Position {
	start := format.Start(sampleID, sampleStart)
	var m image
	return m.addFrame("", start, format.FrameHeader{FirstSeq: 1, Epoch: 1, Index: 1, Time: sampleStart}, []format.Record{
		{Kind: format.KindSet, Seq: 1, Key: []byte("banana"), Value: []byte("yellow")},
		{Kind: format.KindSet, Seq: 2, Key: []byte("apple"), Value: []byte("green")},
		{Kind: format.KindSet, Seq: 3, Key: []byte("cherry"), Value: []byte("red"), Expiry: sampleExpires},
	})
}

// sampleLog builds logfile.2.
func sampleLog() *image {
	m := new(image)
	block := make([]byte, format.BlockSize)
	id := format.LogIdentity{Align: sampleAlign, UUID: sampleID, Generation: 2, Salt: sampleLogSalt, Size: sampleLogSize}
	id.Encode(block)
	m.add("block 0: which log this is", block, identityFields(block, id))
	last := samplePosition()
	p := format.Predecessor{Generation: 1, Salt: sampleOldSalt, End: format.LogHeaderSize + sampleAlign, Commit: last.Seq, Position: last}
	p.Encode(block, sampleLogSalt)
	m.add("block 1: where the log before it ends", block, predecessorFields(block, p, sampleLogSalt))

	last = m.addFrame("frame: one set", last, format.FrameHeader{
		FirstSeq: 4, Epoch: 1, Index: 2, Commit: 3, Time: sampleStart + int64(time.Second),
	}, []format.Record{{Kind: format.KindSet, Seq: 4, Key: []byte("date"), Value: []byte("brown")}})
	last = m.addFrame("frame: a batch of a set with a deadline and a delete", last, format.FrameHeader{
		FirstSeq: 5, Epoch: 1, Index: 3, Commit: 4, Time: sampleStart + int64(2*time.Second),
	}, []format.Record{
		{Kind: format.KindSet, Seq: 5, Key: []byte("elderberry"), Value: []byte("black"), Expiry: sampleExpires},
		{Kind: format.KindDelete, Seq: 6, Key: []byte("apple")},
	})

	t := format.Trailer{Generation: 3}
	h := format.FrameHeader{
		Kind: format.FrameTrailer, FirstSeq: last.Seq + 1, Epoch: last.Epoch, Index: last.Index,
		Commit: last.Seq, Time: last.Time, Chain: last.Chain,
	}
	m.addHeader("frame: the trailer of a log that was closed before it had a successor", &h, t.Append(nil))
	m.add("its payload", t.Append(nil), trailerFields(t))
	m.pad(sampleAlign)
	m.add("the rest: zeros, or what a recycled file held before", make([]byte, sampleLogSize-len(m.bytes)),
		[]field{zero(0, sampleLogSize-len(m.bytes), "unused")})
	return m
}

// sampleCheckpoint builds checkpoint.2, which holds three keys.
func sampleCheckpoint() *image {
	m := new(image)
	page := make([]byte, format.CheckpointHeaderLen)
	h := format.CheckpointHeader{UUID: sampleID, Generation: 2, Salt: sampleSalt, Position: samplePosition()}
	h.Encode(page)
	m.add("header page", page, headerFields(page, h))

	f := format.Footer{HashSeed: sampleSeed, Buckets: 1, Entries: 1, Deadlines: 1}
	var bucket format.Bucket
	ordered := format.WordBlock{m.at()}
	var segments []format.Segment
	segment := func(kind format.SegmentKind, from uint64, count uint32, baseSeq uint64) {
		b := m.bytes[from:]
		segments = append(segments, format.Segment{
			Kind: kind, Count: count, Offset: from, Length: uint64(len(b)), BaseSeq: baseSeq, Sum: format.Sum(b, sampleSalt, from),
		})
		m.pad(8)
	}
	from := m.at()
	var slots []format.Slot // in the order of the hashes, as the builder writes them
	for _, e := range []format.Entry{
		{SeqDelta: 0, Key: []byte("apple"), Value: []byte("green")},
		{SeqDelta: -1, Key: []byte("banana"), Value: []byte("yellow")},
		{SeqDelta: 1, Key: []byte("cherry"), Value: []byte("red"), Expiry: sampleExpires},
	} {
		at := m.at()
		b := format.AppendEntry(nil, &e, sampleSalt, at)
		m.add("a record: "+string(e.Key), b, entryFields(b, e, sampleSalt, at))
		slots = append(slots, format.NewSlot(format.KeyHash(sampleSeed, e.Key), at))
		f.Records++
		f.DataLen += uint64(len(e.Key) + len(e.Value))
	}
	slices.SortFunc(slots, func(a, b format.Slot) int { return cmp.Compare(slotHash(m, a), slotHash(m, b)) })
	copy(bucket[:], slots)
	segment(format.SegmentRecords, from, 3, 2)
	m.pad(format.BucketLen)

	from = m.at()
	f.BucketsAt = from
	b := make([]byte, format.BucketLen)
	bucket.Encode(b, sampleSalt, from)
	m.add("hash index: its only bucket", b, bucketFields(b, bucket, sampleSalt, from))
	segment(format.SegmentBuckets, from, 1, 0)

	from = m.at()
	f.OrderedAt = from
	m.addWords("ordered index: its only block", ordered, "offset", recordAt)
	segment(format.SegmentOrdered, from, 1, 0)

	from = m.at()
	f.DeadlinesAt = from
	m.addWords("deadlines: their only block", format.WordBlock{uint64(sampleExpires)}, "deadline", whenText)
	segment(format.SegmentDeadlines, from, 1, 0)

	from = m.at()
	e := format.EpochStart{Epoch: 1, FirstSeq: 1}
	m.add("epochs", e.Append(nil), epochFields(e))
	segment(format.SegmentEpochs, from, 1, 0)

	m.addEnd(&f, segments)
	return m
}

// addWords adds a word block.
func (m *image) addWords(title string, w format.WordBlock, name string, show func([]byte) string) {
	at, b := m.at(), make([]byte, format.WordBlockLen)
	w.Encode(b, sampleSalt, at)
	m.add(title, b, wordFields(b, w, name, show, sampleSalt, at))
}

// slotHash is the hash of the key that a slot leads to.
func slotHash(m *image, s format.Slot) uint64 {
	e, _, err := format.DecodeEntry(m.bytes[s.Offset():], sampleSalt, s.Offset())
	if err != nil {
		panic(err)
	}
	return format.KeyHash(sampleSeed, e.Key)
}

// addEnd adds the segment directory and the footer.
func (m *image) addEnd(f *format.Footer, segments []format.Segment) {
	f.Segments, f.Directory = uint64(len(segments)), m.at()
	for i := range segments {
		title := "segment directory"
		if i > 0 {
			title = ""
		}
		m.add(title, segments[i].Append(nil), segmentFields(segments[i]))
	}
	f.DirSum = format.Sum(m.bytes[f.Directory:], sampleSalt, f.Directory)
	f.FileLen = m.at() + format.FooterLen
	b := make([]byte, format.FooterLen)
	f.Encode(b, sampleSalt)
	m.add("footer", b, footerFields(b, *f, sampleSalt))
}

// sampleVersion builds version.
func sampleVersion() *image {
	checkpoint := sampleCheckpoint().bytes
	v := format.VersionFile{
		UUID: sampleID, Generation: 2, CheckpointLen: uint64(len(checkpoint)),
		CheckpointSum: number(checkpoint[len(checkpoint)-8:]), Epoch: 1,
	}
	m, b := new(image), make([]byte, format.VersionFileLen)
	v.Encode(b)
	m.add("", b, versionFields(b, v))
	return m
}
