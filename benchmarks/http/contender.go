package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// Names of the servers.
const (
	ours      = "small-db"
	emptyName = "empty"
	redisName = "redis"
	etcdName  = "etcd"
)

// contender is a server that can be measured. Each gets a directory of its own and a free TCP port on this machine.
type contender struct {
	name     string
	settings string
	program  string // on the path; "" for what this program builds or is
	limit    bool   // no engine, but a bound

	// command is what starts it. bin is the directory of what was built.
	command func(bin, dir, addr string) (*exec.Cmd, error)
	// version says which one it is.
	version func() string
	// client speaks to it.
	client func(w *wire) client
}

// contenders are all, ours first.
func contenders() []*contender {
	return []*contender{oursContender(), emptyContender(), redisContender(), etcdContender()}
}

// contenderNames are those of all but ours.
func contenderNames() []string {
	var names []string
	for _, c := range contenders()[1:] {
		names = append(names, c.name)
	}
	return names
}

// choose returns ours and those that are asked for: all if names is nil.
func choose(names []string) ([]*contender, error) {
	known := append(contenderNames(), ours)
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("no server is called %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(contenders(), func(c *contender) bool {
		return names != nil && c.name != ours && !slices.Contains(names, c.name)
	}), nil
}

// missing says why it cannot be measured here; nil if it can.
func (c *contender) missing() error {
	if c.program == "" {
		return nil
	}
	_, err := exec.LookPath(c.program)
	return err
}

// firstLine is the first line that a command prints; "" if it fails.
func firstLine(name string, args ...string) string {
	out, _ := exec.CommandContext(context.Background(), name, args...).Output()
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
