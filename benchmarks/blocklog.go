package benchmarks

import (
	"errors"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// LogLen is the size of the file that a limit writes to in a benchmark, in bytes: that of a log of the engine.
const LogLen = engine.DefaultLogFileBytes

// blockLog is what the limits write to: a file of real zeros on the disk, open with O_DSYNC, written in whole
// blocks from its start to its end and then again. It is used by one goroutine.
type blockLog struct {
	file   mmapio.File
	size   int64
	offset int64
}

// newBlockLog prepares the file, of size bytes, in a directory that exists.
func newBlockLog(path, name string, size int64) (*blockLog, error) {
	dir, err := mmapio.OpenDir(path, false)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := mmapio.Prepare(dir, name, size, nil); err != nil {
		return nil, err
	}
	if err := dir.Sync(); err != nil {
		return nil, err
	}
	file, err := dir.Open(name, mmapio.WriteDurable)
	if err != nil {
		return nil, err
	}
	return &blockLog{file: file, size: size}, nil
}

var errNotBlocks = errors.New("not whole blocks, or more than the file holds")

// write makes the blocks durable after the last ones.
func (l *blockLog) write(blocks []byte) error {
	n := int64(len(blocks))
	if n == 0 || n%format.BlockSize != 0 || n > l.size {
		return errNotBlocks
	}
	if l.offset+n > l.size {
		l.offset = 0
	}
	_, err := l.file.WriteAt(blocks, l.offset)
	l.offset += n
	return err
}
