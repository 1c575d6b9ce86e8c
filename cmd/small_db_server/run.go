package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/http"
)

const name = "small_db_server"

// Exit statuses.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// run is the program: it serves until ctx is done, and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parseFlags(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		complain(stderr, fmt.Errorf("%w; -h lists the flags", err))
		return exitUsage
	case c.showVersion:
		fmt.Fprintf(stdout, "%s %s %s format %d\n", name, buildVersion(), runtime.Version(), format.Version)
		return exitOK
	}
	if err := serve(ctx, c, stdout, stderr); err != nil {
		complain(stderr, err)
		return exitError
	}
	return exitOK
}

// complain prints one line.
func complain(stderr io.Writer, err error) {
	fmt.Fprintf(stderr, "%s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", "; "))
}

// serve opens the database, serves it until ctx is done, and closes it.
func serve(ctx context.Context, c config, stdout, stderr io.Writer) (err error) {
	c.engine.Logger = slog.New(slog.NewTextHandler(stderr, nil))
	db, err := engine.Open(c.engine)
	if err != nil {
		return adviseOpen(err, c.engine.Create)
	}
	defer func() {
		if closeErr := db.Close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("close %s: %w", c.engine.Dir, closeErr))
		}
	}()

	server := http.NewServer(db, http.Options{MaxValueBytes: c.engine.MaxValueBytes, Logger: c.engine.Logger})
	if err := server.Listen(c.addr); err != nil {
		return err
	}
	introduce(stdout, c, server.Addr(), db.Stats())
	warnOpenDoor(stderr, server.Addr())
	return serveUntilDone(ctx, server, c.shutdownTimeout, stderr)
}

// serveUntilDone serves until ctx is done. Then requests have timeout to finish; what is left is cut off.
func serveUntilDone(ctx context.Context, server *http.Server, timeout time.Duration, stderr io.Writer) error {
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	select {
	case err := <-served:
		_ = server.Close()
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		complain(stderr, fmt.Errorf("requests were still running %v after the signal to stop: cut off", timeout))
		_ = server.Close()
	}
	return <-served
}

// introduce says what was opened and where it is served.
func introduce(w io.Writer, c config, addr net.Addr, stats engine.Stats) {
	dir, err := filepath.Abs(c.engine.Dir)
	if err != nil {
		dir = c.engine.Dir
	}
	fmt.Fprintf(w, "%s %s\n", name, buildVersion())
	fmt.Fprintf(w, "  directory   %s\n", dir)
	fmt.Fprintf(w, "  keys        %d\n", stats.Keys)
	fmt.Fprintf(w, "  version     %s\n", stats.Version)
	fmt.Fprintf(w, "  generation  %d\n", stats.Generation)
	fmt.Fprintf(w, "  recovery    %s\n", describeRecovery(stats.Recovery))
	for _, what := range stats.Recovery.Repaired {
		fmt.Fprintf(w, "  repaired    %s\n", what)
	}
	fmt.Fprintf(w, "  address     %s\n", addr)
}

// describeRecovery says what opening found, did and took.
func describeRecovery(r engine.Recovery) string {
	took := r.Took.Round(10 * time.Microsecond)
	if r.Created {
		return fmt.Sprintf("new database, made in %v", took)
	}
	state := "after an unclean stop"
	if r.Clean {
		state = "after a clean close"
	}
	text := fmt.Sprintf("%s, replayed %d operations in %d frames of %d logs in %v", state, r.Operations, r.Frames, r.Logs, took)
	if r.CutFile != "" {
		text += fmt.Sprintf("; %s ends at offset %d", r.CutFile, r.CutAt)
	}
	return text
}

// warnOpenDoor warns if others than this machine can connect.
func warnOpenDoor(w io.Writer, addr net.Addr) {
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		fmt.Fprintf(w, "%s: warning: there is no authentication, and whoever can reach %s can read and write; -addr 127.0.0.1:%d is for this machine only\n",
			name, addr, tcp.Port)
	}
}

// adviseOpen adds what to do about an error of engine.Open where it does not say.
func adviseOpen(err error, create bool) error {
	if create && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; -create makes the directory, not those above it", err)
	}
	return err
}
