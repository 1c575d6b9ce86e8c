package http

import (
	"net"
	"syscall"
)

// isGone reports whether the peer of conn has closed it, as far as one can tell without reading what it has sent.
func isGone(conn net.Conn) bool {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true // it is closed here
	}
	gone := true
	_ = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = n <= 0 && err != syscall.EAGAIN && err != syscall.EINTR
	})
	return gone
}
