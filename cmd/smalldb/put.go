package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/tongpengdl/small-db/format"
)

func putVerb() *verb {
	return &verb{
		name: "put", args: "KEY VALUE|@FILE|-", min: 2, max: 2, summary: "set a key to a value, to what a file holds, or to standard input (-)",
		details: "It returns when the value is durable. A condition that does not hold is exit status 4; conditions go with -dir only.\n" +
			"A value that begins with a dash comes after --, one that begins with @ needs -literal.",
		prepare: func(c *call) func(context.Context) error {
			p := &putting{c: c, target: newTarget(c).mayCreate(), keys: newKeys(c), when: newConditions(c, false)}
			p.target.small = true
			c.flags.DurationVar(&p.ttl, "ttl", 0, "how `long` until it expires, as 90s or 10m, by the clock here")
			c.flags.StringVar(&p.expiresAt, "expires-at", "", "`time` at which it expires, as 2030-01-31T00:00:00Z")
			c.flags.BoolVar(&p.literal, "literal", false, "take VALUE as it is, even - and @FILE")
			return p.run
		},
	}
}

// putting is one put.
type putting struct {
	c         *call
	target    *target
	keys      *keys
	when      *conditions
	ttl       time.Duration
	expiresAt string
	literal   bool
}

func (p *putting) run(ctx context.Context) error {
	if err := p.target.choose(); err != nil {
		return err
	}
	key, err := p.keys.key(p.c.args[0])
	if err != nil {
		return err
	}
	deadline, err := p.deadline()
	if err != nil {
		return err
	}
	value, err := p.value(ctx, p.c.args[1])
	if err != nil {
		return err
	}
	return p.target.use(ctx, func(s store) error {
		version, err := s.set(ctx, key, value, deadline, *p.when)
		return p.c.written(version, err)
	})
}

// deadline is zero if there is none.
func (p *putting) deadline() (time.Time, error) {
	switch {
	case p.c.given("ttl") && p.expiresAt != "":
		return time.Time{}, usage("-ttl does not go with -expires-at")
	case p.c.given("ttl") && p.ttl <= 0:
		return time.Time{}, usage("-ttl %v is not positive", p.ttl)
	case p.c.given("ttl"):
		return p.c.now().Add(p.ttl), nil
	case p.expiresAt == "":
		return time.Time{}, nil
	}
	deadline, err := time.Parse(time.RFC3339Nano, p.expiresAt)
	if err != nil {
		return time.Time{}, usage("-expires-at %q is no time such as 2030-01-31T00:00:00Z", p.expiresAt)
	}
	return deadline, nil
}

// value reads what the argument stands for.
func (p *putting) value(ctx context.Context, arg string) ([]byte, error) {
	file, isFile := strings.CutPrefix(arg, "@")
	switch {
	case p.literal:
		return []byte(arg), nil
	case arg == "-":
		return readValue(withContext(ctx, p.c.stdin), "standard input")
	case !isFile:
		return []byte(arg), nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readValue(withContext(ctx, f), file)
}

// readValue reads all of r, but not much more than a value may have.
func readValue(r io.Reader, from string) ([]byte, error) {
	value, err := io.ReadAll(io.LimitReader(r, format.MaxValueLen+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", from, err)
	case len(value) > format.MaxValueLen:
		return nil, fmt.Errorf("%s is too large for a value, which has at most %d bytes", from, format.MaxValueLen)
	}
	return value, nil
}
