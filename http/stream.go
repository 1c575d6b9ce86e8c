package http

import (
	"context"
	"net/http"
	"time"
)

// stream is the body of an answer of any length, whose client may take its time: each MiB has all of writeTimeout. One
// goroutine writes to it.
type stream struct {
	w     http.ResponseWriter
	begun bool // the status and the type are sent, or as good as sent
	left  int  // bytes up to which the write deadline holds

	contentType []string
}

// begin makes the answer one with status 200.
func (s *stream) begin() {
	if !s.begun {
		s.begun = true
		s.w.Header()["Content-Type"] = s.contentType
		s.w.WriteHeader(http.StatusOK)
	}
}

// Write waits until the connection has taken p. An error means that the client is gone, or takes too long.
func (s *stream) Write(p []byte) (n int, err error) {
	s.begin()
	for len(p) > 0 {
		if s.left == 0 {
			_ = http.NewResponseController(s.w).SetWriteDeadline(time.Now().Add(writeTimeout))
			s.left = pieceBytes
		}
		m, err := s.w.Write(p[:min(len(p), s.left)])
		n += m
		if err != nil {
			return n, err
		}
		s.left -= m
		p = p[m:]
	}
	return n, nil
}

var errStreamVersion = &requestError{http.StatusHTTPVersionNotSupported,
	"HTTP/1.1 is needed: before, an answer that is cut off looks whole"}

// streamWait is how long an export or a backup waits for others to end: those of a few entries end soon.
const streamWait = time.Second

// takeStream makes an export or a backup one of those that may run, or refuses it. <-s.streams ends that.
func (s *Server) takeStream(ctx context.Context) error {
	select {
	case s.streams <- struct{}{}:
		return nil
	default:
	}
	wait := time.NewTimer(streamWait)
	defer wait.Stop()
	select {
	case s.streams <- struct{}{}:
		return nil
	case <-wait.C:
		return errStreams
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serveStream answers with what write writes. If write fails before it has written anything, the answer says why.
// If it fails later the connection ends without the end of the answer, so that nobody takes a part for the whole.
func (s *Server) serveStream(w http.ResponseWriter, r *http.Request, contentType []string, write func(out *stream) error) {
	if !r.ProtoAtLeast(1, 1) {
		answerError(w, errStreamVersion, "")
		return
	}
	if err := s.takeStream(r.Context()); err != nil {
		answerError(w, err, streamWaited)
		return
	}
	defer func() { <-s.streams }()
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // while the client stays
	out := &stream{w: w, contentType: contentType}
	err := write(out)
	switch {
	case err == nil:
		out.begin()
	case out.begun:
		s.server.ErrorLog.Printf("%s was cut off: %v", r.URL.Path, err)
		panic(http.ErrAbortHandler)
	}
	renewDeadlines(w)
	if err != nil {
		answerError(w, err, streamWaited)
	}
}

// backup sends a checkpoint of the present state.
func (s *Server) backup(w http.ResponseWriter, r *http.Request) {
	if err := refuseQuery(r); err != nil {
		answerError(w, err, "")
		return
	}
	s.serveStream(w, r, contentTypeBytes, func(out *stream) error {
		_, err := s.store.Backup(r.Context(), out)
		return err
	})
}

// refuseQuery refuses a query where a route knows none: a selection that is ignored would look like one that is obeyed.
func refuseQuery(r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	return &requestError{http.StatusBadRequest, "invalid query: " + r.URL.Path + " takes no parameters"}
}
