package main

import (
	"context"
	"fmt"
)

func exportVerb() *verb {
	return &verb{
		name: "export", args: "[FILE|-]", max: 1, long: true, summary: "write keys, values and deadlines as lines of JSON",
		details: "The lines are one consistent state, in the order of the keys: {\"key\",\"value\",\"encoding\",\"expires_at\"?,\"key_encoding\"?}.\n" +
			"A file takes its name only when it is complete; one that is replaced keeps its permissions. What a server sends is verified line\n" +
			"by line. Without a file, standard output (-).",
		prepare: func(c *call) func(context.Context) error {
			t, r := newTarget(c), newRange(c)
			return func(ctx context.Context) error {
				keyRange, err := r.get()
				if err != nil {
					return err
				}
				if err := t.refuseOutput(c.outputName()); err != nil {
					return err
				}
				return t.use(ctx, func(s store) error { return c.export(ctx, s, keyRange) })
			}
		},
	}
}

// outputName is the file that the first argument names.
func (c *call) outputName() string {
	if len(c.args) == 0 {
		return "-"
	}
	return c.args[0]
}

func (c *call) export(ctx context.Context, s store, r keyRange) error {
	out, err := c.createOutput(ctx, c.outputName())
	if err != nil {
		return err
	}
	total := s.keys()
	if r.start != nil || r.end != nil {
		total = 0
	}
	p := c.progress("export", "keys", total)
	n, err := s.export(ctx, r, out, p)
	p.end()
	if err := out.finish(err); err != nil {
		return c.unfinished(out, err)
	}
	return c.wrote(out, count(n, "key"), struct {
		Keys  int64  `json:"keys"`
		Bytes int64  `json:"bytes"`
		File  string `json:"file"`
	}{n, out.bytes, out.name})
}

// unfinished says what there is of an output that failed.
func (c *call) unfinished(out *output, err error) error {
	if !out.isFile() {
		return fmt.Errorf("%w; what was written to standard output is incomplete", err)
	}
	return fmt.Errorf("%w; %s was not written", err, out.name)
}

// wrote says what is in a file. With standard output, that is what it says.
func (c *call) wrote(out *output, what string, said any) error {
	switch {
	case !out.isFile():
		return nil
	case c.json:
		return c.printJSON(c.stdout, said)
	}
	return c.say("%s in %s, %s", what, out.name, byteText(out.bytes))
}
