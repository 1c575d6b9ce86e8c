package main

import (
	"fmt"
	"slices"

	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

const (
	paceWorkers = 64
	// minCompactions are those that each turn with compactions holds at least. Ours has three turns of them or more.
	minCompactions = 1
	// paceShare is the part of a rival's own greatest rate that it is paced at, at most: beyond it, what is measured is a queue that grows.
	paceShare = 0.5
)

// checkpointSection is the latency of durable sets at a fixed rate, open loop, with one checkpoint or compaction after the other beside them, and
// without. The two take turns, many short ones: a disk that is slow for some seconds meets both.
func (b *bench) checkpointSection() error {
	readers, err := b.open()
	if err != nil {
		return err
	}
	for _, e := range slices.Clone(readers) {
		if !e.rival.Compacts || !b.among(e.rival) {
			continue
		}
		if err := b.paceOne(e); err != nil {
			b.drop(e)
			if err := b.failed(e.rival, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// among reports whether a rival is one of the few, or all are wanted.
func (b *bench) among(r *rival.Rival) bool {
	return b.few == nil || r.Name == rival.Ours || slices.Contains(b.few, r.Name)
}

// pacedTurns are the replies with and without compactions.
type pacedTurns struct{ with, without []*agent.Reply }

func (b *bench) paceOne(e *entrant) error {
	b.say("sets beside compactions, %s", e.name)
	request := agent.Request{Do: agent.Pace, N: b.keys, Workers: paceWorkers, MinCompactions: minCompactions, Rate: b.rate}
	pairs := b.pacePairs
	if e.name != rival.Ours {
		pairs = b.otherPacePairs
		free, err := b.turn(e, false, agent.Request{Do: agent.Set, N: b.keys, Workers: paceWorkers, For: b.pace})
		if err != nil {
			return err
		}
		if request.Rate = min(b.rate, paceShare*free.Rate()); request.Rate < b.rate {
			b.note("%s is paced at %.0f sets per second: half of what %d writers reach", e.name, request.Rate, paceWorkers)
		}
	}
	var t pacedTurns
	for range pairs {
		if err := b.pacePair(e, request, &t); err != nil {
			return err
		}
	}
	return b.addPaced(e, request.Rate, &t)
}

// pacePair is a turn with compactions, and one as long without. Both start alike, after a compaction: with little to compact, and with whatever the disk has to do when
// its files are removed.
func (b *bench) pacePair(e *entrant, request agent.Request, t *pacedTurns) error {
	for _, compactions := range []bool{true, false} {
		if _, err := e.agent.Do(agent.Request{Do: agent.Compact}); err != nil {
			return err
		}
		request.Compactions, request.For = compactions, b.pace
		if !compactions {
			request.For = t.with[len(t.with)-1].Took
		}
		reply, err := b.turn(e, false, request)
		if err != nil {
			return err
		}
		if reply.Behind > 0 {
			b.note("%s, compactions %v: %d sets that were due could not be begun; they count with the time until then", e.name, compactions, reply.Behind)
		}
		if compactions {
			t.with = append(t.with, reply)
		} else {
			t.without = append(t.without, reply)
		}
	}
	return nil
}

func (b *bench) addPaced(e *entrant, rate float64, t *pacedTurns) error {
	both := turns{"with": t.with, "without": t.without}
	p999 := map[string]float64{}
	for _, name := range []string{"without", "with"} {
		h, err := agent.Histogram(both[name]...)
		if err != nil {
			return err
		}
		for _, q := range []float64{0.5, 0.99, 0.999, 1} {
			workload := fmt.Sprintf("sets beside compactions, %s, p%g", name, 100*q)
			b.results.Add(workload, e.name, micros(agent.Quantile(h, q)), report.Micros)
		}
		p999[name] = micros(agent.Quantile(h, 0.999))
	}
	ratio, compactions := p999["with"]/p999["without"], 0
	for _, reply := range t.with {
		compactions += reply.Compactions
	}
	b.results.Add("sets beside compactions, p99.9 with / without", e.name, ratio, report.Times)
	b.results.Add("sets beside compactions, rate", e.name, rate, report.PerSecond)
	b.say("%s: %d compactions, p99.9 with / without %.2f", e.name, compactions, ratio)
	if e.name == rival.Ours {
		b.setRatio("ckpt_p999_ratio", ratio, true)
	}
	return nil
}
