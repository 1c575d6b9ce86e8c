// Small_db_server serves one database directory over HTTP.
//
//	small_db_server -dir ./data -create -addr 127.0.0.1:8080
//
// It says on standard output what it opened and where it listens, and on standard error what
// goes wrong; it logs no requests. SIGINT or SIGTERM ends it: requests that are being answered
// have -shutdown-timeout to finish, then the database is closed. A second signal ends it at once, which loses
// nothing that was acknowledged.
//
// It exits with 0 after such an end, with 1 if it could not start or close the database,
// and with 2 if its flags are wrong.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Reset(os.Interrupt, syscall.SIGTERM) // before anybody can see the end begin: the next one is the system's to handle
		cancel()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
