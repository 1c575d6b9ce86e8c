package main

import (
	"context"
	"io"
	"os"
	"sync/atomic"
)

// input is what a verb reads: a file, or standard input.
type input struct {
	io.Reader
	name  string
	size  int64        // in bytes; 0 if it is not known
	taken atomic.Int64 // bytes read
	file  *os.File     // nil for standard input
}

// openInput opens a file, or standard input for "-". Reading ends with ctx.
func (c *call) openInput(ctx context.Context, file string) (*input, error) {
	in := &input{name: file}
	var from io.Reader
	if file == "-" {
		in.name, from = "standard input", c.stdin
	} else {
		f, err := openFile(ctx, file, os.O_RDONLY)
		if err != nil {
			return nil, err
		}
		in.file, from = f, f
	}
	if f, ok := from.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			in.size = info.Size()
		}
	}
	in.Reader = withContext(ctx, from)
	return in, nil
}

func (in *input) Read(p []byte) (int, error) {
	n, err := in.Reader.Read(p)
	in.taken.Add(int64(n))
	return n, err
}

func (in *input) close() {
	if in.file != nil {
		_ = in.file.Close()
	}
}

// contextReader reads until a context ends, even if that happens while a Read waits, as for a terminal.
type contextReader struct {
	ctx  context.Context
	from io.Reader
	buf  []byte // what Read gets first: the caller of an abandoned Read has its own memory back
	rest []byte // of buf, not handed out
	err  error
}

// readBytes is how much is read at once.
const readBytes = 256 << 10

// withContext returns a reader of r that fails with the error of ctx as soon as that ends. After that, a Read of r may
// still be under way.
func withContext(ctx context.Context, r io.Reader) io.Reader {
	return &contextReader{ctx: ctx, from: r, buf: make([]byte, readBytes)}
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if len(r.rest) == 0 && r.err == nil {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	if len(r.rest) > 0 || n > 0 {
		return n, nil
	}
	return 0, r.err
}

// fill reads into buf, unless the context ends.
func (r *contextReader) fill() error {
	done := make(chan struct{})
	var n int
	var err error
	go func() {
		defer close(done)
		n, err = r.from.Read(r.buf)
	}()
	select {
	case <-done:
		r.rest, r.err = r.buf[:n], err
		return nil
	case <-r.ctx.Done():
		r.err = r.ctx.Err()
		return r.err
	}
}
