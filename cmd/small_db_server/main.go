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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the next signal is the system's to handle
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
