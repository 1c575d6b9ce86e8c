package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
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
			p := &putting{c: c, target: newTarget(c).mayWrite(), keys: newKeys(c), when: newConditions(c, false)}
			p.target.small = true
			c.flags.Func("ttl", "the `duration` until it expires, as 90s or 10m, by the clock here", p.setTTL)
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
	if err := p.when.check(); err != nil {
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

func (p *putting) setTTL(text string) error {
	ttl, err := time.ParseDuration(text)
	if _, numberErr := strconv.ParseFloat(text, 64); err != nil && numberErr == nil {
		return fmt.Errorf("a unit is needed, as %ss", text)
	}
	if err != nil {
		return errors.New("it is no duration, as 90s or 10m")
	}
	p.ttl = ttl
	return nil
}

// What a deadline may be: see engine.ErrDeadline.
var (
	firstDeadline = time.Unix(0, 1)
	lastDeadline  = time.Unix(0, math.MaxInt64)
)

// deadline is zero if there is none.
func (p *putting) deadline() (time.Time, error) {
	switch {
	case p.c.given("ttl") && p.expiresAt != "":
		return time.Time{}, usage("-ttl does not go with -expires-at")
	case p.c.given("ttl") && p.ttl <= 0:
		return time.Time{}, usage("-ttl %v is not positive", p.ttl)
	case p.c.given("ttl"):
		return inRange(p.c.now().Add(p.ttl), "-ttl", p.ttl)
	case p.expiresAt == "":
		return time.Time{}, nil
	}
	deadline, err := time.Parse(time.RFC3339Nano, p.expiresAt)
	if err != nil {
		return time.Time{}, usage("-expires-at %q is no time such as 2030-01-31T00:00:00Z", p.expiresAt)
	}
	return inRange(deadline, "-expires-at", p.expiresAt)
}

func inRange(deadline time.Time, flagName string, given any) (time.Time, error) {
	if deadline.Before(firstDeadline) || deadline.After(lastDeadline) {
		return time.Time{}, usage("%s %v is out of range: a key can expire from 1970 to %s", flagName, given, lastDeadline.UTC().Format(time.DateOnly))
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
		return p.read(withContext(ctx, p.c.stdin), "standard input")
	case !isFile:
		return []byte(arg), nil
	}
	f, err := openFile(ctx, file, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return p.read(withContext(ctx, f), file)
}

// read reads all of r, but not much more than a value may have. A server has a limit of its own.
func (p *putting) read(r io.Reader, from string) ([]byte, error) {
	limit := p.target.maxValue
	if p.target.addr != "" {
		limit = format.MaxValueLen
	}
	value, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", from, err)
	case len(value) > limit:
		return nil, fmt.Errorf("%s is too large for a value, which has at most %d bytes (-max-value-bytes)", from, limit)
	}
	return value, nil
}
