package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

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
	{errMaybeDone, exitError},
	{errUsage, exitUsage},
	{errNotFound, exitNotFound},
	{engine.ErrConditionFailed, exitCondition},
	{engine.ErrCorrupt, exitCorrupt},
	{engine.ErrNotBackup, exitCorrupt},
	{errDamaged, exitCorrupt},
	{engine.ErrLocked, exitUnavailable},
	{engine.ErrPoisoned, exitUnavailable},
	{errSilent, exitUnavailable},
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
	text = printable(text)
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
	text := printable(fmt.Sprintf(format, args...))
	if c.json {
		c.printJSON(c.stderr, map[string]string{"note": text})
		return
	}
	fmt.Fprintf(c.stderr, "%s: note: %s\n", name, text)
}

// say prints a result for people: one line.
func (c *call) say(format string, args ...any) error {
	_, err := fmt.Fprintln(c.stdout, printable(fmt.Sprintf(format, args...)))
	return err
}

// printable is text in which only printable characters are as they are: what a file, a server or an argument names must not
// move the cursor of a terminal, or turn round what stands there. The others are escaped as in Go source.
func printable(text string) string {
	clean := func(r rune) bool { return r != utf8.RuneError && unicode.IsPrint(r) }
	if strings.IndexFunc(text, func(r rune) bool { return !clean(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		if clean(r) {
			b.WriteString(text[:n])
		} else {
			quoted := strconv.Quote(text[:n])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		text = text[n:]
	}
	return b.String()
}

// count is so many of something in words.
func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// printJSON prints one line.
func (c *call) printJSON(w io.Writer, what any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(what)
}
