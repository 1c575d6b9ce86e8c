package benchmarks

import "github.com/tongpengdl/small-db/format"

// WriteLoop is the limit of one writer: one pwrite of one block after the other. It is used by one goroutine.
type WriteLoop struct {
	log   *blockLog
	block []byte
}

// NewWriteLoop prepares a file of size bytes, a multiple of format.BlockSize, in a directory that exists.
func NewWriteLoop(dir string, size int64) (*WriteLoop, error) {
	log, err := newBlockLog(dir, "writeloop", size)
	if err != nil {
		return nil, err
	}
	return &WriteLoop{log: log, block: make([]byte, format.BlockSize)}, nil
}

// Set makes key and value durable, in a block of their own.
func (l *WriteLoop) Set(key, value []byte) error {
	n := copy(l.block, key)
	copy(l.block[n:], value)
	return l.log.write(l.block)
}

// Fd is the descriptor that is written to.
func (l *WriteLoop) Fd() uintptr { return l.log.file.Fd() }

// Close closes the file.
func (l *WriteLoop) Close() error { return l.log.file.Close() }
