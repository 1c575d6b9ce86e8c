package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/tongpengdl/small-db/engine"
)

// Exit statuses.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2 // the command is wrong
	exitNotFound    = 3 // the key is not set
	exitCondition   = 4 // a condition does not hold, nothing was written
	exitCorrupt     = 5 // stored bytes are damaged
	exitUnavailable = 6 // the database cannot be had now: a server holds it, or none answers, or it does not serve
)

var (
	errUsage    = errors.New("usage")
	errNotFound = errors.New("key is not set")
	errDamaged  = errors.New("the database is damaged")
)

// exits maps errors to exit statuses. The first that matches counts: an outcome that is unknown
// stays so, whatever made it so.
var exits = []struct {
	err  error
	code int
}{
	{engine.ErrIndeterminate, exitError},
	{errUsage, exitUsage},
	{errNotFound, exitNotFound},
	{engine.ErrConditionFailed, exitCondition},
	{engine.ErrCorrupt, exitCorrupt},
	{engine.ErrNotBackup, exitCorrupt},
	{errDamaged, exitCorrupt},
	{engine.ErrLocked, exitUnavailable},
	{engine.ErrPoisoned, exitUnavailable},
}

// exitStatuses maps the status of a server's answer in the same way.
var exitStatuses = map[int]int{
	http.StatusConflict:           exitCondition,
	http.StatusPreconditionFailed: exitCondition,
	http.StatusServiceUnavailable: exitUnavailable,
	http.StatusBadGateway:         exitUnavailable, // a proxy that finds no server
}

func exitOf(err error) int {
	if err == nil {
		return exitOK
	}
	for _, e := range exits {
		if errors.Is(err, e.err) {
			return e.code
		}
	}
	if answer, ok := errors.AsType[*statusError](err); ok {
		if code, ok := exitStatuses[answer.status]; ok {
			return code
		}
		return exitError
	}
	if isDial(err) {
		return exitUnavailable
	}
	return exitError
}

// isDial reports whether there was no connection.
func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// usageError says what is wrong with a command.
type usageError struct{ text string }

func usage(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

func (e *usageError) Error() string        { return e.text }
func (e *usageError) Is(target error) bool { return target == errUsage }

// statusError is an answer of a server that is not a success.
type statusError struct {
	status   int
	text     string
	imported int64 // lines, by an import
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the server answers %d %s: %s", e.status, http.StatusText(e.status), e.text)
}

// partialError is a failure of something that had done a part of its work.
type partialError struct {
	imported int64 // lines
	err      error
}

func (e *partialError) Error() string { return e.err.Error() }
func (e *partialError) Unwrap() error { return e.err }

// complain prints an error: one line.
func (c *call) complain(err error) {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if errors.Is(err, context.Canceled) {
		text = strings.ReplaceAll(text, context.Canceled.Error(), "interrupted")
	}
	if !c.json {
		fmt.Fprintf(c.stderr, "%s: %s\n", name, text)
		return
	}
	said := struct {
		Error    string `json:"error"`
		Code     int    `json:"code"`
		Imported *int64 `json:"imported,omitempty"`
	}{Error: text, Code: exitOf(err)}
	if partial, ok := errors.AsType[*partialError](err); ok {
		said.Imported = &partial.imported
	}
	c.printJSON(c.stderr, said)
}

// note prints what is worth knowing and no failure.
func (c *call) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if c.json {
		c.printJSON(c.stderr, map[string]string{"note": text})
		return
	}
	fmt.Fprintf(c.stderr, "%s: note: %s\n", name, text)
}

// printJSON prints one line.
func (c *call) printJSON(w io.Writer, what any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(what)
}
