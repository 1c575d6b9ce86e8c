//go:build !linux

package rival

import "syscall"

// diesWithUs does nothing here: only Linux can tie the life of a server to ours.
func diesWithUs() *syscall.SysProcAttr { return nil }
