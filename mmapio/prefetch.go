//go:build amd64 || arm64

package mmapio

// Prefetch asks the processor for the cache line at p, and does not wait for it. It is no access: where nothing can be read it does nothing, so it needs no guard.
//
//go:noescape
func Prefetch(p *byte)
