package enginetest

import (
	"flag"
	"os"
	"strconv"
	"testing"
)

// effortVariable is the one environment variable of the tests: unset for the ordinary suite, 1 for the longer variants, n for n times
// as much of those that draw at random.
const effortVariable = "SMALLDB_TEST_LONG"

// seedFlag repeats a run that a failed test has printed: go test PACKAGE -run TEST -args -seed N.
var seedFlag = flag.Uint64("seed", 0, "seed of the tests that draw at random; 0 for their own")

// Long reports whether tests may take minutes instead of seconds.
func Long() bool { return Effort() > 0 }

// Effort is 0 for the ordinary suite, and otherwise how many times the longer variants are to do what they draw at random.
func Effort() int {
	text := os.Getenv(effortVariable)
	if text == "" || text == "0" {
		return 0
	}
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return n
	}
	return 1
}

// Times is how often something random is to be done: ordinarily, or with SMALLDB_TEST_LONG=1, of which larger efforts are multiples.
func Times(ordinarily, long int) int {
	if effort := Effort(); effort > 0 {
		return long * effort
	}
	return ordinarily
}

// Seed is what a test is to draw from: the flag -seed if it is given, otherwise the test's own. It is printed when the test fails or is verbose.
func Seed(t testing.TB, own uint64) uint64 {
	seed := own
	if *seedFlag != 0 {
		seed = *seedFlag
	}
	t.Logf("seed %d; repeat with: -args -seed %d", seed, seed)
	return seed
}
