package http_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
	kvhttp "github.com/tongpengdl/small-db/http"
)

// TestErrorsOfTheStore gives each error to each route that can meet it.
func TestErrorsOfTheStore(t *testing.T) {
	const advice = "; the write may be there or not: read before writing again"
	corruption := &format.CorruptionError{File: "checkpoint.3", Offset: 8192, Err: format.ErrChecksum}
	for _, row := range []struct {
		err    error
		status int
		want   string
	}{
		{engine.ErrClosed, 503, "database is closed"},
		{engine.ErrPoisoned, 503, "log failed earlier, database is read-only until it is opened again"},
		{fmt.Errorf("set: %w: %w", engine.ErrPoisoned, io.ErrShortWrite), 503, "set: log failed earlier, database is read-only until it is opened again: short write"},
		{fmt.Errorf("%w: logfile.9", engine.ErrDiskFull), 507, "disk is full: logfile.9"},
		{fmt.Errorf("%w: %w", engine.ErrIndeterminate, context.Canceled), 504, "outcome unknown: context canceled" + advice},
		{fmt.Errorf("%w: %w", engine.ErrIndeterminate, engine.ErrDiskFull), 504, "outcome unknown: disk is full" + advice},
		{fmt.Errorf("%w: %w", engine.ErrPoisoned, engine.ErrIndeterminate), 504, "log failed earlier, database is read-only until it is opened again: outcome unknown" + advice},
		{engine.ErrFull, 507, "memory limit is reached"},
		{fmt.Errorf("%w: condition 0", engine.ErrConditionFailed), 412, "condition failed: condition 0"},
		{&engine.ConditionError{Key: []byte("k"), Want: "it set", Found: "nothing"}, 412, `condition failed: condition 0: key \"k\": want it set, found nothing`},
		{engine.ErrConflict, 409, "transaction conflicts with other writes"},
		{engine.ErrDeadline, 400, engine.ErrDeadline.Error()},
		{engine.ErrValueTooLarge, 413, "value is too large"},
		{engine.ErrKeyTooLarge, 414, "key is too large"},
		{engine.ErrKeyEmpty, 400, "key is empty"},
		{corruption, 500, corruption.Error()},
		{fmt.Errorf("get: %w", corruption), 500, "get: " + corruption.Error()},
		{errors.New(`a "new" <kind>`), 500, `a \"new\" \u003ckind\u003e`},
	} {
		store := newStore()
		store.readErr, store.writeErr, store.checkpointErr = row.err, row.err, row.err
		server := kvhttp.NewServer(store, kvhttp.Options{})
		for _, request := range [][3]string{
			{"GET", "/v1/kv/k"}, {"PUT", "/v1/kv/k", `{"value":"eA=="}`}, {"DELETE", "/v1/kv/k"}, {"POST", "/v1/checkpoint"},
		} {
			got := call(server, request[0], request[1], request[2])
			assert.Equal(t, answered{row.status, got.header, `{"error":"` + row.want + `"}` + "\n"}, got, "%s: %v", request[0], row.err)
			assert.Equal(t, []string{"application/json"}, got.header["Content-Type"])
		}
	}
}

// TestWhatWaitedTooLong: a context that ended before the store took a write has changed nothing.
func TestWhatWaitedTooLong(t *testing.T) {
	const write = "the write waited too long; nothing was written"
	for _, err := range []error{context.DeadlineExceeded, fmt.Errorf("queue: %w", context.Canceled)} {
		store := newStore()
		store.writeErr, store.checkpointErr = err, err
		server := kvhttp.NewServer(store, kvhttp.Options{})
		for _, row := range [][4]string{
			{"PUT", "/v1/kv/k", `{"value":"eA=="}`, write},
			{"DELETE", "/v1/kv/k", "", write},
			{"POST", "/v1/checkpoint", "", "the request waited too long for the checkpoint, which may complete all the same"},
		} {
			got := call(server, row[0], row[1], row[2])
			assert.Equal(t, answered{503, got.header, `{"error":"` + row[3] + `"}` + "\n"}, got, "%s: %v", row[0], err)
		}
	}
}

// TestHealthAfterDamage: damage turns health red; a failure of the log is the graver reason.
func TestHealthAfterDamage(t *testing.T) {
	store := newStore()
	store.stats.Scrub.Damage = errors.New("checkpoint.2: bad checksum")
	server := kvhttp.NewServer(store, kvhttp.Options{})
	got := call(server, "GET", "/v1/health", "")
	assert.Equal(t, answered{503, got.header, `{"ok":false,"reason":"checkpoint.2: bad checksum"}` + "\n"}, got)
	store.stats.Damage = errors.New("checkpoint.3: bad checksum")
	got = call(server, "GET", "/v1/health", "")
	assert.Equal(t, answered{503, got.header, `{"ok":false,"reason":"checkpoint.3: bad checksum"}` + "\n"}, got)
	store.stats.Failure = errors.New("logfile.4: input/output error")
	got = call(server, "GET", "/v1/health", "")
	assert.Equal(t, answered{503, got.header, `{"ok":false,"reason":"logfile.4: input/output error"}` + "\n"}, got)
}

func TestHealthOfAFailedStore(t *testing.T) {
	store := newStore()
	store.stats.Failure = errors.New("logfile.4: input/output error <EIO>")
	got := call(kvhttp.NewServer(store, kvhttp.Options{}), "GET", "/v1/health", "")
	assert.Equal(t, answered{503, got.header, `{"ok":false,"reason":"logfile.4: input/output error \u003cEIO\u003e"}` + "\n"}, got)
	assert.Equal(t, []string{"application/json"}, got.header["Content-Type"])
}
