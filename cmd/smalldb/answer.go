package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tongpengdl/small-db/format"
)

// The types of the answers that a server of small-db gives.
const (
	typeJSON  = "application/json"
	typeLines = "application/x-ndjson"
	typeBytes = "application/octet-stream"
)

// Bounds of what is read of an answer, in bytes.
const (
	maxErrorText   = 4 << 10
	maxShortAnswer = 4 << 10                                                // that says what was done
	maxValueAnswer = 6*(format.MaxKeyLen+format.MaxValueLen) + maxErrorText // JSON may write each byte in six
)

var (
	// errStranger is an answer that says 200 and is none of small-db.
	errStranger = errors.New("this is no answer of a small-db server")
	// errSilent is a server that does not go on.
	errSilent = errors.New("the server is silent; -timeout says for how long it may be")
)

// checkAnswer refuses an answer that says 200 and is not of the type that was asked for, and a stream that would look whole if it
// were cut off.
func checkAnswer(answer *http.Response, wanted string) error {
	got, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if err != nil || got != wanted {
		return fmt.Errorf("%w: its type is %q instead of %s", errStranger, answer.Header.Get("Content-Type"), wanted)
	}
	endless := answer.ContentLength < 0 && answer.ProtoMajor < 2 && !slices.Contains(answer.TransferEncoding, "chunked")
	if wanted != typeJSON && (!answer.ProtoAtLeast(1, 1) || endless) {
		return fmt.Errorf("the answer has no end that can be told from a cut (%s); a proxy between must speak HTTP/1.1", answer.Proto)
	}
	return nil
}

// body is that of an answer. A Read waits for the server up to silence; its errors say that it is the server's answer that
// ended.
type body struct {
	io.ReadCloser
	ctx     context.Context // the caller's
	stop    context.CancelCauseFunc
	silence time.Duration // 0 means for ever
	silent  func() bool
}

// Read is io.Reader's.
func (b *body) Read(p []byte) (int, error) {
	if b.silence > 0 {
		timer := time.AfterFunc(b.silence, func() { b.stop(errSilent) })
		defer timer.Stop()
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return n, err
	case b.ctx.Err() != nil:
		return n, b.ctx.Err()
	case b.silent():
		err = errSilent
	}
	return n, fmt.Errorf("the server's answer was cut off: %w", err)
}

// Close ends the answer, read to its end or not.
func (b *body) Close() error {
	b.stop(nil)
	return b.ReadCloser.Close()
}

// readJSON reads an answer that is one JSON object of at most limit bytes.
func readJSON(from io.Reader, limit int64, into any) error {
	text, err := io.ReadAll(io.LimitReader(from, limit+1))
	switch {
	case err != nil:
		return err
	case int64(len(text)) > limit:
		return fmt.Errorf("%w: it has more than %d bytes", errStranger, limit)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%w: %w", errStranger, err)
	}
	return nil
}

// statusError is an answer of a server that is not a success.
type statusError struct {
	status   int
	text     string
	imported *int64 // lines, if it says so
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the server answers %d %s: %s", e.status, http.StatusText(e.status), e.text)
}

// isNotFound tells a key that is not set from a path that is not there.
func (e *statusError) isNotFound() bool {
	return e.status == http.StatusNotFound && strings.HasPrefix(e.text, "key not found")
}

// readFailure is an answer that is not a success.
func readFailure(answer *http.Response, from io.Reader) *statusError {
	text, _ := io.ReadAll(io.LimitReader(from, maxErrorText))
	failure := &statusError{status: answer.StatusCode, text: strconv.Quote(string(bytes.TrimSpace(text)))}
	var said struct {
		Error, Reason string
		Imported      *int64
	}
	if json.Unmarshal(text, &said) == nil && said.Error+said.Reason != "" {
		failure.text, failure.imported = said.Error+said.Reason, said.Imported
	}
	return failure
}
