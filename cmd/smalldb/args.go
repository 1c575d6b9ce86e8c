package main

import (
	"cmp"
	"errors"
	"flag"
	"slices"
	"strings"
)

// parse reads the arguments of a verb. Flags may come before and after the others; after "--" there are none. The
// error is flag.ErrHelp if they ask for help, which is then printed.
func (c *call) parse(v *verb, args []string) error {
	flags, rest := c.split(args)
	err := c.flags.Parse(flags)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return cmp.Or(c.printVerb(c.stdout, v), err)
	case err != nil:
		return usage("%v; %s %s -h lists the flags", err, name, v.name)
	case len(rest) < v.min:
		return usage("%s takes %s: %d missing", v.name, v.args, v.min-len(rest))
	case len(rest) > v.max:
		return usage("%s: unexpected argument %q", v.name, rest[v.max])
	}
	c.args = rest
	return nil
}

// split tells the flags, each with its value, from the other arguments. A single dash is no flag, but a file.
func (c *call) split(args []string) (flags, rest []string) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return flags, append(rest, args...)
		case len(arg) < 2 || arg[0] != '-':
			rest = append(rest, arg)
		default:
			flags = append(flags, arg)
			if c.takesNext(arg) && len(args) > 0 {
				flags = append(flags, args[0])
				args = args[1:]
			}
		}
	}
	return flags, rest
}

// takesNext reports whether the value of a flag is the argument after it.
func (c *call) takesNext(arg string) bool {
	flagName := strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-")
	f := c.flags.Lookup(flagName)
	if f == nil { // unknown, or with its value behind "="
		return false
	}
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return !ok || !b.IsBoolFlag()
}

// asksForJSON is for errors that come before the flags are known.
func asksForJSON(args []string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		return arg == "-json" || arg == "--json"
	})
}

// given reports whether a flag was set on the command line.
func (c *call) given(flagName string) (found bool) {
	c.flags.Visit(func(f *flag.Flag) { found = found || f.Name == flagName })
	return found
}
