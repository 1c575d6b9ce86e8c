// Smalldb reads, writes, copies and examines a database: a directory that no server has open, or a
// server.
//
//	smalldb put -dir ./data -create greeting hello
//	smalldb get -addr 127.0.0.1:8080 greeting
//	smalldb export -dir ./data all.ndjson
//	smalldb help
//
// Each verb is in a file of its own. Results go to standard output, errors and progress to standard error. It exits
// with 0 if all is well, 1 after an error, 2 if the command is wrong, 3 if the key is not set, 4 if a
// condition does not hold, 5 if stored bytes are damaged, and 6 if the database cannot be had now.
package main

import "os"

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
