package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tongpengdl/small-db/engine"
	kvhttp "github.com/tongpengdl/small-db/http"
)

// client is the store behind a server.
type client struct {
	base    string // URL, without a slash at the end
	http    *http.Client
	silence time.Duration // how long the server may say nothing when it is its turn; 0 means for ever
}

const (
	// dialTimeout is how long a connection may take.
	dialTimeout = 10 * time.Second
	// defaultSilence is longer than a server takes to refuse what it has no room for.
	defaultSilence = 60 * time.Second
)

// newClient takes host:port, or a URL, which may have a path below which the server is.
func newClient(addr string, silence time.Duration) (*client, error) {
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
		ResponseHeaderTimeout: silence, // counts from the end of the request: an upload may take its time
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{strings.TrimRight(base, "/"), &http.Client{Transport: transport, CheckRedirect: stay}, silence}, nil
}

func (c *client) close() error {
	c.http.CloseIdleConnections()
	return nil
}

func (c *client) keys() int64 { return 0 }

// do sends a request. An answer that is not 200 is a *statusError, one that is not of the wanted type another error.
func (c *client) do(ctx context.Context, method, path string, content io.Reader, wanted string) (*body, error) {
	inner, stop := context.WithCancelCause(ctx)
	request, err := http.NewRequestWithContext(inner, method, c.base+path, content)
	if err != nil {
		stop(nil)
		return nil, err
	}
	answer, err := c.http.Do(request)
	if err != nil {
		stop(nil)
		return nil, withoutURL(ctx, err)
	}
	b := &body{ReadCloser: answer.Body, ctx: ctx, stop: stop, silence: c.silence,
		silent: func() bool { return errors.Is(context.Cause(inner), errSilent) }}
	if answer.StatusCode != http.StatusOK {
		err = readFailure(answer, b)
	} else {
		err = checkAnswer(answer, wanted)
	}
	if err != nil {
		_ = b.Close()
		return nil, err
	}
	return b, nil
}

// withoutURL takes the method and URL, which hold the whole key, from an error of net/http.
func withoutURL(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	u, ok := errors.AsType[*url.Error](err)
	switch {
	case ok && u.Timeout() && !isDial(err):
		return errSilent
	case ok:
		return u.Err
	}
	return err
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
	answer, err := c.do(ctx, http.MethodGet, keyPath(key), nil, typeJSON)
	if failure, ok := errors.AsType[*statusError](err); ok && failure.isNotFound() {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer answer.Close()
	var said struct {
		Key         *string
		KeyEncoding string `json:"key_encoding"`
		Value       *string
		Encoding    string
	}
	if err := readJSON(answer, maxValueAnswer, &said); err != nil {
		return nil, false, err
	}
	if said.Key == nil || said.Value == nil || said.Encoding != "base64" {
		return nil, false, fmt.Errorf("%w: it has no key, or no value in base64", errStranger)
	}
	found := []byte(*said.Key)
	if said.KeyEncoding == "base64" {
		found, err = base64.StdEncoding.Strict().DecodeString(*said.Key)
	}
	if err != nil || !bytes.Equal(found, key) {
		return nil, false, fmt.Errorf("%w: it is about another key, %.200q", errStranger, *said.Key)
	}
	value, err := base64.StdEncoding.Strict().DecodeString(*said.Value)
	if err != nil {
		return nil, false, fmt.Errorf("%w: its value: %w", errStranger, err)
	}
	return value, true, nil
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
		_, err := c.load(ctx, bytes.NewReader(line), nil)
		if failure, ok := errors.AsType[*statusError](err); ok && !errors.Is(err, errMaybeDone) {
			err = failure // without a word of lines
		}
		return engine.Version{}, err
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
func (c *client) send(ctx context.Context, method, path string, content []byte) error {
	answer, err := c.do(ctx, method, path, bytes.NewReader(content), typeJSON)
	if err != nil {
		return maybeDone(err)
	}
	defer answer.Close()
	var said struct{ OK bool }
	if err := readJSON(answer, maxShortAnswer, &said); err != nil {
		return maybeDone(err)
	}
	if !said.OK {
		return maybeDone(fmt.Errorf("%w: it does not say ok", errStranger))
	}
	return nil
}

// errMaybeDone is what is known of a write that nobody answered for.
var errMaybeDone = errors.New("what was sent may have been written or not")

// maybeDone adds to the error of a write that it may have been done, unless the server has said what happened, or
// never got it.
func maybeDone(err error) error {
	_, answered := errors.AsType[*statusError](err)
	if err == nil || answered || isDial(err) {
		return err
	}
	return fmt.Errorf("%w; %w", err, errMaybeDone)
}
