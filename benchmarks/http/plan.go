package main

import "time"

// plan says what is measured, and how much.
type plan struct {
	keys        uint64
	connections []int
	engines     []string      // beside ours; nil for all
	length      time.Duration // of a turn
	rounds      int
	loadTime    time.Duration // at most, for one server
	patience    time.Duration // with a server that does not start, or does not answer
}

const (
	defaultKeys    = 100_000
	maxConnections = 1024 // Redis and the limits on open files allow as many
)

// quickPlan ends within 3 minutes, on a machine with two processors.
func quickPlan() plan {
	return plan{length: 400 * time.Millisecond, rounds: 5, loadTime: time.Minute, patience: 30 * time.Second}
}

func fullPlan() plan {
	return plan{length: 2 * time.Second, rounds: 11, loadTime: 10 * time.Minute, patience: time.Minute}
}
