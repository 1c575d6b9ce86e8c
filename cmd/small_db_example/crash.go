package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/tongpengdl/small-db/engine"
)

// victimDir is the environment variable that makes this program the process that is killed; it
// names the data directory.
const victimDir = "SMALL_DB_EXAMPLE_VICTIM"

// killAfter is how many acknowledged writes the victim lives for, at least.
const killAfter = 200

// killAndReopen starts a process that writes, kills it in the middle with a signal that it cannot catch, and looks for
// every write that it had acknowledged.
func killAndReopen(t *tourist) (err error) {
	if err := t.db.Close(); err != nil { // the victim needs the directory
		return err
	}
	acknowledged, err := killVictim(t.dir)
	if err != nil {
		return err
	}
	t.db, err = engine.Open(engine.Options{Dir: t.dir})
	if err != nil {
		return err
	}
	r := t.db.Stats().Recovery
	t.say("closed cleanly: %v; replayed %d operations in %v", r.Clean, r.Operations, r.Took.Round(time.Microsecond))
	for i := range acknowledged {
		value, ok, err := t.db.Get(victimKey(i))
		if err != nil {
			return err
		}
		if !ok || string(value) != strconv.Itoa(i) {
			return fmt.Errorf("%s was acknowledged and is %q, %v", victimKey(i), value, ok)
		}
	}
	t.say("killed after %d acknowledged writes: all of them are here", acknowledged)
	return nil
}

// killVictim runs a victim in dir, kills it, and returns how many writes it has acknowledged.
func killVictim(dir string) (acknowledged int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	victim := exec.Command(self)
	victim.Env = append(os.Environ(), victimDir+"="+dir)
	victim.Stderr = os.Stderr
	stdout, err := victim.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := victim.Start(); err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); acknowledged++ {
		if acknowledged == killAfter {
			if err := victim.Process.Kill(); err != nil {
				return 0, err
			}
		}
	}
	if err := victim.Wait(); acknowledged < killAfter {
		return 0, fmt.Errorf("the victim ended by itself: %w", err)
	}
	return acknowledged, nil
}

// writeUntilKilled is the victim. It prints a line for each write once that is acknowledged.
func writeUntilKilled(dir string, out io.Writer) error {
	db, err := engine.Open(engine.Options{Dir: dir})
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		if _, err := db.Set(context.Background(), victimKey(i), []byte(strconv.Itoa(i))); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, i); err != nil {
			return err
		}
	}
}

func victimKey(i int) []byte { return fmt.Appendf(nil, "victim/%06d", i) }
