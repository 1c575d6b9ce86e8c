//go:build !linux

package mmapio

import "os"

// remove removes a file.
func remove(path string) error { return os.Remove(path) }
