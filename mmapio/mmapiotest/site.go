package mmapiotest

import (
	"fmt"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

// Site is where a call came from.
type Site struct {
	// Func is the function that called, as "engine.(*DB).rotate". If package mmapio itself called on behalf of
	// another package, both are named: "mmapio.Prepare < engine.(*DB).rotate".
	Func string
	// Line is file:line in the first caller outside package mmapio.
	Line string
}

// String is Func and Line.
func (s Site) String() string { return fmt.Sprintf("%s (%s)", s.Func, s.Line) }

const (
	underPackage = "github.com/tongpengdl/small-db/mmapio."
	thisPackage  = "github.com/tongpengdl/small-db/mmapio/mmapiotest."
)

// callSite finds the caller of the Dir or File method it was called from.
func callSite() Site {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	inner := ""
	for {
		frame, more := frames.Next()
		switch {
		case strings.HasPrefix(frame.Function, thisPackage):
		case strings.HasPrefix(frame.Function, underPackage):
			if inner == "" {
				inner = path.Base(frame.Function) + " < "
			}
		default:
			dir, file := filepath.Split(frame.File)
			line := fmt.Sprintf("%s:%d", path.Join(filepath.Base(dir), file), frame.Line)
			return Site{Func: inner + path.Base(frame.Function), Line: line}
		}
		if !more {
			return Site{Func: strings.TrimSuffix(inner, " < ")}
		}
	}
}
