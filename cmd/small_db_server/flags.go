package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/tongpengdl/small-db/engine"
)

// config is what the flags say.
type config struct {
	addr            string
	shutdownTimeout time.Duration
	showVersion     bool
	engine          engine.Options
}

// parseFlags reads args. The error is flag.ErrHelp if they ask for help, which is then on help.
func parseFlags(args []string, help io.Writer) (config, error) {
	var c config
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // an error is one line, and is run's to print
	flags.StringVar(&c.addr, "addr", ":8080", "`address` to listen on, host:port; without a host, on all interfaces")
	flags.StringVar(&c.engine.Dir, "dir", "", "data `directory` (required)")
	flags.BoolVar(&c.engine.Create, "create", false, "make a new database if the directory is missing or empty")
	flags.DurationVar(&c.engine.CheckpointInterval, "checkpoint-interval", 0,
		fmt.Sprintf("longest time an update waits for a checkpoint; 0 means %v, negative no limit", engine.DefaultCheckpointInterval))
	flags.Uint64Var(&c.engine.CheckpointUpdates, "checkpoint-updates", 0, "updates after which a checkpoint begins; 0 means no limit")
	flags.Int64Var(&c.engine.CheckpointLogBytes, "checkpoint-log-bytes", 0,
		fmt.Sprintf("logged `bytes` after which a checkpoint begins; 0 means %d", int64(engine.DefaultCheckpointLogBytes)))
	flags.BoolVar(&c.engine.DisableBackgroundCheckpoint, "disable-background-checkpoint", false, "checkpoint only on request")
	flags.Int64Var(&c.engine.MaxMemoryBytes, "max-memory-bytes", 0, "`bytes` that the database may take in memory; beyond it PUT is answered with 507; 0 means no limit")
	flags.BoolVar(&c.engine.LockMemory, "lock-memory", false, "keep the mapped files in memory (mlock); see ulimit -l")
	flags.Func("warm-up", "read the checkpoint into memory at the start: `off`, background, or wait (serve only once it is done); default off", c.setWarmUp)
	flags.DurationVar(&c.engine.ScrubInterval, "scrub-interval", 0,
		fmt.Sprintf("how often all files are read from the disk and verified in the background; 0 means %v, negative never", engine.DefaultScrubInterval))
	flags.Int64Var(&c.engine.ScrubBytesPerSecond, "scrub-bytes-per-second", 0,
		fmt.Sprintf("`bytes` that this reads in a second at most; 0 means %d", int64(engine.DefaultScrubRate)))
	flags.DurationVar(&c.shutdownTimeout, "shutdown-timeout", 5*time.Second, "how long requests may go on after the signal to stop")
	flags.BoolVar(&c.showVersion, "version", false, "print the version and exit")

	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(help, "Usage: %s -dir directory [flags]\n", name)
		flags.SetOutput(help)
		flags.PrintDefaults()
		return c, err
	case err != nil:
		return c, err
	case flags.NArg() > 0:
		return c, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case c.engine.Dir == "" && !c.showVersion:
		return c, errors.New("-dir is required")
	}
	return c, nil
}

// setWarmUp sets the mode of the warm-up by its name.
func (c *config) setWarmUp(mode string) error {
	modes := map[string]engine.WarmUpMode{"off": engine.WarmUpOff, "background": engine.WarmUpBackground, "wait": engine.WarmUpWait}
	m, ok := modes[mode]
	if !ok {
		return errors.New("it is off, background or wait")
	}
	c.engine.WarmUp = m
	return nil
}
