// Small_db_example is a tour of the library. Run it, and read tour.go beside what it prints:
//
//	go run ./cmd/small_db_example
//
// It takes no arguments and works in a directory for temporary files, which it removes. It exits with 1 if anything
// is not as it says.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/tongpengdl/small-db/engine"
)

func main() {
	if dir, ok := os.LookupEnv(victimDir); ok { // this is the process that crash.go starts and kills
		fail(writeUntilKilled(dir, os.Stdout))
		return
	}
	fail(run(os.Stdout))
}

// fail ends the program if err is not nil.
func fail(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "small_db_example: %v\n", err)
		os.Exit(1)
	}
}

// run takes the tour and writes what happens to out.
func run(out io.Writer) (err error) {
	parent, err := os.MkdirTemp("", "small_db_example")
	if err != nil {
		return err
	}
	defer os.RemoveAll(parent)
	t := &tourist{out: out, dir: filepath.Join(parent, "data")}
	defer t.close()
	for i, stop := range tour {
		fmt.Fprintf(out, "%d. %s\n", i+1, stop.title)
		if err := stop.visit(t); err != nil {
			return fmt.Errorf("%s: %w", stop.title, err)
		}
	}
	return nil
}

// tourist is what goes from one stop to the next.
type tourist struct {
	out io.Writer
	dir string     // data directory
	db  *engine.DB // nil while it is not open
}

// say prints one line about what has happened.
func (t *tourist) say(format string, args ...any) { fmt.Fprintf(t.out, "   "+format+"\n", args...) }
