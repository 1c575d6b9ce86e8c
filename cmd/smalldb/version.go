package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/tongpengdl/small-db/format"
)

func versionVerb() *verb {
	return &verb{
		name: "version", summary: "print the version of the program, of Go, and of the format of files",
		prepare: func(c *call) func(context.Context) error {
			return func(context.Context) error { return c.version() }
		},
	}
}

func (c *call) version() error {
	if c.json {
		return c.printJSON(c.stdout, struct {
			Version string `json:"version"`
			Go      string `json:"go"`
			Format  int    `json:"format"`
		}{buildVersion(), runtime.Version(), format.Version})
	}
	_, err := fmt.Fprintf(c.stdout, "%s %s %s format %d\n", name, buildVersion(), runtime.Version(), format.Version)
	return err
}

// buildVersion is the version of the module and, if it is known, the revision it was built from.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	words := []string{info.Main.Version}
	if info.Main.Version == "" {
		words[0] = "(devel)"
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if revision := settings["vcs.revision"]; revision != "" {
		words = append(words, "revision", revision)
		if settings["vcs.modified"] == "true" {
			words = append(words, "modified")
		}
	}
	return strings.Join(words, " ")
}
