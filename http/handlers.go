package http

import (
	"cmp"
	"context"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tongpengdl/small-db/format"
)

// keyPrefix is where the keys live.
const keyPrefix = "/v1/kv/"

// What a header holds is shared by all answers: net/http does not change it.
var (
	contentTypeJSON  = []string{"application/json"}
	contentTypeLines = []string{"application/x-ndjson"}
	contentTypeBytes = []string{"application/octet-stream"}

	connectionClose = []string{"close"}
	retryAfter      = []string{"1"} // seconds

	allowGet  = []string{http.MethodGet}
	allowPost = []string{http.MethodPost}
	allowKey  = []string{"GET, PUT, DELETE"}
)

// ServeHTTP answers one request. There is no ServeMux: it would clean paths and redirect. URL.Path is
// the path of the request target, percent-decoded once and otherwise as it came. A %2F is not a
// separator, so the prefix must be there before decoding, too: in RawPath or, where that is empty,
// in Path, whose slashes then all came as slashes.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	if key, ok := strings.CutPrefix(r.URL.Path, keyPrefix); ok && strings.HasPrefix(path, keyPrefix) {
		sc := takeScratch()
		sc.key = append(sc.key[:0], key...)
		s.serveKey(w, r, sc)
		sc.giveBack()
		return
	}
	switch path {
	case "/v1/health":
		if allowed(w, r, allowGet) {
			s.health(w)
		}
	case "/v1/role":
		if allowed(w, r, allowGet) {
			s.answerRole(w)
		}
	case "/v1/checkpoint":
		if allowed(w, r, allowPost) {
			s.checkpoint(w, r)
		}
	case "/v1/export":
		if allowed(w, r, allowGet) {
			s.export(w, r)
		}
	case "/v1/import":
		if allowed(w, r, allowPost) {
			s.importLines(w, r)
		}
	case "/v1/backup":
		if allowed(w, r, allowGet) {
			s.backup(w, r)
		}
	default:
		answerText(w, http.StatusNotFound,
			"no such route; there are /v1/health, /v1/role, /v1/checkpoint, /v1/export, /v1/import, /v1/backup and "+keyPrefix+"{key}")
	}
}

// allowed reports whether the method of r is the only one in allow, and answers if it is not.
func allowed(w http.ResponseWriter, r *http.Request, allow []string) bool {
	if r.Method == allow[0] {
		return true
	}
	answerNotAllowed(w, allow)
	return false
}

// serveKey answers a request for the key in sc.
func (s *Server) serveKey(w http.ResponseWriter, r *http.Request, sc *scratch) {
	if len(sc.key) == 0 {
		answerText(w, http.StatusBadRequest, "key is required")
		return
	}
	if len(sc.key) > format.MaxKeyLen {
		answerText(w, http.StatusRequestURITooLong,
			"key is too large: "+strconv.Itoa(len(sc.key))+" bytes, at most "+strconv.Itoa(format.MaxKeyLen))
		return
	}
	switch r.Method {
	case http.MethodGet:
		s.get(w, sc)
	case http.MethodPut:
		s.set(w, r, sc)
	case http.MethodDelete:
		s.delete(w, r, sc)
	default:
		answerNotAllowed(w, allowKey)
	}
}

// get copies the value before it writes to the socket: a slow client holds no part of the store.
func (s *Server) get(w http.ResponseWriter, sc *scratch) {
	var ok bool
	var err error
	sc.value, ok, err = s.store.AppendGet(sc.value[:0], sc.key)
	switch {
	case err != nil:
		answerError(w, err, "")
		return
	case !ok:
		answerText(w, http.StatusNotFound, "key not found: "+keyText(sc.key))
		return
	}
	if len(sc.value) > smallBodyBytes {
		s.answerLarge(w, sc)
		return
	}
	sc.text = appendEntry(sc.text[:0], sc.key, sc.value)
	answer(w, http.StatusOK, sc.text)
}

// answerLarge sends what appendEntry appends, through a small buffer. While it does, the value counts as a large body: the client
// may take its time.
func (s *Server) answerLarge(w http.ResponseWriter, sc *scratch) {
	defer s.bodies.release(sc)
	if err := s.bodies.hold(sc, min(int64(len(sc.value)), s.maxBody)); err != nil { // so much always fits
		sc.value = nil
		answerError(w, err, "")
		return
	}
	out := newSender(w, sc)
	front, end := appendEntryFront(sc.text, sc.key)
	length := len(front) + base64.StdEncoding.EncodedLen(len(sc.value)) + len(end)
	if length > pieceBytes {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout + pieceTime(length)))
	}
	w.Header()["Content-Type"] = contentTypeJSON
	w.Header()["Content-Length"] = []string{strconv.Itoa(length)}
	sc.text = front
	if err := out.base64(sc.value); err != nil {
		return // the client is gone
	}
	sc.text = append(sc.text, end...)
	_ = out.send()
}

func (s *Server) set(w http.ResponseWriter, r *http.Request, sc *scratch) {
	defer s.bodies.release(sc)
	if err := s.readBody(w, r, sc); err != nil {
		answerUnread(w, err)
		return
	}
	value, err := sc.decodeBody()
	if err != nil {
		answerError(w, err, "")
		return
	}
	ctx, cancel := writing(w, r)
	defer cancel()
	if _, err := s.store.Set(ctx, sc.key, value); err != nil {
		answerError(w, err, writeWaited)
		return
	}
	answer(w, http.StatusOK, bodyOK)
}

func (s *Server) delete(w http.ResponseWriter, r *http.Request, sc *scratch) {
	ctx, cancel := writing(w, r)
	defer cancel()
	if _, err := s.store.Delete(ctx, sc.key); err != nil {
		answerError(w, err, writeWaited)
		return
	}
	answer(w, http.StatusOK, bodyOK)
}

// writing is the context of a write: that of its request, for readTimeout. A plainConn sees to that by itself.
func writing(w http.ResponseWriter, r *http.Request) (context.Context, context.CancelFunc) {
	if _, plain := w.(*plainAnswer); plain {
		return r.Context(), func() {}
	}
	return context.WithTimeout(r.Context(), readTimeout)
}

// checkpoint takes as long as it takes, while the client stays.
func (s *Server) checkpoint(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	err := s.store.Checkpoint(r.Context())
	renewDeadlines(w)
	if err != nil {
		answerError(w, err, checkpointWaited)
		return
	}
	answer(w, http.StatusOK, bodyOK)
}

func (s *Server) health(w http.ResponseWriter) {
	stats := s.store.Stats()
	if failure := cmp.Or(stats.Failure, stats.Damage, stats.Scrub.Damage); failure != nil {
		answer(w, http.StatusServiceUnavailable, appendField(nil, `{"ok":false,"reason":`, failure.Error()))
		return
	}
	answer(w, http.StatusOK, bodyOK)
}

func (s *Server) answerRole(w http.ResponseWriter) {
	answer(w, http.StatusOK, appendField(nil, `{"role":`, s.role()))
}

// pieceTime is how much longer n bytes may take than few do.
func pieceTime(n int) time.Duration { return time.Duration(n/pieceBytes) * timePerPiece }

// renewDeadlines gives a request that has taken long the time that a new one has. Where a deadline
// cannot be set (a test, HTTP behind something else) there is none to renew.
func renewDeadlines(w http.ResponseWriter) {
	now, control := time.Now(), http.NewResponseController(w)
	_ = control.SetReadDeadline(now.Add(readTimeout))
	_ = control.SetWriteDeadline(now.Add(writeTimeout))
}
