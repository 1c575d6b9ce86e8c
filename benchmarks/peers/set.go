package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

// Names of those that ratios are taken of.
const (
	pebbleName    = "pebble"
	lmdbName      = "LMDB"
	mapName       = "map+RWMutex"
	writeLoopName = "bare pwrite loop"
	groupLoopName = "bare group commit"
)

// setWriters are the numbers of writers.
var setWriters = []int{1, 16, 64, 256}

// setSection is durable sets of random keys, into stores that start empty, and what they write to the disk.
func (b *bench) setSection() error {
	var entrants []*entrant
	defer func() {
		for _, e := range entrants {
			e.agent.Kill()
		}
	}()
	for _, r := range b.rivals {
		if !r.Durable && (r.Reads || !r.Limit) {
			continue
		}
		e, err := b.enter(r, b.path("set", r.Name), 0)
		if err != nil {
			if err := b.failed(r, err); err != nil {
				return err
			}
			continue
		}
		e.close = slices.Contains([]string{rival.Ours, pebbleName, writeLoopName, groupLoopName}, r.Name)
		entrants = append(entrants, e)
	}
	for _, writers := range setWriters {
		t, err := b.setRounds(entrants, writers)
		if err != nil {
			return err
		}
		// Who has failed is gone.
		entrants = slices.DeleteFunc(entrants, func(e *entrant) bool { return t[e.name] == nil && e.name != writeLoopName })
	}
	var err error
	for _, e := range entrants {
		err = errors.Join(err, b.failed(e.rival, e.leave()))
	}
	return err
}

func (b *bench) setRounds(entrants []*entrant, writers int) (turns, error) {
	if writers > 1 { // one writer has the write loop for its limit, more have group commit
		entrants = slices.DeleteFunc(slices.Clone(entrants), func(e *entrant) bool { return e.name == writeLoopName })
	}
	b.say("set, writers %d", writers)
	t, err := b.rounds(entrants, b.plan.rounds, b.otherRounds, agent.Request{Do: agent.Set, N: b.keys, Workers: writers, For: b.set, Weigh: true})
	if err != nil {
		return nil, err
	}
	workload := fmt.Sprintf("durable set, writers %d", writers)
	b.addRates(workload, report.PerSecond, entrants, t)
	if err := b.addQuantiles("latency of durable set, writers "+fmt.Sprint(writers), entrants, t); err != nil {
		return nil, err
	}
	b.addWritten(fmt.Sprintf("written per byte, set, writers %d", writers), entrants, t)
	switch writers {
	case 1:
		b.setRatioOf("set_1_vs_rawpwrite", t, rival.Ours, writeLoopName)
	case 64:
		b.setRatioOf("set_64_vs_bareloop", t, rival.Ours, groupLoopName)
		b.setRatioOf("set_64_vs_pebble", t, rival.Ours, pebbleName)
	case 256:
		b.setRatioOf("set_256_vs_pebble", t, rival.Ours, pebbleName)
	}
	return t, nil
}

func (b *bench) setRatioOf(goal string, t turns, one, other string) {
	ratio, ok := t.ratio(one, other)
	b.setRatio(goal, ratio, ok)
}

// addWritten adds the bytes written to the disk for each byte of keys and values that was set.
func (b *bench) addWritten(workload string, entrants []*entrant, t turns) {
	for _, e := range entrants {
		var written, ops float64
		for _, r := range t.of(e.name) {
			written, ops = written+float64(r.Written), ops+float64(r.Ops)
		}
		if ops > 0 {
			b.results.Add(workload, e.name, written/(ops*dataLen), report.Times)
		}
	}
}
