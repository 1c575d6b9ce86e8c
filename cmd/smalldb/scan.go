package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"io"
	"unicode/utf8"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/http"
)

func scanVerb() *verb {
	return &verb{
		name: "scan", summary: "print keys and values, in the order of the keys",
		details: "Each line is a key, a tab and a value. A key or value with other than printable characters, or with a quote in front,\n" +
			"is printed as a Go string literal. With -json lines are as export writes them.",
		prepare: func(c *call) func(context.Context) error {
			t, r := newTarget(c), newRange(c)
			keysOnly := c.flags.Bool("keys", false, "print keys only")
			c.flags.IntVar(&r.limit, "limit", 0, "print at most `n`; 0 means all")
			c.flags.BoolVar(&r.reverse, "reverse", false, "greatest key first")
			return func(ctx context.Context) error {
				keyRange, err := r.get()
				if err != nil {
					return err
				}
				return t.use(ctx, func(s store) error { return c.scan(ctx, s, keyRange, *keysOnly) })
			}
		},
	}
}

func (c *call) scan(ctx context.Context, s store, r keyRange, keysOnly bool) error {
	out := bufio.NewWriter(c.stdout)
	var line []byte
	err := s.scan(ctx, r, func(e engine.Entry) error {
		switch {
		case c.json && keysOnly:
			return c.printKey(out, e.Key)
		case c.json:
			line = http.AppendLine(line[:0], &e)
		default:
			line = appendField(line[:0], e.Key)
			if !keysOnly {
				line = appendField(append(line, '\t'), e.Value)
			}
			line = append(line, '\n')
		}
		_, err := out.Write(line)
		return err
	})
	if flushErr := out.Flush(); err == nil {
		err = flushErr
	}
	return err
}

// printKey prints a line that has no value.
func (c *call) printKey(w io.Writer, key []byte) error {
	line := struct {
		Key      string `json:"key"`
		Encoding string `json:"key_encoding,omitempty"`
	}{Key: string(key)}
	if !utf8.Valid(key) {
		line.Key, line.Encoding = base64.StdEncoding.EncodeToString(key), "base64"
	}
	return c.printJSON(w, line)
}
