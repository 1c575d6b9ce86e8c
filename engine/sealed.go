package engine

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/logrecord"
	"github.com/tongpengdl/small-db/mmapio"
)

// sealedLog is a log that is only read: its file and what its first two blocks say.
type sealedLog struct {
	name   string
	file   mmapio.File
	id     format.LogIdentity
	before format.Predecessor
}

// openLogs opens the logs of a database from one generation to another; none may be missing. there are the generations of those that there
// are, rising. The caller closes them, also after an error.
func openLogs(dir mmapio.Dir, uuid format.UUID, there []uint64, from, to uint64) (logs []*sealedLog, err error) {
	for generation := from; generation <= to; generation++ {
		if _, found := slices.BinarySearch(there, generation); !found {
			return logs, &format.CorruptionError{File: format.LogName(generation), Offset: -1, Err: errors.New("the log is missing")}
		}
		l, err := openLog(dir, generation)
		if err != nil {
			return logs, err
		}
		logs = append(logs, l)
		if l.id.UUID != uuid {
			return logs, l.corrupt(0, fmt.Errorf("%w: it belongs to database %v, not to %v", format.ErrField, l.id.UUID, uuid))
		}
		if n := len(logs); n > 1 && (l.before.Generation != generation-1 || l.before.Salt != logs[n-2].id.Salt) {
			return logs, l.corrupt(format.BlockSize, fmt.Errorf("%w: it does not follow %s", format.ErrField, logs[n-2].name))
		}
	}
	return logs, nil
}

func closeLogs(logs []*sealedLog) {
	for _, l := range logs {
		l.file.Close() // read only
	}
}

// openLog opens a log and reads its first two blocks.
func openLog(dir mmapio.Dir, generation uint64) (*sealedLog, error) {
	l := &sealedLog{name: format.LogName(generation)}
	var err error
	if l.file, err = dir.Open(l.name, mmapio.Read); err != nil {
		return nil, err
	}
	size, err := l.file.Size()
	if err == nil {
		err = l.readHeader(l.file, size, generation)
	}
	if err != nil {
		return nil, errors.Join(err, l.file.Close())
	}
	return l, nil
}

// readHeader reads the first two blocks of the log, which is size bytes long, from src.
func (l *sealedLog) readHeader(src io.ReaderAt, size int64, generation uint64) error {
	blocks := make([]byte, format.LogHeaderSize)
	if n, err := src.ReadAt(blocks, 0); n < len(blocks) {
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		return l.corrupt(int64(n), fmt.Errorf("%w: the file ends there", format.ErrLength))
	}
	var err error
	if l.id, err = format.DecodeLogIdentity(blocks); err != nil {
		return l.corrupt(0, err)
	}
	if l.id.Generation != generation {
		return l.corrupt(0, fmt.Errorf("%w: it is generation %d", format.ErrField, l.id.Generation))
	}
	if l.before, err = format.DecodePredecessor(blocks[format.BlockSize:], l.id.Salt); err != nil {
		return l.corrupt(format.BlockSize, err)
	}
	if size != l.id.Size {
		return l.corrupt(min(size, l.id.Size), fmt.Errorf("%w: the file has %d bytes instead of %d", format.ErrLength, size, l.id.Size))
	}
	return nil
}

func (l *sealedLog) corrupt(offset int64, err error) error {
	return &format.CorruptionError{File: l.name, Offset: offset, Err: err}
}

// readError gives an error of the log's reader its file.
func (l *sealedLog) readError(err error) error {
	var damage *logrecord.DamageError
	if errors.As(err, &damage) {
		return &format.CorruptionError{File: l.name, Offset: damage.Offset,
			FirstSeq: damage.FirstSeq, LastSeq: damage.LastSeq, Err: damage}
	}
	return fmt.Errorf("%s: %w", l.name, err)
}

// endOf is where a log of logs ends: where the next one says, or, the last one, at tail.
func endOf(logs []*sealedLog, i int, tail int64) int64 {
	if i+1 < len(logs) {
		return logs[i+1].before.End
	}
	return tail
}
