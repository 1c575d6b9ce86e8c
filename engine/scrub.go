package engine

import (
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
	started time.Time
	bytes   uint64 // read so far
	damage  error  // the first that was found
}

// all reads all files. It goes on behind damage; an error is what kept it from reading.
func (p *scrub) all() error {
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
		return err
	}
	if err := p.note(p.version()); err != nil {
		return err
	}
	kept, base := db.kept.Load(), db.view.Load().base.Header().Generation
	if err := p.note(p.checkpoint(base)); err != nil {
		return err
	}
	if kept != base {
		if err := p.note(p.checkpoint(kept)); err != nil {
			return err
		}
	}
	return p.logs(kept, newest, end)
}

// logs reads the logs of these generations; the last one to its end.
func (p *scrub) logs(from, to uint64, end int64) error {
	for n := to; n >= from; n-- {
		before, err := p.log(n, end)
		if err = p.note(err); err != nil {
			return err
		}
		end = before.End // 0 if its first blocks are damaged: then nobody says
	}
	return nil
}

// note takes the outcome of a file: damage is kept and is no error, unless the file is not needed any more.
func (p *scrub) note(err error) error {
	if err == nil || p.s.ctx.Err() != nil {
		return p.s.ctx.Err()
	}
	if !errors.Is(err, ErrCorrupt) {
		return err
	}
	if n, ok := generationOf(fileOf(err)); ok && n < p.s.db.kept.Load() { // it may have been removed, or made the spare
		return nil
	}
	p.s.db.logger.Error("scrub has found damage", "error", err)
	if p.damage == nil {
		p.damage = err
	}
	return nil
}

// fileOf is the file that damage is in.
func fileOf(err error) string {
	if damaged, ok := errors.AsType[*format.CorruptionError](err); ok {
		return damaged.File
	}
	return ""
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
	due := time.Duration(float64(p.bytes) / float64(p.s.db.opts.ScrubBytesPerSecond) * float64(time.Second))
	p.bytes += uint64(n)
	if early := due - time.Since(p.started); early > 0 {
		p.s.sleep(early)
	}
	return p.s.ctx.Err()
}
