package main

import (
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

const (
	// growthFactor is how many new keys are set for each key of the run.
	growthFactor = 4
	growthSteps  = 40
	growthValue  = 16 // bytes
)

// growthOwn are the options under which nothing but the table takes long: no wait for the disk, no checkpoint, and small frames.
var growthOwn = &rival.Own{Unsynced: true, NoCheckpoints: true, FrameAlign: 512}

// growthSection is every set's latency while the table of the delta grows, and then while it does not.
func (b *bench) growthSection() error {
	n := growthFactor * b.keys
	step := max(1, n/growthSteps)
	part := &report.Part{Title: "Growth of the delta's table", Text: "One goroutine sets " + count(n) + " new keys, one after the other, without syncs and checkpoints, so that only the growth of " +
		"the table can delay a set; then it sets the same keys again, which grows nothing and otherwise does the same, changes of the log included: those are counted apart. What is slow in both is not the table's growth, and the processor time of a set does not count what other programs delay. " +
		"The bound on what the growth may cost a set is 5 ms."}
	slowest := part.Curve(report.Curve{Name: "Slowest of " + count(step) + " sets while the table grows", X: "keys set", Unit: report.Micros})
	processor := part.Curve(report.Curve{Name: "Most processor time of " + count(step) + " sets while the table grows", X: "keys set", Unit: report.Micros})
	part.Facts.Heads = []string{"new keys", "the same keys again"}
	b.results.AddPart(part)
	e, _, err := b.enterAs(b.ours(), agent.Request{Dir: b.path("growth"), Own: growthOwn})
	if err != nil {
		return err
	}
	defer b.discard(e)
	var turns []*agent.Reply
	var heap []float64
	for _, line := range part.Facts.Heads {
		b.seed++
		reply, err := e.agent.Do(agent.Request{Do: agent.Grow, N: n, Size: growthValue, Step: step, Seed: b.seed})
		if err != nil {
			return err
		}
		turns = append(turns, reply)
		for i, d := range reply.Times {
			slowest.Add(line, float64(uint64(i+1)*step), micros(d))
			processor.Add(line, float64(uint64(i+1)*step), micros(reply.CPUTimes[i]))
		}
		m, err := e.agent.Do(agent.Request{Do: agent.Memory})
		if err != nil {
			return err
		}
		heap = append(heap, float64(m.HeapBytes)/float64(n))
	}
	b.costs.heapPerKey = heap[0]
	if err := growthFacts(part, turns); err != nil {
		return err
	}
	part.Fact("heap for each key", report.Bytes, "a slot of the table, and 8 bytes for each record", heap...)
	return e.leave()
}

func growthFacts(part *report.Part, turns []*agent.Reply) error {
	var all []*hdrhistogram.Histogram
	for _, reply := range turns {
		h, err := agent.Histogram(reply)
		if err != nil {
			return err
		}
		all = append(all, h)
	}
	fact := func(what, unit string, figure func(h *hdrhistogram.Histogram) float64) {
		var values []float64
		for _, h := range all {
			values = append(values, figure(h))
		}
		part.Fact(what, unit, "", values...)
	}
	part.Fact("rate", report.PerSecond, "", turns[0].Rate(), turns[1].Rate())
	for _, q := range []struct {
		name string
		q    float64
	}{{"p50", 0.5}, {"p99", 0.99}, {"p99.99", 0.9999}, {"slowest", 1}} {
		fact(q.name, report.Micros, func(h *hdrhistogram.Histogram) float64 { return micros(agent.Quantile(h, q.q)) })
	}
	rotations, longest := make([]float64, 2), make([]float64, 2)
	for i, reply := range turns {
		if rotations[i] = float64(len(reply.Rotations)); rotations[i] > 0 {
			longest[i] = micros(slices.Max(reply.Rotations))
		}
	}
	part.Fact("sets that changed the log", report.Sets, "slower than 1 ms, with a new log file after them", rotations...)
	part.Fact("the slowest of them", report.Micros, "", longest...)
	part.Fact("slowest of the others", report.Micros, "what the curve shows", micros(slices.Max(turns[0].Times)), micros(slices.Max(turns[1].Times)))
	part.Fact("most processor time of a set", report.Micros, "of the others, of its thread, on Linux: what other programs delay does not count", micros(slices.Max(turns[0].CPUTimes)), micros(slices.Max(turns[1].CPUTimes)))
	for _, bound := range []time.Duration{time.Millisecond, 5 * time.Millisecond} {
		fact("slower than "+bound.String(), report.Sets, func(h *hdrhistogram.Histogram) float64 {
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
