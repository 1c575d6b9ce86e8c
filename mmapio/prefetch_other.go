//go:build !amd64 && !arm64

package mmapio

// Prefetch does nothing here.
func Prefetch(*byte) {}
