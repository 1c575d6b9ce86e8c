package http

import (
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
	{engine.ErrDiskFull, http.StatusInsufficientStorage, ""},
	{engine.ErrPoisoned, http.StatusServiceUnavailable, ""},
	{engine.ErrClosed, http.StatusServiceUnavailable, ""},
	{context.Canceled, http.StatusServiceUnavailable, ""}, // before the log had it: see ErrIndeterminate
	{context.DeadlineExceeded, http.StatusServiceUnavailable, ""},
}

// statusOf says how err is answered.
func statusOf(err error) (status int, text string) {
	if request, ok := errors.AsType[*requestError](err); ok {
		return request.status, request.text
	}
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return s.status, err.Error() + s.advice
		}
	}
	return http.StatusInternalServerError, err.Error()
}
