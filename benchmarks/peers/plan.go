package main

import "time"

// plan says how much is measured.
type plan struct {
	keys, large uint64

	// Lengths of a turn.
	set, get, mix, pace time.Duration
	// rounds are for those that a ratio is taken of; the others take part in the first few.
	rounds, otherRounds int
	mixRounds           int
	growRounds          int // as the work grows
	opens, kills        int // how often a store is opened, at most
	pacePairs           int // turns of ours with checkpoints, and as many without
	otherPacePairs      int // of others with compactions
	rate                float64

	few        []string      // those that are measured beside compactions and after a kill, with ours; nil for all
	budget     time.Duration // after which no other large data set is begun
	growth     bool          // how cost changes as the work grows is part of a run of all sections
	largeAll   bool          // the large data set is for all, not for ours alone
	loadTime   time.Duration // at most, for one store
	fillTime   time.Duration // at most, for a delta
	patience   time.Duration // with a store that does not get done
	freeNeeded int64         // bytes on the disk
}

// quickPlan ends within 4 minutes on a quiet machine with two processors.
func quickPlan() plan {
	return plan{
		set: 200 * time.Millisecond, get: 150 * time.Millisecond, mix: 200 * time.Millisecond, pace: time.Second,
		rounds: 5, otherRounds: 1, mixRounds: 1, growRounds: 1, opens: 9, kills: 1, pacePairs: 3, otherPacePairs: 1,
		few: []string{pebbleName, lmdbName}, loadTime: time.Minute, fillTime: 10 * time.Second, patience: time.Minute, freeNeeded: 12 << 30,
	}
}

// fullPlan ends within 90 minutes, and within half of that on a quiet machine.
func fullPlan() plan {
	return plan{
		set: time.Second, get: 500 * time.Millisecond, mix: time.Second, pace: 2 * time.Second,
		rounds: 9, otherRounds: 3, mixRounds: 3, growRounds: 1, growth: true, opens: 25, kills: 3, pacePairs: 6, otherPacePairs: 3,
		largeAll: true, budget: 45 * time.Minute, loadTime: 4 * time.Minute, fillTime: 30 * time.Second, patience: 3 * time.Minute, freeNeeded: 30 << 30,
	}
}
