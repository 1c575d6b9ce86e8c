package main

import (
	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
)

// deltaParts are how full a delta is, in parts of what makes a checkpoint begin. It holds twice as much while one is made.
var deltaParts = []float64{0, 1. / 8, 1. / 4, 1. / 2, 3. / 4, 1, 2}

// deltaSetPart is the part of a usual turn that sets by many last: they fill the delta themselves.
const deltaSetPart = 16

// deltaSection is the cost of everything while the delta fills up.
func (b *bench) deltaSection() error {
	part := &report.Part{Title: "Delta", Text: "A base of " + count(b.keys) + " keys and a delta that fills up with random ones of them, from empty to where a checkpoint begins, " +
		"and twice that. Background checkpoints are off."}
	curve := func(name, unit string) *report.Curve {
		return part.Curve(report.Curve{Name: name, X: "record bytes in the delta, percent of the threshold", Unit: unit})
	}
	get, set := curve("Random get by delta", report.Nanos), curve("Durable set by delta", report.PerSecond)
	scan, memory := curve("First scan by delta", report.Millis), curve("Memory by delta", report.MiB)
	b.results.AddPart(part)
	e, err := b.loadOurs(b.path("delta-fill"), b.keys, 0)
	if err != nil {
		return err
	}
	defer func() { b.discard(e) }()
	if e, err = b.reenter(e, agent.Request{N: b.keys, Own: noCheckpoints}); err != nil {
		return err
	}
	for _, at := range deltaParts {
		x := 0.0
		if at > 0 {
			b.seed++
			filled, err := e.agent.Do(agent.Request{Do: agent.Fill, N: b.keys, Seed: b.seed, Part: at, For: b.fillTime})
			if err != nil {
				return err
			}
			x = 100 * filled.Filled
		}
		b.say("delta at %.0f %% of its threshold", x)
		if err := b.deltaAt(e, x, get, set, scan); err != nil {
			return err
		}
		m, err := e.agent.Do(agent.Request{Do: agent.Memory})
		if err != nil {
			return err
		}
		memory.Add("Go heap", x, float64(m.HeapBytes)/mebibyte)
		memory.Add("resident, files included", x, float64(m.Resident)/mebibyte)
	}
	return e.leave()
}

func (b *bench) deltaAt(e *entrant, x float64, get, set, scan *report.Curve) error {
	if err := b.point(get, "key that is set", x, e, agent.Request{Do: agent.Get, N: b.keys, Workers: 1, For: b.get}); err != nil {
		return err
	}
	if err := b.point(get, "key that is not set", x, e, agent.Request{Do: agent.Get, N: b.keys, Workers: 1, Miss: true, For: b.get}); err != nil {
		return err
	}
	for _, line := range []string{"all keys, the first", "all keys, again"} {
		walk, err := e.agent.Do(agent.Request{Do: agent.Walk, N: b.keys})
		if err != nil {
			return err
		}
		scan.Add(line, x, millis(walk.Took))
	}
	if err := b.point(set, "1 writer", x, e, agent.Request{Do: agent.Set, N: b.keys, Workers: 1, For: b.set}); err != nil {
		return err
	}
	return b.point(set, "64 writers", x, e, agent.Request{Do: agent.Set, N: b.keys, Workers: setsOfMany, For: b.set / deltaSetPart})
}
