package reference

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/tongpengdl/small-db/format"
)

const (
	checkpointMagic     = "SMALLDB\x00"
	checkpointVersion   = 1
	checkpointHeaderLen = 24 // magic, version, generation, count
	entryHeaderLen      = 8  // key length, value length
)

// readCheckpoint makes the checkpoint the state. It was renamed only once it was whole, so that what does not parse is damage.
func (l *loader) readCheckpoint(s source) error {
	w := window{src: s, size: s.size}
	count, err := l.checkpointHeader(&w)
	at := int64(0)
	if err == nil {
		at = checkpointHeaderLen
		l.d.state = make(map[string][]byte, count)
	}
	for i := uint32(0); i < count && err == nil; i++ {
		var n int64
		if n, err = l.entry(&w, at); err == nil {
			at += n
		}
		if err == nil && i%stepEvery == 0 {
			err = l.step(at)
		}
	}
	if err == nil && at != s.size {
		err = fmt.Errorf("%w: %d bytes after the last entry", format.ErrLength, s.size-at)
	}
	if err != nil && isBad(err) {
		return &format.CorruptionError{File: s.name, Offset: at, Err: err}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// checkpointHeader returns the number of entries, for which there is room in the file.
func (l *loader) checkpointHeader(w *window) (count uint32, err error) {
	if w.size < checkpointHeaderLen {
		return 0, fmt.Errorf("%w: %d bytes", format.ErrLength, w.size)
	}
	b, err := w.bytes(0, checkpointHeaderLen)
	if err != nil {
		return 0, err
	}
	version, generation := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint64(b[12:])
	count = binary.LittleEndian.Uint32(b[20:])
	switch {
	case string(b[:8]) != checkpointMagic:
		return 0, fmt.Errorf("%w: it does not begin as a checkpoint: %q", format.ErrField, b[:8])
	case version > checkpointVersion:
		return 0, fmt.Errorf("checkpoint format version %d; this release reads %d: %w", version, checkpointVersion, format.ErrVersion)
	case version != checkpointVersion:
		return 0, fmt.Errorf("%w: format version %d", format.ErrField, version)
	case generation != l.d.generation:
		return 0, fmt.Errorf("%w: generation %d", format.ErrField, generation)
	case int64(count) > (w.size-checkpointHeaderLen)/entryHeaderLen:
		return 0, fmt.Errorf("%w: %d entries in %d bytes", format.ErrLength, count, w.size)
	}
	return count, nil
}

// entry adds the entry at off to the state and returns its length.
func (l *loader) entry(w *window, off int64) (int64, error) {
	left := w.size - off
	if left < entryHeaderLen {
		return 0, fmt.Errorf("%w: %d bytes left for an entry", format.ErrLength, left)
	}
	b, err := w.bytes(off, entryHeaderLen)
	if err != nil {
		return 0, err
	}
	keyLen, valueLen := int64(binary.LittleEndian.Uint32(b)), int64(binary.LittleEndian.Uint32(b[4:]))
	if keyLen+valueLen > left-entryHeaderLen {
		return 0, fmt.Errorf("%w: key of %d and value of %d bytes, %d bytes left", format.ErrLength, keyLen, valueLen, left)
	}
	b, err = w.bytes(off+entryHeaderLen, keyLen+valueLen)
	if err != nil {
		return 0, err
	}
	key := string(b[:keyLen])
	if _, twice := l.d.state[key]; twice {
		return 0, fmt.Errorf("%w: key %.64q occurs twice", format.ErrField, key)
	}
	l.d.state[key] = bytes.Clone(b[keyLen:])
	return entryHeaderLen + keyLen + valueLen, nil
}
