package mmapio

import (
	"errors"

	"golang.org/x/sys/unix"
)

// retry calls f again while a signal interrupts it. The system calls it is used for have done
// nothing when they return EINTR.
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
