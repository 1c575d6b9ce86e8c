package main

import (
	"context"
	"fmt"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/http"
)

func getVerb() *verb {
	return &verb{
		name: "get", args: "KEY", min: 1, max: 1, summary: "print the value of a key",
		details: "The value is printed as it is; on a terminal a newline follows. With -json it is a line as export writes it, and\n" +
			"with -dir that tells the version, too. A key that is not set is exit status 3.",
		prepare: func(c *call) func(context.Context) error {
			t, k := newTarget(c), newKeys(c)
			return func(ctx context.Context) error {
				key, err := k.key(c.args[0])
				if err != nil {
					return err
				}
				return t.use(ctx, func(s store) error { return c.get(ctx, s, key) })
			}
		},
	}
}

func (c *call) get(ctx context.Context, s store, key []byte) error {
	if c.json {
		return c.getLine(ctx, s, key)
	}
	value, ok, err := s.get(ctx, key)
	switch {
	case err != nil:
		return err
	case !ok:
		return notFound(key)
	}
	if c.isTerminal(c.stdout) {
		value = append(value, '\n')
	}
	_, err = c.stdout.Write(value)
	return err
}

func (c *call) getLine(ctx context.Context, s store, key []byte) error {
	e, ok, err := s.entry(ctx, key)
	switch {
	case err != nil:
		return err
	case !ok:
		return notFound(key)
	}
	line := http.AppendLine(nil, &e)
	if e.Version != (engine.Version{}) {
		const end = "}\n"
		line = fmt.Appendf(line[:len(line)-len(end)], `,"version":%q`+end, e.Version)
	}
	_, err = c.stdout.Write(line)
	return err
}

// maxKeyEcho bounds the bytes of a key in an error.
const maxKeyEcho = 200

func notFound(key []byte) error {
	if len(key) > maxKeyEcho {
		return fmt.Errorf("%w: %q and %d bytes more", errNotFound, key[:maxKeyEcho], len(key)-maxKeyEcho)
	}
	return fmt.Errorf("%w: %s", errNotFound, appendField(nil, key))
}
