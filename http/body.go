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
)

// maxBodyBytes is the size of the largest body of a PUT whose value may have maxValue bytes: as
// text, JSON may write each byte in six. It leaves room for the names of the fields, and for base64
// with two of three of its characters written so.
func maxBodyBytes(maxValue int) int64 { return 6*int64(maxValue) + 4<<10 }

// readBody makes sc.text the body of r. It takes memory for what has come, not for what is announced, beyond
// the first piece; and each piece that has come buys time for the next. A large body has its bytes of the budget
// before they are read.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, sc *scratch) error {
	if r.ContentLength > s.maxBody {
		return s.tooLarge()
	}
	if err := s.bodies.hold(sc, r.ContentLength); err != nil {
		return err
	}
	limit := s.maxBody
	if r.ContentLength >= 0 {
		limit = r.ContentLength
	}
	start, piece := time.Now(), pieceBytes
	sc.text = slices.Grow(sc.text[:0], bytes.MinRead+int(min(max(r.ContentLength, 0), pieceBytes)))
	for {
		if len(sc.text) == cap(sc.text) {
			more := min(len(sc.text), int(limit)+1-len(sc.text))
			if len(sc.text) < smallBodyBytes {
				more = min(more, smallBodyBytes-len(sc.text)) // what stays small never counts
			}
			if err := s.bodies.hold(sc, min(int64(len(sc.text)+more), limit)); err != nil {
				return err
			}
			sc.text = slices.Grow(sc.text, more)
		}
		n, err := r.Body.Read(sc.text[len(sc.text):cap(sc.text)])
		sc.text = sc.text[:len(sc.text)+n]
		switch {
		case int64(len(sc.text)) > s.maxBody:
			return s.tooLarge()
		case err == io.EOF:
			if len(sc.text) >= pieceBytes {
				renewDeadlines(w)
			}
			return nil
		case err != nil:
			return s.readFailed(w, err)
		}
		if err := s.bodies.hold(sc, int64(len(sc.text))); err != nil { // as far as the buffer was larger than asked for
			return err
		}
		if len(sc.text) >= piece {
			piece = len(sc.text) + pieceBytes
			_ = http.NewResponseController(w).SetReadDeadline(start.Add(readTimeout + pieceTime(len(sc.text))))
		}
	}
}

func (s *Server) tooLarge() error {
	return &requestError{http.StatusRequestEntityTooLarge,
		fmt.Sprintf("value is too large: the body has more than %d bytes", s.maxBody)}
}

// readFailed says why the body did not come to its end. The answer has time; the rest of the body, which net/http
// waits for when it closes it, has none.
func (s *Server) readFailed(w http.ResponseWriter, err error) error {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	var limit *http.MaxBytesError // of a handler around this one
	switch {
	case errors.As(err, &limit):
		return &requestError{http.StatusRequestEntityTooLarge,
			fmt.Sprintf("value is too large: the body has more than %d bytes", limit.Limit)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &requestError{http.StatusRequestTimeout, "the body came too slowly; nothing was written"}
	}
	return &requestError{http.StatusBadRequest, cut("invalid JSON body: "+err.Error(), maxEchoBytes)}
}
