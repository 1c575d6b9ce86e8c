//go:build unix && !linux && !darwin

package mmapio

import (
	"golang.org/x/sys/unix"
)

func fullSync(fd int) error { return unix.Fsync(fd) }
