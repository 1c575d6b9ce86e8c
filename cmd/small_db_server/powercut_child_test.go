package main_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/tongpengdl/small-db/engine"
	kvhttp "github.com/tongpengdl/small-db/http"
)

// childVariable makes the test binary a server with options that the product's flags do not have: how groups are synced, and the size of logs.
const childVariable = "SMALLDB_SERVER_TEST_CHILD"

func init() {
	if os.Getenv(childVariable) == "" {
		return
	}
	if err := serveAsChild(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// childCommand is a child that speaks like the binary, as far as the tests listen.
func childCommand(sync engine.SyncMode, logBytes int64, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	options := []string{"-sync", strconv.Itoa(int(sync)), "-log-bytes", strconv.FormatInt(logBytes, 10)}
	cmd := exec.Command(self, append(options, args...)...)
	cmd.Env = append(os.Environ(), childVariable+"=1")
	return cmd, nil
}

func serveAsChild(args []string) error {
	var opts engine.Options
	flags := flag.NewFlagSet("child", flag.ContinueOnError)
	flags.StringVar(&opts.Dir, "dir", "", "")
	flags.BoolVar(&opts.Create, "create", false, "")
	flags.Uint64Var(&opts.CheckpointUpdates, "checkpoint-updates", 0, "")
	flags.Int64Var(&opts.LogFileBytes, "log-bytes", 0, "")
	sync := flags.Int("sync", 0, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	opts.Sync = engine.SyncMode(*sync)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	db, err := engine.Open(opts)
	if err != nil {
		return err
	}
	server := kvhttp.NewServer(db, kvhttp.Options{})
	if err := server.Listen("127.0.0.1:0"); err != nil {
		return err
	}
	stats := db.Stats()
	fmt.Printf("  keys  %d\n  version  %s\n  recovery  %+v\n  address  %s\n", stats.Keys, stats.Version, stats.Recovery, server.Addr())
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	<-ctx.Done()
	return errors.Join(server.Close(), <-served, db.Close())
}
