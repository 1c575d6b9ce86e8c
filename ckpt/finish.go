package ckpt

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/tongpengdl/small-db/format"
)

// Finish writes the indexes, the epochs (both fields rise), the directory and the footer. It makes a file durable (its name is the
// caller's business); what a stream's Writer does with the bytes is its own. It must be the last call.
func (b *Builder) Finish(epochs []format.EpochStart) (Summary, error) {
	if b.err != nil {
		return Summary{}, b.err
	}
	summary, err := b.finish(epochs)
	if err != nil {
		return Summary{}, b.fail(err)
	}
	b.err = fmt.Errorf("build %s: the checkpoint is finished", b.out.name)
	b.hashes, b.ordered, b.deadlines = nil, nil, nil
	return summary, nil
}

func (b *Builder) finish(epochs []format.EpochStart) (Summary, error) {
	if err := b.endPartial(format.SegmentRecords); err != nil {
		return Summary{}, err
	}
	for _, write := range []func() error{b.writeBuckets, b.writeOrdered, b.writeDeadlines, func() error { return b.writeEpochs(epochs) }, b.writeDirectory} {
		if err := write(); err != nil {
			return Summary{}, err
		}
	}
	summary, err := b.writeFooter()
	if err != nil {
		return Summary{}, err
	}
	return summary, b.out.sync()
}

// writeBuckets writes the hash index. Where a key finds no place there are more buckets: unlike for another
// seed, no key has to be read back for that.
func (b *Builder) writeBuckets() error {
	if err := b.out.align(format.BucketLen); err != nil {
		return err
	}
	n := bucketsFor(b.footer.Records)
	if err := b.hashes.sort(b.ask); err != nil {
		return err
	}
	wrapped, fits := b.hashes.wrapped(n)
	for most := n * maxWidening; !fits; wrapped, fits = b.hashes.wrapped(n) {
		if n *= 2; n > most {
			return fmt.Errorf("a hash index of %d buckets has no place for %d keys under its seed; build the checkpoint again, under another one", most, b.footer.Records)
		}
	}
	b.footer.HashSeed, b.footer.Buckets, b.footer.BucketsAt = b.seed, n, b.out.offset()
	err := b.hashes.buckets(n, wrapped, func(bucket *format.Bucket) error {
		return b.appendUnit(format.SegmentBuckets, format.BucketLen, bucket.Encode)
	})
	if err != nil {
		return err
	}
	return b.endPartial(format.SegmentBuckets)
}

// appendUnit adds a part of an index, size bytes that encode writes, and ends the segment when it is full.
func (b *Builder) appendUnit(kind format.SegmentKind, size int, encode func(p []byte, salt, offset uint64)) error {
	n := len(b.segment)
	b.segment = b.segment[:n+size]
	encode(b.segment[n:], b.header.Salt, b.out.offset()+uint64(n))
	b.count++
	if n+2*size > format.SegmentSize {
		return b.endSegment(kind)
	}
	return nil
}

func (b *Builder) writeOrdered() error {
	b.footer.Entries, b.footer.OrderedAt = uint64(len(b.ordered)), b.out.offset()
	return b.writeWords(format.SegmentOrdered, b.ordered)
}

func (b *Builder) writeDeadlines() error {
	b.footer.Deadlines, b.footer.DeadlinesAt = uint64(len(b.deadlines)), b.out.offset()
	slices.Sort(b.deadlines)
	return b.writeWords(format.SegmentDeadlines, b.deadlines)
}

// writeWords writes an array of words.
func (b *Builder) writeWords(kind format.SegmentKind, words []uint64) error {
	for len(words) > 0 {
		var block format.WordBlock
		words = words[copy(block[:], words):]
		if err := b.appendUnit(kind, format.WordBlockLen, block.Encode); err != nil {
			return err
		}
	}
	return b.endPartial(kind)
}

func (b *Builder) writeEpochs(epochs []format.EpochStart) error {
	if uint64(len(epochs)) > math.MaxUint32 {
		return fmt.Errorf("epochs: %w: %d of them", format.ErrLength, len(epochs))
	}
	for _, e := range epochs {
		b.segment = e.Append(b.segment)
	}
	if _, err := format.DecodeEpochs(b.segment); err != nil {
		return err
	}
	b.count = uint32(len(epochs))
	return b.endSegment(format.SegmentEpochs)
}

func (b *Builder) writeDirectory() error {
	directory := make([]byte, 0, len(b.segments)*format.SegmentEntryLen)
	for i := range b.segments {
		directory = b.segments[i].Append(directory)
	}
	b.footer.Segments, b.footer.Directory = uint64(len(b.segments)), b.out.offset()
	b.footer.DirSum = format.Sum(directory, b.header.Salt, b.footer.Directory)
	return b.out.write(directory)
}

func (b *Builder) writeFooter() (Summary, error) {
	b.footer.FileLen = b.out.offset() + format.FooterLen
	page := make([]byte, format.FooterLen)
	b.footer.Encode(page, b.header.Salt)
	if _, err := format.DecodeFooter(page, b.header.Salt, b.footer.FileLen); err != nil {
		return Summary{}, err // too long
	}
	if err := b.out.write(page); err != nil {
		return Summary{}, err
	}
	return Summary{Footer: b.footer, FooterSum: footerSum(page)}, b.out.flush()
}

// footerSum is the checksum in a footer's bytes.
func footerSum(page []byte) uint64 {
	return binary.LittleEndian.Uint64(page[format.FooterLen-format.SumLen:])
}
