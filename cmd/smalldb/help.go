package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// verb is one of the things that the program does.
type verb struct {
	name     string
	args     string // as help shows them
	min, max int    // how many they are
	summary  string // one line, without a full stop
	details  string // whole sentences
	long     bool   // may take long, so it shows progress

	// prepare adds the flags of the verb and returns what it does once they are parsed.
	prepare func(*call) func(context.Context) error
}

// verbs returns them all, in the order in which help lists them.
func verbs() []*verb {
	return []*verb{
		getVerb(), putVerb(), delVerb(), scanVerb(), importVerb(), exportVerb(), backupVerb(), restoreVerb(),
		checkVerb(), dumpVerb(), tortureVerb(), migrateVerb(), versionVerb(), helpVerb(),
	}
}

// findVerb returns nil if there is no such verb.
func findVerb(name string) *verb {
	all := verbs()
	i := slices.IndexFunc(all, func(v *verb) bool { return v.name == name })
	if i < 0 {
		return nil
	}
	return all[i]
}

func helpVerb() *verb {
	return &verb{
		name: "help", args: "[VERB]", max: 1, summary: "say what the verbs do, or one of them",
		prepare: func(c *call) func(context.Context) error {
			return func(context.Context) error { return c.help() }
		},
	}
}

func (c *call) help() error {
	if len(c.args) == 0 && c.json {
		return c.listVerbs()
	}
	if len(c.args) == 0 {
		return c.printOverview(c.stdout)
	}
	v := findVerb(c.args[0])
	if v == nil {
		return usage("there is no verb %q", c.args[0])
	}
	about := &call{program: c.program}
	about.prepare(v)
	return about.printVerb(c.stdout, v)
}

func (c *call) listVerbs() error {
	type line struct {
		Verb    string `json:"verb"`
		Args    string `json:"args,omitempty"`
		Summary string `json:"summary"`
	}
	var lines []line
	for _, v := range verbs() {
		lines = append(lines, line{v.name, v.args, v.summary})
	}
	return c.printJSON(c.stdout, map[string]any{"verbs": lines})
}

const overviewEnd = `
Most verbs take -dir DIRECTORY, which no server may have open, or -addr HOST:PORT of a server. Without either,
SMALLDB_DIR or SMALLDB_ADDR counts. Flags may come before and after other arguments; after -- there are none.
"%[1]s VERB -h" tells the rest.

Exit status: 0 well, 1 error, 2 wrong command, 3 key is not set, 4 condition does not hold, 5 damaged, 6 not
available now (a server holds the directory, or none answers).
`

func (c *call) printOverview(w io.Writer) error {
	text := fmt.Appendf(nil, "Usage: %s VERB [flags] [arguments]\n\n", name)
	for _, v := range verbs() {
		text = fmt.Appendf(text, "  %-8s %s\n", v.name, v.summary)
	}
	_, err := w.Write(fmt.Appendf(text, overviewEnd, name))
	return err
}

// printVerb prints the help of the verb that c was prepared for.
func (c *call) printVerb(w io.Writer, v *verb) error {
	line := strings.TrimSpace(v.name + " [flags] " + v.args)
	text := fmt.Appendf(nil, "Usage: %s %s\n\n%s%s.\n", name, line, strings.ToUpper(v.summary[:1]), v.summary[1:])
	if v.details != "" {
		text = fmt.Appendf(text, "%s\n", v.details)
	}
	text = append(text, "\nFlags:\n"...)
	c.flags.VisitAll(func(f *flag.Flag) {
		value, about := flag.UnquoteUsage(f)
		text = fmt.Appendf(text, "  %s\n    \t%s\n", strings.TrimSpace("-"+f.Name+" "+value), about)
	})
	_, err := w.Write(text)
	return err
}
