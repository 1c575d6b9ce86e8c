package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/tongpengdl/small-db/cmd/smalldb/torture"
	"github.com/tongpengdl/small-db/engine"
)

// Defaults of torture.
const (
	tortureFor     = 60 * time.Second
	tortureClients = 8
	tortureValue   = 2048 // bytes
)

func tortureVerb() *verb {
	return &verb{
		name: "torture", long: true, summary: "prove on your own disk that nothing acknowledged is lost",
		details: "A process that writes is killed again and again, calls on the disk are made to fail, power cuts are simulated, and copies\n" +
			"are damaged; what is left each time is opened and compared with what was acknowledged. The directory must be missing or empty,\n" +
			"or left by an earlier torture. It is given back as it was, unless a promise is broken: then the evidence stays there, and\n" +
			"the exit status is 5. It takes less than 200 MB. An interrupt ends it after the cycle under way, with the verdict so far.\n" +
			"A simulated power cut assumes that the disk keeps what it has acknowledged: only a real one shows whether it does.",
		prepare: func(c *call) func(context.Context) error {
			opts := torture.Options{Open: torture.Engine}
			c.flags.StringVar(&opts.Dir, "dir", "", "`directory` to work in, on the disk in question")
			c.flags.DurationVar(&opts.For, "for", tortureFor, "`duration`, 60s if not given; each kind of cycle is done once at least")
			c.flags.Uint64Var(&opts.Seed, "seed", 0, "`number` to draw from, as an earlier run has printed it; 0 means a new one")
			c.flags.IntVar(&opts.Clients, "clients", tortureClients, "`number` of clients that write at the same time, 8 if not given")
			c.flags.IntVar(&opts.ValueBytes, "value-bytes", tortureValue, "`size` of the longest value, 2048 if not given")
			return func(ctx context.Context) error {
				if c.getenv(torture.ChildVariable) != "" {
					return torture.Child(c.stdin, c.stdout, opts.Open)
				}
				return c.torture(ctx, opts)
			}
		},
	}
}

// checkTorture says what is wrong with the flags.
func checkTorture(opts torture.Options) error {
	switch {
	case opts.Dir == "":
		return usage("-dir DIRECTORY says where")
	case opts.For < 0:
		return usage("-for %v is negative", opts.For)
	case opts.Clients < 1 || opts.Clients > torture.MaxClients:
		return usage("-clients %d is not within 1 and %d", opts.Clients, torture.MaxClients)
	case opts.ValueBytes < torture.MinValueBytes || opts.ValueBytes > torture.MaxValueBytes:
		return usage("-value-bytes %d is not within %d and %d", opts.ValueBytes, torture.MinValueBytes, torture.MaxValueBytes)
	}
	return nil
}

func (c *call) torture(ctx context.Context, opts torture.Options) error {
	if err := checkTorture(opts); err != nil {
		return err
	}
	if opts.Seed == 0 {
		opts.Seed = uint64(time.Now().UnixNano())
	}
	opts.Child = tortureChild
	p := c.tortureProgress(opts.For)
	opts.Progress = p.checked
	result, err := torture.Run(ctx, opts)
	p.end()
	switch {
	case errors.Is(err, torture.ErrForeign):
		return usage("%v", err)
	case err != nil:
		return adviseTorture(opts.Dir, err)
	}
	return c.verdict(&result)
}

// adviseTorture says what to do where another torture works in the directory.
func adviseTorture(dir string, err error) error {
	locked, ok := errors.AsType[*lockedError](adviseOpen(dir, err))
	if !ok {
		return err
	}
	return fmt.Errorf("%w: a torture works in directory %s: %s; wait for its end, stop it, or name another directory", engine.ErrLocked, dir, locked.holder)
}

// tortureProgress is in seconds, and counts checks.
type tortureProgress struct{ *progress }

func (c *call) tortureProgress(lasts time.Duration) tortureProgress {
	p := c.progress("torture", "checks", max(1, int64(lasts/time.Second)))
	if p.bar != nil {
		p.width = min(p.width, fullWidth-1) // a rate of seconds says nothing
		p.bar = p.newBar()
		progressbar.OptionShowTotalBytes(true)(p.bar)
	}
	return tortureProgress{p}
}

// checked says how many directories were judged after a time.
func (p tortureProgress) checked(count int64, elapsed time.Duration) {
	if p.bar != nil {
		progressbar.OptionSetDescription("torture: " + p.counted(count))(p.bar)
	}
	p.at(min(p.total, int64(elapsed/time.Second)), count)
}

// verdict prints what a torture came to.
func (c *call) verdict(r *torture.Result) error {
	if err := c.printTorture(r); err != nil {
		return err
	}
	if !r.Held {
		return &brokenError{r}
	}
	return nil
}

// tortureChild is this program as the process that is to be killed.
func tortureChild() (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "torture")
	cmd.Env = append(os.Environ(), torture.ChildVariable+"=1")
	return cmd, nil
}

// brokenError says that a promise was broken.
type brokenError struct{ *torture.Result }

func (e *brokenError) Error() string {
	return fmt.Sprintf("a promise is broken: %s; seed %d; the evidence is in %s", e.Violation, e.Seed, e.Evidence)
}
func (e *brokenError) Is(target error) bool { return target == errDamaged }

// printTorture prints the verdict.
func (c *call) printTorture(r *torture.Result) error {
	if c.json {
		return c.printJSON(c.stdout, r)
	}
	verdict := "held"
	if !r.Held {
		verdict = "NOT held"
	}
	stopped := ""
	if r.Interrupted {
		stopped = ", when it was interrupted"
	}
	lines := []string{
		fmt.Sprintf("%s: %s, %s, %s, %s in %.0f s%s", verdict, many(r.Kills, "kill"), many(r.Faults, "fault"),
			many(r.PowerCuts, "power cut"), many(r.Copies, "damaged copies"), r.Seconds, stopped),
		fmt.Sprintf("kills: %s of them while the database was being opened; faults: %s of them in the live log", thousands(r.KillsInOpen), thousands(r.LogFaults)),
		fmt.Sprintf("damaged copies: %s opened as they were, %s repaired, %s with reads refused, %s refused",
			thousands(r.CopiesExact), thousands(r.CopiesRepaired), thousands(r.CopiesPartly), thousands(r.CopiesRefused)),
		fmt.Sprintf("disk: %s; a durable write of 4 KiB takes %s (median), %s (99th percentile)", r.FileSystem, millis(r.Median), millis(r.P99)),
		"a simulated power cut trusts the disk to keep what it has acknowledged: it does not test whether the disk lies",
	}
	if about := caution(r.FileSystem); about != "" {
		lines = append(lines, "caution: "+about)
	}
	lines = append(lines, fmt.Sprintf("seed: %d", r.Seed))
	if r.Held {
		lines[0] += fmt.Sprintf(": %s, none lost; %s, each whole or absent; nothing false was served",
			many(r.Acknowledged, "acknowledged write"), many(r.Unknown, "unknown outcome"))
	}
	for _, line := range lines {
		if err := c.say("%s", line); err != nil {
			return err
		}
	}
	return nil
}

// caution says what a kind of file system cannot do; "" if nothing is known against it.
func caution(fileSystem string) string {
	kind, _, _ := strings.Cut(fileSystem, " ")
	switch kind {
	case "tmpfs", "ramfs":
		return kind + " keeps files in memory, and a power cut takes all of them"
	case "nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "fuse.sshfs":
		return kind + " is a network file system, and the promise is for local ones"
	}
	return ""
}

// many is so many of something in words.
func many(n int64, what string) string {
	if n != 1 && !strings.HasSuffix(what, "s") {
		what += "s"
	}
	return thousands(n) + " " + what
}

// thousands is a number with a comma before each three digits.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// millis is a duration in milliseconds.
func millis(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}
