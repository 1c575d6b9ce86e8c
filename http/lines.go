package http

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/tongpengdl/small-db/format"
)

// lineReader takes a body of any length apart into lines. It holds the text that has come and was not returned; in the
// budget for large bodies its import counts with that and with the batches.
type lineReader struct {
	server *Server
	w      http.ResponseWriter
	body   io.Reader
	sc     *scratch // text is what has come; held is what the budget has counted
	at     int      // what is before in it was returned
	left   int      // bytes until the read deadline is moved
	ended  bool     // there is no more
}

// begin makes ready to read a body of that many bytes, or of unknown length if it is negative.
func (l *lineReader) begin(length int64) error {
	need := int64(importBatches*importBatchBytes + maxScratchBytes)
	if length >= 0 {
		need = min(need, length)
	}
	if err := l.hold(need); err != nil {
		return err
	}
	l.sc.text = slices.Grow(l.sc.text[:0], maxScratchBytes)
	return nil
}

// hold counts n bytes in the budget, but not more than the largest body: that always fits.
func (l *lineReader) hold(n int64) error {
	return l.server.bodies.hold(l.sc, min(n, l.server.maxBody))
}

// next returns the next line without its newline, valid until it is called again; io.EOF after the last. A
// requestError is about the body, any other about the line.
func (l *lineReader) next() ([]byte, error) {
	for searched := 0; ; {
		line := l.sc.text[l.at:]
		end := bytes.IndexByte(line[searched:], '\n')
		if end >= 0 {
			line = line[:searched+end]
			l.at++ // the newline
		}
		switch whole := end >= 0 || l.ended; {
		case len(line) > l.limit():
			return nil, fmt.Errorf("it has more than %d bytes", l.limit())
		case whole && end < 0 && len(line) == 0:
			return nil, io.EOF
		case whole:
			l.at += len(line)
			return line, nil
		}
		searched = len(line)
		if err := l.read(); err != nil {
			return nil, err
		}
	}
}

// limit is the size of the longest line, in bytes: JSON may write each byte of a key in six, as those of a value.
func (l *lineReader) limit() int { return int(l.server.maxBody) + 6*format.MaxKeyLen }

// read reads more of the body, and makes room for it first.
func (l *lineReader) read() error {
	text := l.sc.text
	if l.at > 0 {
		text = text[:copy(text, text[l.at:])]
		l.at = 0
	}
	if len(text) == cap(text) {
		size := min(2*len(text), l.limit()+1)
		if err := l.hold(int64(importBatches*importBatchBytes + size)); err != nil {
			return err
		}
		text = append(make([]byte, 0, size), text...)
	}
	n, err := l.body.Read(text[len(text):cap(text)])
	l.sc.text = text[:len(text)+n]
	if l.left -= n; l.left <= 0 {
		l.renewDeadline()
	}
	switch {
	case err == io.EOF:
		l.ended = true
		_ = http.NewResponseController(l.w).SetReadDeadline(time.Time{}) // net/http reads on: see readTimeout
		return nil
	case err != nil:
		return bodyError(err)
	}
	return nil
}

// renewDeadline gives the next piece of the body its time.
func (l *lineReader) renewDeadline() {
	l.left = pieceBytes
	_ = http.NewResponseController(l.w).SetReadDeadline(time.Now().Add(readTimeout))
}

// bodyError says why a body did not come to its end.
func bodyError(err error) error {
	var limit *http.MaxBytesError // of a handler around this one
	switch {
	case errors.As(err, &limit):
		return &requestError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", limit.Limit)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &requestError{http.StatusRequestTimeout, "the body came too slowly"}
	}
	return &requestError{http.StatusBadRequest, cut("the body broke off: "+err.Error(), maxEchoBytes)}
}
