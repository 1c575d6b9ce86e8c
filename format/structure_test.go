package format_test

import (
	"math/rand/v2"

	"github.com/tongpengdl/small-db/format"
)

// structure is one structure of the format with a value, for the tests that hold for all of them.
type structure struct {
	name   string
	value  any
	bytes  []byte
	fields []field
	decode func([]byte) (any, error) // as it lies at its place
	encode func(any) []byte
	// mayChange are bytes of which a change may be found as a bad length or field before the checksum is asked.
	mayChange map[int]bool
}

const (
	testSalt   = 0x243f6a8885a308d3
	testOffset = 1 << 20 // where structures lie that may lie anywhere
)

// random draws values: small ones and the extremes as often as any.
type random struct{ *rand.Rand }

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 1))} }

// u64 draws any number.
func (r random) u64() uint64 {
	switch r.IntN(4) {
	case 0:
		return r.Uint64N(4)
	case 1:
		return ^uint64(0) - r.Uint64N(4)
	}
	return r.Uint64() >> r.IntN(64)
}

// between draws from low to high, both included.
func (r random) between(low, high uint64) uint64 {
	switch r.IntN(4) {
	case 0:
		return low
	case 1:
		return high
	}
	return low + r.Uint64N(high-low+1)
}

func (r random) data(low, high uint64) []byte {
	b := make([]byte, r.between(low, high))
	for i := range b {
		b[i] = byte(r.Uint64())
	}
	return b
}

func (r random) uuid() format.UUID { return format.UUID(r.data(16, 16)) }

func (r random) position() format.Position {
	return format.Position{Epoch: r.between(1, 1<<64-1), Seq: r.u64(), Index: r.u64(), Time: int64(r.u64()), Chain: r.u64()}
}

func (r random) expiry() int64 {
	if r.IntN(2) == 0 {
		return 0
	}
	return int64(r.between(1, 1<<63-1))
}

func of[T any](name string, v T, encode func(T) []byte, decode func([]byte) (T, error), fields func([]byte, T) []field) structure {
	b := encode(v)
	return structure{
		name: name, value: v, bytes: b, fields: fields(b, v),
		decode: func(b []byte) (any, error) { return decode(b) },
		encode: func(v any) []byte { return encode(v.(T)) },
	}
}

// page makes an encoder that appends of one that fills n bytes. These hold garbage before: what is reserved must be cleared.
func page[T any](n int, encode func(*T, []byte)) func(T) []byte {
	return func(v T) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = 0xaa
		}
		encode(&v, b)
		return b
	}
}

// structures draws one of each structure.
func structures(r random) []structure {
	return append(append(logStructures(r), checkpointStructures(r)...),
		of("version file", r.versionFile(), page(format.VersionFileLen, (*format.VersionFile).Encode), format.DecodeVersionFile, versionFields))
}

func (r random) versionFile() format.VersionFile {
	v := format.VersionFile{UUID: r.uuid(), Generation: r.between(1, 1<<64-1), CheckpointSum: r.u64(), Epoch: r.between(1, 1<<64-1)}
	v.Previous = r.between(0, v.Generation-1)
	v.CheckpointLen = r.between(0, format.MaxCheckpointLen)
	return v
}

func logStructures(r random) []structure {
	id := format.LogIdentity{
		Align: 512 << r.IntN(4), UUID: r.uuid(), Generation: r.between(1, 1<<64-1), Salt: r.u64(),
		Size: int64(4096 * r.between(2, format.MaxLogLen/4096)),
	}
	p := format.Predecessor{Generation: r.u64(), Salt: r.u64(), End: int64(r.between(0, format.MaxLogLen)), Position: r.position()}
	p.Commit = min(r.u64(), p.Position.Seq)
	return []structure{
		of("block 0", id, page(format.BlockSize, (*format.LogIdentity).Encode), format.DecodeLogIdentity, identityFields),
		of("block 1", p, page(format.BlockSize, func(p *format.Predecessor, b []byte) { p.Encode(b, testSalt) }),
			func(b []byte) (format.Predecessor, error) { return format.DecodePredecessor(b, testSalt) },
			func(b []byte, p format.Predecessor) []field { return predecessorFields(b, p, testSalt) }),
		of("frame header", r.frameHeader(),
			page(format.FrameHeaderLen, func(h *format.FrameHeader, b []byte) { h.Encode(b, testSalt, testOffset) }),
			func(b []byte) (format.FrameHeader, error) { return format.DecodeFrameHeader(b, testSalt, testOffset) },
			func(b []byte, h format.FrameHeader) []field { return frameFields(b, h, testSalt, testOffset) }),
		recordStructure(r),
	}
}

func (r random) frameHeader() format.FrameHeader {
	h := format.FrameHeader{
		Kind: format.FrameKind(1 + r.IntN(4)), FirstSeq: r.between(1, 1<<63), Epoch: r.between(1, 1<<64-1), Index: r.u64(), Commit: r.u64(),
		Time: int64(r.u64()), Synced: r.u64(), Chain: r.u64(), PayloadSum: r.u64(),
	}
	switch h.Kind {
	case format.FrameOperations:
		h.Count = uint32(r.between(1, format.MaxPayloadLen/format.MinRecordLen))
		h.Length = uint32(8 * r.between(uint64(h.Count)*format.MinRecordLen/8, format.MaxPayloadLen/8))
	case format.FrameConfiguration:
		h.Length = uint32(8 * r.between(0, format.MaxPayloadLen/8))
	case format.FrameTrailer:
		h.Length = format.TrailerLen
	}
	return h
}

func recordStructure(r random) structure {
	rec := format.Record{Kind: format.KindSet, Seq: r.u64(), Expiry: r.expiry(), Key: r.data(1, 300), Value: r.data(0, 300)}
	if r.IntN(4) == 0 {
		rec.Kind, rec.Expiry, rec.Value = format.KindDelete, 0, []byte{}
	}
	s := of("record", rec,
		func(rec format.Record) []byte { b, _ := format.AppendRecord(nil, &rec, testSalt, testOffset); return b },
		func(b []byte) (format.Record, error) {
			rec, _, err := format.DecodeRecord(b, testSalt, testOffset)
			rec.Hash = 0
			return rec, err
		},
		func(b []byte, rec format.Record) []field { return recordFields(b, rec, testSalt, testOffset) })
	s.mayChange = map[int]bool{0: true, 1: true, 2: true, 3: true, 4: true, 5: true, 7: true} // the lengths and the flag that is one
	for i := len(s.bytes) - s.fields[len(s.fields)-1].size; i < len(s.bytes); i++ {
		s.mayChange[i] = true // padding
	}
	return s
}

func checkpointStructures(r random) []structure {
	h := format.CheckpointHeader{UUID: r.uuid(), Generation: r.between(1, 1<<64-1), Salt: r.u64(), Position: r.position()}
	bucket, block := new(format.Bucket), new(format.WordBlock)
	for i := range r.IntN(len(bucket) + 1) {
		bucket[i] = format.NewSlot(r.Uint64(), r.between(4096, format.MaxCheckpointLen-1))
	}
	for i := range r.IntN(len(block) + 1) {
		block[i] = r.between(1, 1<<64-1)
	}
	f := r.footer()
	return []structure{
		of("header page", h, page(format.BlockSize, (*format.CheckpointHeader).Encode), format.DecodeCheckpointHeader, headerFields),
		of("footer", f, page(format.FooterLen, func(f *format.Footer, b []byte) { f.Encode(b, testSalt) }),
			func(b []byte) (format.Footer, error) { return format.DecodeFooter(b, testSalt, f.FileLen) },
			func(b []byte, f format.Footer) []field { return footerFields(b, f, testSalt) }),
		of("bucket", *bucket, page(format.BucketLen, func(k *format.Bucket, b []byte) { k.Encode(b, testSalt, testOffset) }),
			func(b []byte) (format.Bucket, error) { return format.DecodeBucket(b, testSalt, testOffset) },
			func(b []byte, k format.Bucket) []field { return bucketFields(b, k, testSalt, testOffset) }),
		of("word block", *block, page(format.WordBlockLen, func(w *format.WordBlock, b []byte) { w.Encode(b, testSalt, testOffset) }),
			func(b []byte) (format.WordBlock, error) { return format.DecodeWordBlock(b, testSalt, testOffset) },
			func(b []byte, w format.WordBlock) []field {
				return wordFields(b, w, "word", decimal, testSalt, testOffset)
			}),
		entryStructure(r),
	}
}

// footer draws one whose regions lie where the builder puts them.
func (r random) footer() format.Footer {
	f := format.Footer{DataLen: r.u64(), HashSeed: format.KeySeed{K0: r.u64(), K1: r.u64()}, DirSum: r.u64()}
	f.Buckets = r.between(1, 1<<30)
	f.Records = r.between(0, f.Buckets*format.BucketSlots)
	f.Entries = r.between(0, f.Records)
	f.BucketsAt = format.CheckpointHeaderLen + 64*r.between(0, 1<<30)
	f.OrderedAt = f.BucketsAt + f.Buckets*format.BucketLen
	f.Segments = r.between(1, 1<<20)
	f.Deadlines = r.between(0, f.Records)
	f.DeadlinesAt = f.OrderedAt + format.WordBlocks(f.Entries)*format.WordBlockLen
	f.Directory = f.DeadlinesAt + format.WordBlocks(f.Deadlines)*format.WordBlockLen + 16
	f.FileLen = f.Directory + f.Segments*format.SegmentEntryLen + format.FooterLen
	return f
}

func entryStructure(r random) structure {
	e := format.Entry{SeqDelta: int64(r.u64()), Expiry: r.expiry(), Key: r.data(1, 300), Value: r.data(0, 300)}
	s := of("checkpoint record", e,
		func(e format.Entry) []byte { return format.AppendEntry(nil, &e, testSalt, testOffset) },
		func(b []byte) (format.Entry, error) {
			e, _, err := format.DecodeEntry(b, testSalt, testOffset)
			return e, err
		},
		func(b []byte, e format.Entry) []field { return entryFields(b, e, testSalt, testOffset) })
	s.mayChange = map[int]bool{}
	for i := range s.fields[2].at + s.fields[2].size {
		s.mayChange[i] = true // the varints
	}
	return s
}
