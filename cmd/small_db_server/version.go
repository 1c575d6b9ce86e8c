package main

import (
	"runtime/debug"
	"strings"
)

// buildVersion is the version of the module and, if it is known, the revision it was built from.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	return describeBuild(info)
}

func describeBuild(info *debug.BuildInfo) string {
	version := info.Main.Version
	if version == "" {
		version = "(devel)"
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	revision := settings["vcs.revision"]
	if revision == "" {
		return version
	}
	words := []string{version, "revision", revision}
	if settings["vcs.modified"] == "true" {
		words = append(words, "modified")
	}
	return strings.Join(words, " ")
}
