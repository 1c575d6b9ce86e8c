package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/logrecord"
	"github.com/tongpengdl/small-db/mmapio"
)

// scrub is one pass over the files: version, the checkpoint and the one before it, and every log since that. All is read around the page
// cache, no faster than the options allow, and compared with its checksums. One goroutine uses it.
type scrub struct {
	s       *scrubber
	bytes   uint64    // read so far
	next    time.Time // when more may be read
	found   damages
	failure error // what kept it first from reading something
}

// all reads all files. It goes on behind damage and failures.
func (p *scrub) all() {
	db := p.s.db
	var newest uint64 // log
	var end int64     // of that, as far as it is durable
	if err := db.pipeline.between(p.s.ctx, func() error {
		newest, end = db.tail.Generation, db.tail.End
		if db.live != nil {
			end = db.live.framer.Offset()
		}
		return nil
	}); err != nil {
		p.failure = err
		return
	}
	p.note(p.version())
	kept, base := db.kept.Load(), db.view.Load().base.Header().Generation
	p.note(p.checkpoint(base))
	if kept != base {
		p.note(p.checkpoint(kept))
	}
	for n := newest; n >= kept; n-- {
		before, err := p.log(n, end)
		p.note(err)
		end = before.End // 0 if its first blocks are damaged: then nobody says
	}
	p.wait(0)
}

// note takes the outcome of a file. Damage is told and mended at once, for the pass may take long, unless the file is not needed any more.
func (p *scrub) note(err error) {
	if err == nil || p.s.ctx.Err() != nil {
		return
	}
	if !errors.Is(err, ErrCorrupt) {
		p.failure = cmp.Or(p.failure, err)
		return
	}
	if db := p.s.db; db.needs(fileOf(err)) { // else it may have been removed, or made the spare
		db.logger.Error("scrub has found damage", "error", err)
		p.found.add(err)
		p.s.found.add(err)
		_ = db.meet(err)
		db.repair()
	}
}

// open opens a file of the pass. Its absence is damage.
func (p *scrub) open(name string) (*paced, error) {
	around, err := mmapio.OpenAround(p.s.db.dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &format.CorruptionError{File: name, Offset: -1, Err: errors.New("the file is missing")}
	}
	if err != nil {
		return nil, err
	}
	return &paced{pass: p, name: name, around: around}, nil
}

func (p *scrub) version() error {
	f, err := p.open(format.VersionName)
	if err != nil {
		return err
	}
	defer f.around.Close()
	_, err = decodeVersionFile(f, format.VersionName)
	return err
}

func (p *scrub) checkpoint(generation uint64) error {
	f, err := p.open(format.CheckpointName(generation))
	if err != nil {
		return err
	}
	defer f.around.Close()
	return ckpt.VerifySums(f, f.around.Size(), f.name)
}

// log reads a log up to end; where that is not known, as far as it goes. before is what it says of the log before it.
func (p *scrub) log(generation uint64, end int64) (before format.Predecessor, err error) {
	f, err := p.open(format.LogName(generation))
	if err != nil {
		return before, err
	}
	defer f.around.Close()
	l := &sealedLog{name: f.name}
	if err := l.readHeader(f, f.around.Size(), generation); err != nil {
		return before, err
	}
	reader := logrecord.NewReader(f, l.id, l.before.Position, end)
	for {
		_, err := reader.Next()
		switch torn := (*logrecord.TornError)(nil); {
		case err == io.EOF, errors.As(err, &torn):
			return l.before, nil
		case err != nil:
			return l.before, l.readError(err)
		}
	}
}

// paced reads a file of the pass, no faster than the options allow.
type paced struct {
	pass   *scrub
	name   string
	around *mmapio.Around
}

// ReadAt reads as io.ReaderAt does. What the disk does not give is damage.
func (f *paced) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) && err == nil {
		piece := b[n:min(len(b), n+mmapio.PieceSize)]
		if err := f.pass.wait(len(piece)); err != nil {
			return n, err
		}
		var got int
		got, err = f.around.ReadAt(piece, off+int64(n))
		n += got
	}
	if unreadable(err) {
		err = &format.CorruptionError{File: f.name, Offset: off + int64(n), Err: fmt.Errorf("it cannot be read: %w", err)}
	}
	return n, err
}

// unreadable reports whether an error says that the disk, or the file system, has lost the bytes.
func unreadable(err error) bool {
	return errors.Is(err, unix.EIO) || errors.Is(err, unix.EBADMSG) || errors.Is(err, unix.ENODATA)
}

// wait waits until n more bytes may be read.
func (p *scrub) wait(n int) error {
	now := time.Now()
	if early := p.next.Sub(now); early > 0 {
		p.s.sleep(early)
		now = p.next
	}
	p.next = now.Add(time.Duration(float64(n) / float64(p.s.db.opts.ScrubBytesPerSecond) * float64(time.Second)))
	p.bytes += uint64(n)
	return p.s.ctx.Err()
}
