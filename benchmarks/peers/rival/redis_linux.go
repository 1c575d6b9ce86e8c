package rival

import "syscall"

// diesWithUs makes a server that was started end with who has started it, however that ends.
func diesWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
