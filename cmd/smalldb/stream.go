package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/tongpengdl/small-db/engine"
	kvhttp "github.com/tongpengdl/small-db/http"
)

// exportPath asks for the lines of a range.
func exportPath(r keyRange) string {
	query := url.Values{}
	if r.prefix != nil {
		query.Set("prefix", string(r.prefix))
	} else {
		if r.start != nil {
			query.Set("start", string(r.start))
		}
		if r.end != nil {
			query.Set("end", string(r.end))
		}
	}
	if r.limit > 0 {
		query.Set("limit", strconv.Itoa(r.limit))
	}
	if r.reverse {
		query.Set("reverse", "true")
	}
	if len(query) == 0 {
		return "/v1/export"
	}
	return "/v1/export?" + query.Encode()
}

// lines asks for the lines of a range, and calls each with blocks of them as they come.
func (c *client) lines(ctx context.Context, r keyRange, each func(*block) error) error {
	body, err := c.do(ctx, http.MethodGet, exportPath(r), nil)
	if err != nil {
		return err
	}
	defer body.Close()
	blocks := &blockReader{in: body}
	for {
		b, err := blocks.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return cutOff(ctx, err)
		}
		if err := each(&b); err != nil {
			return err
		}
		blocks.giveBack(&b)
	}
}

// cutOff says that an answer ended before its end. The server ends it so when it meets damage, or is stopped.
func cutOff(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("the server's answer was cut off: %w", err)
}

func (c *client) scan(ctx context.Context, r keyRange, each func(engine.Entry) error) error {
	var e engine.Entry
	return c.lines(ctx, r, func(b *block) error {
		number := b.first - 1
		for line := range bytes.Lines(b.text) {
			number++
			if err := kvhttp.DecodeLine(line, &e); err != nil {
				return fmt.Errorf("line %d of the server's answer: %w", number, err)
			}
			if err := each(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// export writes the lines as they come.
func (c *client) export(ctx context.Context, r keyRange, w io.Writer, p *progress) (int64, error) {
	var n int64
	err := c.lines(ctx, r, func(b *block) error {
		n += int64(bytes.Count(b.text, []byte{'\n'}))
		p.at(n, n)
		_, err := w.Write(b.text)
		return err
	})
	return n, err
}

// load sends the lines as they are: the server reads them. It returns -1 if the server did not say how many it has set.
func (c *client) load(ctx context.Context, in io.Reader, p *progress) (int64, error) {
	sent := &lineCounter{in: in, p: p}
	body, err := c.do(ctx, http.MethodPost, "/v1/import", io.NopCloser(sent))
	if failure, ok := errors.AsType[*statusError](err); ok {
		return failure.imported, firstImported(err, failure.imported)
	}
	if err != nil {
		return -1, maybeDone(err)
	}
	defer body.Close()
	var said struct {
		Imported int64 `json:"imported"`
	}
	if err := json.NewDecoder(body).Decode(&said); err != nil {
		return -1, maybeDone(fmt.Errorf("the server's answer: %w", err))
	}
	return said.Imported, nil
}

// lineCounter shows as progress what is read.
type lineCounter struct {
	in          io.Reader
	p           *progress
	taken, done int64 // bytes, lines
}

func (r *lineCounter) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	r.taken += int64(n)
	r.done += int64(bytes.Count(p[:n], []byte{'\n'}))
	r.p.at(r.taken, r.done)
	return n, err
}

// backup copies what the server sends. Its version is inside.
func (c *client) backup(ctx context.Context, w io.Writer) (engine.Version, error) {
	body, err := c.do(ctx, http.MethodGet, "/v1/backup", nil)
	if err != nil {
		return engine.Version{}, err
	}
	defer body.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, body, make([]byte, readBytes))
	if err != nil {
		err = cutOff(ctx, err)
	}
	return engine.Version{}, err
}
