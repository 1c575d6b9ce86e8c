package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/tongpengdl/small-db/format"
)

// blockBytes is the size of a block in bytes, unless a line is longer: large enough that handing it from goroutine to goroutine
// costs nothing beside decoding it.
const blockBytes = 256 << 10

// maxLineBytes is more than any line takes with a value of a size: JSON may write each byte of a key and a value as \u0000.
func maxLineBytes(value int) int { return 6*(format.MaxKeyLen+value) + 4<<10 }

// block is some whole lines of an input.
type block struct {
	text  []byte
	first int64 // number of the first line, from 1
	end   int64 // offset in the input just past it, in bytes
}

// blockReader cuts an input into blocks. It hands out what has come, and does not wait for more.
type blockReader struct {
	in       io.Reader
	maxValue int // bytes

	rest  []byte // read behind the last whole line
	lines int64  // handed out
	taken int64  // bytes handed out
	ended bool
	free  sync.Pool // of *[]byte: texts of blocks that are done with
}

// next returns the next block. The error is io.EOF after the last.
func (r *blockReader) next() (block, error) {
	buf := r.buffer()
	whole := 0 // length of the whole lines in buf
	for whole == 0 && !r.ended {
		if longest := maxLineBytes(r.maxValue); len(buf) > longest {
			return block{}, fmt.Errorf("line %d is longer than the %d bytes of any key and value: a value has at most %d bytes (-max-value-bytes)",
				r.lines+1, longest, r.maxValue)
		}
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
		n, err := r.in.Read(buf[len(buf):cap(buf)])
		if err != nil && !errors.Is(err, io.EOF) {
			return block{}, err
		}
		whole = bytes.LastIndexByte(buf[len(buf):len(buf)+n], '\n') + 1
		if whole > 0 {
			whole += len(buf)
		}
		buf, r.ended = buf[:len(buf)+n], err != nil
	}
	if r.ended {
		whole = len(buf)
	}
	if whole == 0 {
		return block{}, io.EOF
	}
	r.rest = append(r.rest[:0], buf[whole:]...)
	b := block{text: buf[:whole], first: r.lines + 1}
	r.lines += int64(bytes.Count(b.text, []byte{'\n'}))
	r.taken += int64(whole)
	b.end = r.taken
	return b, nil
}

// buffer returns memory with the rest in it, and room for more.
func (r *blockReader) buffer() []byte {
	buf, ok := r.free.Get().(*[]byte)
	if !ok || cap(*buf) <= len(r.rest) {
		fresh := make([]byte, 0, max(blockBytes, 2*len(r.rest)))
		buf = &fresh
	}
	return append((*buf)[:0], r.rest...)
}

// giveBack takes the memory of a block, whose text is not used any more. It may be called by any goroutine.
func (r *blockReader) giveBack(b *block) {
	if text := b.text; cap(text) == blockBytes { // longer ones are rare
		r.free.Put(&text)
	}
	b.text = nil
}
