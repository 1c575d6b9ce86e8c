package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
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

// lines asks for the lines of a range. It verifies them as they come: each is an entry of the range, in its place. It calls block, if
// that is not nil, with blocks of whole lines, after it has called each, if that is not nil, with the entries in it.
func (c *client) lines(ctx context.Context, r keyRange, each func(engine.Entry) error, whole func(*block) error) (int64, error) {
	answer, err := c.do(ctx, http.MethodGet, exportPath(r), nil, typeLines)
	if err != nil {
		return 0, err
	}
	defer answer.Close()
	blocks := &blockReader{in: answer, maxValue: format.MaxValueLen}
	v := &lineVerifier{r: r}
	for {
		b, err := blocks.next()
		if errors.Is(err, io.EOF) {
			return v.lines, nil
		}
		if err == nil {
			err = v.block(&b, each)
		}
		if err == nil && whole != nil {
			err = whole(&b)
		}
		if err != nil {
			return v.lines, err
		}
		blocks.giveBack(&b)
	}
}

// lineVerifier verifies that lines are those of a range.
type lineVerifier struct {
	r     keyRange
	e     engine.Entry
	last  []byte // key of the line before
	lines int64  // verified
}

func (v *lineVerifier) block(b *block, each func(engine.Entry) error) error {
	for line := range bytes.Lines(b.text) {
		err := v.line(line)
		if err != nil {
			return fmt.Errorf("line %d of the server's answer: %w", v.lines+1, err)
		}
		v.lines++
		if each == nil {
			continue
		}
		if err := each(v.e); err != nil {
			return err
		}
	}
	return nil
}

func (v *lineVerifier) line(line []byte) error {
	if !bytes.HasSuffix(line, []byte{'\n'}) {
		return fmt.Errorf("it has no end: %w", io.ErrUnexpectedEOF)
	}
	if err := kvhttp.DecodeLine(line, &v.e); err != nil {
		return err
	}
	order := bytes.Compare(v.last, v.e.Key)
	if v.r.reverse {
		order = -order
	}
	switch key := v.e.Key; {
	case v.lines > 0 && order >= 0:
		return fmt.Errorf("%w: keys are not in order", errStranger)
	case bytes.Compare(key, v.r.start) < 0 || v.r.end != nil && bytes.Compare(key, v.r.end) >= 0:
		return fmt.Errorf("%w: key %.200q is not of the range that was asked for", errStranger, key)
	case v.r.limit > 0 && v.lines >= int64(v.r.limit):
		return fmt.Errorf("%w: it has more than the %d lines that were asked for", errStranger, v.r.limit)
	}
	v.last = append(v.last[:0], v.e.Key...)
	return nil
}

func (c *client) scan(ctx context.Context, r keyRange, each func(engine.Entry) error) error {
	_, err := c.lines(ctx, r, each, nil)
	return err
}

// export writes the lines as they come.
func (c *client) export(ctx context.Context, r keyRange, w io.Writer, p *progress) (int64, error) {
	var n int64
	return c.lines(ctx, r, nil, func(b *block) error {
		n += int64(bytes.Count(b.text, []byte{'\n'}))
		p.at(n, n)
		_, err := w.Write(b.text)
		return err
	})
}

// load sends the lines as they are: the server reads them. It returns -1 if the server did not say, credibly, how many it has set.
func (c *client) load(ctx context.Context, in io.Reader, p *progress) (int64, error) {
	sent := &lineCounter{in: in, p: p}
	answer, err := c.do(ctx, http.MethodPost, "/v1/import", io.NopCloser(sent), typeJSON)
	lines, whole := sent.stop()
	if failure, ok := errors.AsType[*statusError](err); ok {
		return importedBefore(failure, lines)
	}
	if err != nil {
		return -1, maybeDone(err)
	}
	defer answer.Close()
	var said struct {
		OK       bool
		Imported *int64
	}
	if err := readJSON(answer, maxShortAnswer, &said); err != nil {
		return -1, maybeDone(err)
	}
	if !said.OK || said.Imported == nil || !whole || *said.Imported != lines {
		return -1, maybeDone(fmt.Errorf("%w: it does not say that it imported the %s sent", errStranger, count(lines, "line")))
	}
	return lines, nil
}

// importedBefore is what a failure says of an import that has sent so many lines.
func importedBefore(failure *statusError, sent int64) (int64, error) {
	n := failure.imported
	switch {
	case n == nil && failure.status < http.StatusInternalServerError, n == nil && failure.status == http.StatusServiceUnavailable:
		return 0, failure // it was refused as a whole
	case n == nil, *n < 0, *n > sent:
		return -1, fmt.Errorf("%w; %w", failure, errMaybeDone)
	case failure.status == http.StatusGatewayTimeout:
		return *n, firstForSure(failure, *n)
	}
	return *n, firstImported(failure, *n)
}

// lineCounter counts the lines that are read, and shows them as progress. net/http may read on when it has an answer, so there is a lock.
type lineCounter struct {
	in    io.Reader
	p     *progress // may be nil
	lock  sync.Mutex
	taken int64 // bytes
	lines int64 // ended
	open  bool  // a line has begun
	ended bool  // there are no more bytes
	off   bool
}

// Read is io.Reader's.
func (r *lineCounter) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.off {
		return n, err
	}
	r.taken += int64(n)
	r.lines += int64(bytes.Count(p[:n], []byte{'\n'}))
	if n > 0 {
		r.open = p[n-1] != '\n'
	}
	r.ended = errors.Is(err, io.EOF)
	if r.p != nil {
		r.p.at(r.taken, r.lines)
	}
	return n, err
}

// stop ends the progress. It returns the lines that were read, and whether they are all.
func (r *lineCounter) stop() (lines int64, whole bool) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.off = true
	if r.open {
		return r.lines + 1, r.ended
	}
	return r.lines, r.ended
}

// backup copies what the server sends. Its version is inside.
func (c *client) backup(ctx context.Context, w io.Writer) (engine.Version, error) {
	answer, err := c.do(ctx, http.MethodGet, "/v1/backup", nil, typeBytes)
	if err != nil {
		return engine.Version{}, err
	}
	defer answer.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{answer}, make([]byte, readBytes))
	return engine.Version{}, err
}
