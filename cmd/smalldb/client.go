package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tongpengdl/small-db/engine"
	kvhttp "github.com/tongpengdl/small-db/http"
)

// client is the store behind a server.
type client struct {
	base string // URL, without a slash at the end
	http *http.Client
}

// dialTimeout is how long a connection may take. After that, a server may take as long as it needs.
const dialTimeout = 10 * time.Second

// newClient takes host:port, or a URL, which may have a path below which the server is.
func newClient(addr string) (*client, error) {
	base := addr
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return nil, usage("-addr %q is neither host:port nor an http URL", addr)
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{strings.TrimRight(base, "/"), &http.Client{Transport: transport, CheckRedirect: stay}}, nil
}

func (c *client) close() error {
	c.http.CloseIdleConnections()
	return nil
}

func (c *client) keys() int64 { return 0 }

// do sends a request. An answer that is not 200 is a *statusError.
func (c *client) do(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, withoutURL(ctx, err)
	}
	if answer.StatusCode != http.StatusOK {
		defer answer.Body.Close()
		return nil, readFailure(answer)
	}
	return answer.Body, nil
}

// withoutURL takes the method and URL, which hold the whole key, from an error of net/http.
func withoutURL(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// maxErrorText bounds what is read of the text of an error, in bytes.
const maxErrorText = 4 << 10

// readFailure is an answer that is not a success.
func readFailure(answer *http.Response) *statusError {
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxErrorText))
	failure := &statusError{status: answer.StatusCode, text: strconv.Quote(string(bytes.TrimSpace(text)))}
	var said struct {
		Error, Reason string
		Imported      int64
	}
	if json.Unmarshal(text, &said) == nil && said.Error+said.Reason != "" {
		failure.text, failure.imported = said.Error+said.Reason, said.Imported
	}
	return failure
}

// keyPath is the path of a key. All but letters, digits, - and _ are encoded, so that nobody on the way
// finds anything to clean.
func keyPath(key []byte) string {
	path := []byte("/v1/kv/")
	for _, b := range key {
		if b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_' {
			path = append(path, b)
		} else {
			path = fmt.Appendf(path, "%%%02X", b)
		}
	}
	return string(path)
}

func (c *client) get(ctx context.Context, key []byte) ([]byte, bool, error) {
	body, err := c.do(ctx, http.MethodGet, keyPath(key), nil)
	if answer, ok := errors.AsType[*statusError](err); ok && answer.isNotFound() {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer body.Close()
	var said struct {
		Value []byte `json:"value"`
	}
	if err := json.NewDecoder(body).Decode(&said); err != nil {
		return nil, false, fmt.Errorf("the server's answer: %w", err)
	}
	return said.Value, true, nil
}

// isNotFound tells a key that is not set from a path that is not there.
func (e *statusError) isNotFound() bool {
	return e.status == http.StatusNotFound && strings.HasPrefix(e.text, "key not found")
}

// entry asks for the range of one key, since that has the deadline.
func (c *client) entry(ctx context.Context, key []byte) (found engine.Entry, ok bool, err error) {
	only := keyRange{start: key, end: append(bytes.Clone(key), 0), limit: 1}
	err = c.scan(ctx, only, func(e engine.Entry) error {
		found, ok = engine.Entry{Key: bytes.Clone(e.Key), Value: bytes.Clone(e.Value), Deadline: e.Deadline}, true
		return nil
	})
	return found, ok, err
}

var errNoConditions = usage("conditions go with -dir only: the server has no way to say them yet")

func (c *client) set(ctx context.Context, key, value []byte, deadline time.Time, when conditions) (engine.Version, error) {
	if when.any() {
		return engine.Version{}, errNoConditions
	}
	line := kvhttp.AppendLine(nil, &engine.Entry{Key: key, Value: value, Deadline: deadline})
	if !deadline.IsZero() {
		return engine.Version{}, c.send(ctx, http.MethodPost, "/v1/import", line)
	}
	body, err := json.Marshal(struct {
		Value    []byte `json:"value"`
		Encoding string `json:"encoding"`
	}{value, "base64"})
	if err != nil {
		return engine.Version{}, err
	}
	return engine.Version{}, c.send(ctx, http.MethodPut, keyPath(key), body)
}

func (c *client) delete(ctx context.Context, key []byte, when conditions) (engine.Version, error) {
	if when.any() {
		return engine.Version{}, errNoConditions
	}
	return engine.Version{}, c.send(ctx, http.MethodDelete, keyPath(key), nil)
}

// send sends a request whose answer says nothing but that it was done.
func (c *client) send(ctx context.Context, method, path string, body []byte) error {
	answer, err := c.do(ctx, method, path, bytes.NewReader(body))
	if err != nil {
		return maybeDone(err)
	}
	defer answer.Close()
	_, err = io.Copy(io.Discard, answer)
	return maybeDone(err)
}

// maybeDone adds to the error of a write that it may have been done, unless the server has said what happened, or
// never got it.
func maybeDone(err error) error {
	_, answered := errors.AsType[*statusError](err)
	if err == nil || answered || isDial(err) {
		return err
	}
	return fmt.Errorf("%w; what was sent may have been written or not", err)
}
