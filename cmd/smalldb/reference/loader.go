package reference

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tongpengdl/small-db/format"
)

// loader reads the files of one generation into d.
type loader struct {
	ctx         context.Context
	fsys        fs.FS
	opts        Options
	d           *Directory
	done, total int64 // bytes
}

// load reads the checkpoint, and the log over it.
func (l *loader) load() error {
	checkpoint, err := l.open(format.CheckpointName(l.d.generation))
	if err != nil {
		return err
	}
	defer checkpoint.Close()
	log, err := l.open(format.LogName(l.d.generation))
	if err != nil {
		return err
	}
	defer log.Close()
	l.total = checkpoint.size + log.size
	if checkpoint.file != nil {
		err = l.readCheckpoint(checkpoint)
		if err != nil {
			return err
		}
	}
	l.done = checkpoint.size
	return l.readLog(log)
}

// source is an open file and its size.
type source struct {
	file // nil if it is missing, as it may be in generation 0
	name string
	size int64
}

// Close closes the file.
func (s source) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// open opens a file of the generation. Only the first generation begins without a checkpoint, and
// may, after a crash, have no log.
func (l *loader) open(name string) (source, error) {
	f, err := openFile(l.fsys, name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && l.d.generation == 0:
		return source{name: name}, nil
	case errors.Is(err, fs.ErrNotExist):
		return source{}, &format.CorruptionError{File: name, Offset: -1, Err: fmt.Errorf("the version file names it: %w", err)}
	case err != nil:
		return source{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return source{}, errors.Join(err, f.Close())
	}
	return source{f, name, info.Size()}, nil
}

// step is called after each record, which ends at offset of its file.
func (l *loader) step(offset int64) error {
	if l.opts.Progress != nil {
		l.opts.Progress(l.done+offset, l.total)
	}
	return l.ctx.Err()
}

// stepEvery is how many records there are to a step.
const stepEvery = 1024

// readLog applies the operations of the log.
func (l *loader) readLog(s source) error {
	var r logReader
	if s.file != nil {
		r = logReader{window: window{src: s, size: s.size}}
	}
	for {
		op, err := r.next()
		switch {
		case err != nil:
			return l.endLog(&r, s, err)
		case op.op == opSet:
			l.d.state[string(op.key)] = bytes.Clone(op.value)
		default:
			delete(l.d.state, string(op.key))
		}
		l.d.operations++
		if l.d.operations%stepEvery == 0 {
			if err := l.step(r.offset); err != nil {
				return err
			}
		}
	}
}

// endLog judges how the log ended.
func (l *loader) endLog(r *logReader, s source, err error) error {
	var bad *badRecord
	switch {
	case errors.Is(err, errEnd):
		return l.step(s.size)
	case !errors.As(err, &bad):
		return fmt.Errorf("%s: %w", s.name, err)
	case bad.damage && !l.opts.AcceptDamage:
		return &format.CorruptionError{File: s.name, Offset: r.offset, Err: bad}
	}
	l.d.dropped = append(l.d.dropped, Dropped{File: s.name, Offset: r.offset, Bytes: s.size - r.offset, Damage: bad.damage, Err: bad})
	return l.step(s.size)
}
