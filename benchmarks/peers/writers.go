package main

import (
	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
)

// mostWriters is how many there are at last.
const mostWriters = 1024

// writersSection is durable sets by more and more writers, with the bare group commit beside.
func (b *bench) writersSection() error {
	part := &report.Part{Title: "Writers", Text: "Durable sets of random keys by more and more goroutines, into a store that starts empty, and the bare group commit, " +
		"which keeps no index, in turns with it."}
	curve := func(name, unit string) *report.Curve {
		return part.Curve(report.Curve{Name: name, X: "writers", Unit: unit, Doubles: true})
	}
	rate, latency := curve("Durable set by writers", report.PerSecond), curve("Latency of durable set by writers", report.Micros)
	b.results.AddPart(part)
	e, err := b.enter(b.ours(), b.path("writers", "ours"), 0)
	if err != nil {
		return err
	}
	defer b.discard(e)
	entrants := []*entrant{e}
	if loop := b.chosen(groupLoopName); loop != nil {
		bare, err := b.enter(loop, b.path("writers", "loop"), 0)
		if err != nil {
			return err
		}
		defer b.discard(bare)
		bare.close = true
		entrants = append(entrants, bare)
	}
	for _, n := range doublings(mostWriters) {
		b.say("%d writers", n)
		t, err := b.rounds(entrants, b.growRounds, b.growRounds, agent.Request{Do: agent.Set, N: b.keys, Workers: n, For: b.set})
		if err != nil {
			return err
		}
		for _, e := range entrants {
			rate.Add(e.name, float64(n), t.rate(e.name))
			h, err := agent.Histogram(t.of(e.name)...)
			if err != nil {
				return err
			}
			latency.Add(e.name+", p50", float64(n), micros(agent.Quantile(h, 0.5)))
			latency.Add(e.name+", p99", float64(n), micros(agent.Quantile(h, 0.99)))
		}
	}
	return nil
}
