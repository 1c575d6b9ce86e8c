package http

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"github.com/tongpengdl/small-db/engine"
)

// requestError is what is wrong with a request, not with the store.
type requestError struct {
	status int
	text   string
}

func (e *requestError) Error() string { return e.text }

// errBodies refuses a body that does not fit in the budget.
var errBodies = &requestError{http.StatusServiceUnavailable, "too many large bodies at once; try again"}

// errStreams refuses an export or a backup while there are too many.
var errStreams = &requestError{http.StatusServiceUnavailable, "too many exports and backups at once; try again"}

// What is said of an operation whose context ended before the store took it.
const (
	writeWaited      = "the write waited too long; nothing was written"
	checkpointWaited = "the request waited too long for the checkpoint, which may complete all the same"
	streamWaited     = "the request waited too long"
)

// statuses maps the errors of a store. The first that matches counts: an outcome
// that is unknown stays so, whatever made it so.
var statuses = []struct {
	err    error
	status int
	advice string // added to the text
}{
	{engine.ErrIndeterminate, http.StatusGatewayTimeout, "; the write may be there or not: read before writing again"},
	{engine.ErrKeyEmpty, http.StatusBadRequest, ""},
	{engine.ErrKeyTooLarge, http.StatusRequestURITooLong, ""},
	{engine.ErrValueTooLarge, http.StatusRequestEntityTooLarge, ""},
	{engine.ErrDeadline, http.StatusBadRequest, ""},
	{engine.ErrConditionFailed, http.StatusPreconditionFailed, ""},
	{engine.ErrConflict, http.StatusConflict, ""},
	{engine.ErrFull, http.StatusInsufficientStorage, ""},
	{engine.ErrDiskFull, http.StatusInsufficientStorage, ""},
	{engine.ErrPoisoned, http.StatusServiceUnavailable, ""},
	{engine.ErrClosed, http.StatusServiceUnavailable, ""},
}

// statusOf says how err is answered. The text is waited, unless that is empty, if err is that of a
// context and nothing else: the context ended before the log had the write (see engine.ErrIndeterminate).
func statusOf(err error, waited string) (status int, text string) {
	if request, ok := errors.AsType[*requestError](err); ok {
		return request.status, request.text
	}
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return s.status, err.Error() + s.advice
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return http.StatusServiceUnavailable, cmp.Or(waited, err.Error())
	}
	return http.StatusInternalServerError, err.Error()
}
