package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

const (
	// growthFactor is how many new keys are set for each key of the run.
	growthFactor = 4
	growthSteps  = 40
	growthRounds = 5  // new databases
	growthValue  = 16 // bytes
)

// growthOwn are the options under which nothing but the table takes long: no wait for the disk, no checkpoint, and small frames.
var growthOwn = &rival.Own{Unsynced: true, NoCheckpoints: true, FrameAlign: 512}

// growthSection is every set's latency while the table of the delta grows, and then while it does not.
func (b *bench) growthSection() error {
	n := growthFactor * b.keys
	step := max(1, n/growthSteps)
	part := &report.Part{Title: "Growth of the delta's table", Text: "One goroutine sets " + count(n) + " new keys, one after the other, without syncs and checkpoints, so that only the growth of " +
		"the table can delay a set; then it sets the same keys again, which grows nothing and otherwise does the same, changes of the log included: those are counted apart. " +
		"All of it in " + fmt.Sprint(growthRounds) + " new databases, of which the medians are shown: what the growth costs comes at the same number of keys in each of them, and what the machine does to a program now and then does not. " +
		"The bound on what the growth may cost a set is 5 ms."}
	b.results.AddPart(part)
	part.Facts.Heads = []string{"new keys", "the same keys again"}
	turns := make([][]*agent.Reply, len(part.Facts.Heads)) // of each, one for each database
	var heap [2][]float64
	for range growthRounds {
		if err := b.growTable(agent.Request{Do: agent.Grow, N: n, Size: growthValue, Step: step}, turns, &heap); err != nil {
			return err
		}
	}
	slowest := part.Curve(report.Curve{Name: "Slowest of " + count(step) + " sets while the table grows", X: "keys set", Unit: report.Micros})
	processor := part.Curve(report.Curve{Name: "Most processor time of " + count(step) + " sets while the table grows", X: "keys set", Unit: report.Micros})
	for t, line := range part.Facts.Heads {
		for i := range turns[t][0].Times {
			x := float64(uint64(i+1) * step)
			slowest.Add(line, x, median(turns[t], func(r *agent.Reply) float64 { return micros(r.Times[i]) }))
			processor.Add(line, x, median(turns[t], func(r *agent.Reply) float64 { return micros(r.CPUTimes[i]) }))
		}
	}
	if err := growthFacts(part, turns, slowest, processor); err != nil {
		return err
	}
	perKey := []float64{benchmarks.Median(heap[0]) / float64(n), benchmarks.Median(heap[1]) / float64(n)}
	b.costs.heapPerKey = perKey[0]
	part.Fact("heap for each key", report.Bytes, "a slot of the table, and 8 bytes for each record", perKey...)
	return nil
}

// growTable adds the reply of each turn of one new database, and the bytes of its heap after it.
func (b *bench) growTable(r agent.Request, turns [][]*agent.Reply, heap *[2][]float64) error {
	e, _, err := b.enterAs(b.ours(), agent.Request{Dir: b.path("growth"), Own: growthOwn})
	if err != nil {
		return err
	}
	defer b.discard(e)
	for t := range turns {
		b.seed++
		r.Seed = b.seed
		reply, err := e.agent.Do(r)
		if err != nil {
			return err
		}
		turns[t] = append(turns[t], reply)
		m, err := e.agent.Do(agent.Request{Do: agent.Memory})
		if err != nil {
			return err
		}
		heap[t] = append(heap[t], float64(m.HeapBytes))
	}
	return e.leave()
}

// growthFacts are of all databases: what the curves show of them, and what they had together.
func growthFacts(part *report.Part, turns [][]*agent.Reply, slowest, processor *report.Curve) error {
	middle := func(what, unit, how string, figure func(*agent.Reply) float64) {
		part.Fact(what, unit, how, median(turns[0], figure), median(turns[1], figure))
	}
	middle("rate", report.PerSecond, "", (*agent.Reply).Rate)
	middle("sets that changed the log", report.Sets, "slower than 1 ms, with a new log file after them", func(r *agent.Reply) float64 { return float64(len(r.Rotations)) })
	middle("the slowest of them", report.Micros, "", func(r *agent.Reply) float64 { return micros(slices.Max(append(r.Rotations, 0))) })
	part.Fact("slowest of the others", report.Micros, "what the curve shows", slowest.Greatest()...)
	part.Fact("most processor time of a set", report.Micros, "of the others, of its thread, on Linux", processor.Greatest()...)
	var merged []*hdrhistogram.Histogram
	for _, replies := range turns {
		h, err := agent.Histogram(replies...)
		if err != nil {
			return err
		}
		merged = append(merged, h)
	}
	all := func(what, unit string, figure func(*hdrhistogram.Histogram) float64) {
		part.Fact(what, unit, "of all databases, changes of the log included", figure(merged[0]), figure(merged[1]))
	}
	for _, q := range []float64{50, 99, 99.99, 100} {
		all(fmt.Sprintf("p%v", q), report.Micros, func(h *hdrhistogram.Histogram) float64 { return micros(agent.Quantile(h, q/100)) })
	}
	for _, bound := range []time.Duration{time.Millisecond, 5 * time.Millisecond} {
		all("slower than "+bound.String(), report.Sets, func(h *hdrhistogram.Histogram) float64 {
			n := int64(0)
			for _, bar := range h.Distribution() {
				if bar.From > int64(bound) {
					n += bar.Count
				}
			}
			return float64(n)
		})
	}
	return nil
}
