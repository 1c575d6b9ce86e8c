package mmapio

import (
	"golang.org/x/sys/unix"
)

func fullSync(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0)
	return err
}
