package main

import (
	"net"
	"os/exec"
)

func redisContender() *contender {
	const program = "redis-server"
	return &contender{
		name: redisName, settings: "appendonly yes, appendfsync always, no snapshots; RESP over TCP", program: program,
		command: func(_, dir, addr string) (*exec.Cmd, error) {
			host, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			// appendfsync always is the one that syncs before it answers.
			return exec.Command(program, "--dir", dir, "--bind", host, "--port", port, "--appendonly", "yes", "--appendfsync", "always", "--save", "",
				"--maxclients", "2000"), nil
		},
		version: func() string { return firstLine(program, "--version") },
		client:  func(w *wire) client { return &respConn{wire: w} },
	}
}
