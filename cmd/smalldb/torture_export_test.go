package main

import (
	"io"

	"github.com/tongpengdl/small-db/cmd/smalldb/torture"
)

// Verdict prints what a torture came to, and returns the error that it ends with.
func Verdict(w io.Writer, asJSON bool, r *torture.Result) error {
	return (&call{program: &program{stdout: w}, json: asJSON}).verdict(r)
}
