package main

import (
	"context"
	"fmt"
)

func importVerb() *verb {
	return &verb{
		name: "import", args: "[FILE|-]", max: 1, long: true, summary: "set keys as lines of JSON say",
		details: "Lines are as export writes them. Of two lines with the same key the later one wins. A line that cannot be read ends it:\n" +
			"what the lines before it say has been done. After another failure the message says how many of the first lines are in for\n" +
			"sure; later ones may be, too, and to repeat the import is harmless. Without a file, standard input (-).",
		prepare: func(c *call) func(context.Context) error {
			t := newTarget(c).mayWrite()
			return func(ctx context.Context) error { return c.runImport(ctx, t) }
		},
	}
}

func (c *call) runImport(ctx context.Context, t *target) error {
	if err := t.choose(); err != nil {
		return err
	}
	in, err := c.openInput(ctx, c.outputName())
	if err != nil {
		return err
	}
	defer in.close()
	var lines int64
	err = t.use(ctx, func(s store) error {
		p := c.progress("import", "lines", in.size)
		defer p.end()
		var err error
		lines, err = s.load(ctx, in, p)
		return err
	})
	if err != nil {
		err = fmt.Errorf("import of %s: %w", in.name, err)
	}
	if err != nil && lines >= 0 {
		return &partialError{lines, err}
	}
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(c.stdout, struct {
			Imported int64 `json:"imported"`
		}{lines})
	}
	return c.say("%s imported from %s", count(lines, "line"), in.name)
}
