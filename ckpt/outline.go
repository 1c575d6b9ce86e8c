package ckpt

import (
	"fmt"
	"io"

	"github.com/tongpengdl/small-db/format"
)

// outline is what a checkpoint says about itself, all of it verified: everything but its records and indexes.
type outline struct {
	header    format.CheckpointHeader
	footer    format.Footer
	footerSum uint64
	segments  []format.Segment
	epochs    []format.EpochStart
}

// readOutline reads and verifies the header, the footer, the directory and the epochs of the
// checkpoint of size bytes in ra. That the segments lie where the
// layout wants them, without gap or overlap, is verified too, so that their bounds can be relied on.
func readOutline(ra io.ReaderAt, size int64, name string) (*outline, error) {
	if size < format.CheckpointHeaderLen {
		return nil, &format.CorruptionError{File: name, Offset: -1, Err: fmt.Errorf("checkpoint: %w: %d bytes", format.ErrLength, size)}
	}
	o := new(outline)
	page := make([]byte, format.CheckpointHeaderLen)
	err := readFull(ra, name, page, 0)
	if err != nil {
		return nil, err
	}
	if o.header, err = format.DecodeCheckpointHeader(page); err != nil {
		return nil, corrupt(name, 0, err)
	}
	if err := o.readFooter(ra, uint64(size), name); err != nil {
		return nil, err
	}
	if err := o.readDirectory(ra, name); err != nil {
		return nil, err
	}
	return o, o.readEpochs(ra, name)
}

func (o *outline) readFooter(ra io.ReaderAt, size uint64, name string) error {
	if size < format.CheckpointHeaderLen+format.FooterLen {
		return &format.CorruptionError{File: name, Offset: -1, Err: fmt.Errorf("checkpoint: %w: %d bytes", format.ErrLength, size)}
	}
	page := make([]byte, format.FooterLen)
	err := readFull(ra, name, page, size-format.FooterLen)
	if err != nil {
		return err
	}
	if o.footer, err = format.DecodeFooter(page, o.header.Salt, size); err != nil {
		return corrupt(name, size-format.FooterLen, err)
	}
	o.footerSum = footerSum(page)
	return nil
}

func (o *outline) readDirectory(ra io.ReaderAt, name string) error {
	f := &o.footer
	directory := make([]byte, f.Segments*format.SegmentEntryLen)
	if err := readFull(ra, name, directory, f.Directory); err != nil {
		return err
	}
	if got := format.Sum(directory, o.header.Salt, f.Directory); got != f.DirSum {
		return corrupt(name, f.Directory, fmt.Errorf("segment directory: %w: stored %016x, computed %016x", format.ErrChecksum, f.DirSum, got))
	}
	o.segments = make([]format.Segment, f.Segments)
	t := tally{end: format.CheckpointHeaderLen}
	for i := range o.segments {
		at := i * format.SegmentEntryLen
		s, err := format.DecodeSegment(directory[at:], f.Directory)
		if err == nil {
			err = t.add(&s)
		}
		if err != nil {
			return corrupt(name, f.Directory+uint64(at), err)
		}
		o.segments[i] = s
	}
	if err := t.compare(f); err != nil {
		return corrupt(name, f.Directory, err)
	}
	return nil
}

func (o *outline) readEpochs(ra io.ReaderAt, name string) error {
	s := &o.segments[len(o.segments)-1] // tally has seen to that
	src := source{ra: ra, name: name, salt: o.header.Salt}
	data, err := src.read(s, segmentEnd(s))
	if err != nil {
		return err
	}
	if err := src.checkSum(s, data); err != nil {
		return err
	}
	if o.epochs, err = format.DecodeEpochs(data); err != nil {
		return corrupt(name, s.Offset, err)
	}
	return nil
}

// next is where segment i with its padding ends.
func (o *outline) next(i int) uint64 {
	if i+1 < len(o.segments) {
		return o.segments[i+1].Offset
	}
	return o.footer.Directory
}
