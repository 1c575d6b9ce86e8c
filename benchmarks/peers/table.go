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
		"All of it in " + fmt.Sprint(growthRounds) + " new databases, of which the medians are shown: what the machine does to a program now and then comes elsewhere in each of them. What the growth costs comes in each, at about the same number of keys, so it is at most the slowest set of the calmest one. " +
		"The bound on what the growth may cost a set is 5 ms."}
	b.results.AddPart(part)
	part.Facts.Heads = []string{"new keys", "the same keys again"}
	turns := make([]growthTurn, len(part.Facts.Heads))
	for range growthRounds {
		if err := b.growTable(agent.Request{Do: agent.Grow, N: n, Size: growthValue, Step: step}, turns); err != nil {
			return err
		}
	}
	slowest := part.Curve(report.Curve{Name: "Slowest of " + count(step) + " sets while the table grows", X: "keys set", Unit: report.Micros})
	processor := part.Curve(report.Curve{Name: "Most processor time of " + count(step) + " sets while the table grows", X: "keys set", Unit: report.Micros})
	for t, line := range part.Facts.Heads {
		for i := range turns[t].replies[0].Times {
			x := float64(uint64(i+1) * step)
			slowest.Add(line, x, median(turns[t].replies, func(r *agent.Reply) float64 { return micros(r.Times[i]) }))
			processor.Add(line, x, median(turns[t].replies, func(r *agent.Reply) float64 { return micros(r.CPUTimes[i]) }))
		}
	}
	if err := growthFacts(part, turns, slowest, processor); err != nil {
		return err
	}
	heap := func(t int) float64 { return benchmarks.Median(turns[t].heap) / float64(n) }
	b.costs.heapPerKey = heap(0)
	part.Fact("heap for each key", report.Bytes, "a slot of the table, and 8 bytes for each record", heap(0), heap(1))
	return nil
}

// growthTurn is one turn in all databases, in the same order.
type growthTurn struct {
	replies []*agent.Reply
	heap    []float64 // bytes after it
}

// slowest is the slowest set of each database, in µs, changes of the log left out.
func (t growthTurn) slowest() []float64 {
	var all []float64
	for _, r := range t.replies {
		all = append(all, micros(slices.Max(r.Times)))
	}
	return all
}

// growTable adds the turns of one new database.
func (b *bench) growTable(r agent.Request, turns []growthTurn) error {
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
		turns[t].replies = append(turns[t].replies, reply)
		m, err := e.agent.Do(agent.Request{Do: agent.Memory})
		if err != nil {
			return err
		}
		turns[t].heap = append(turns[t].heap, float64(m.HeapBytes))
	}
	return e.leave()
}

// growthFacts are medians over the databases, but for what their names say.
func growthFacts(part *report.Part, turns []growthTurn, slowest, processor *report.Curve) error {
	middle := func(what, unit, how string, figure func(*agent.Reply) float64) {
		part.Fact(what, unit, how, median(turns[0].replies, figure), median(turns[1].replies, figure))
	}
	middle("rate", report.PerSecond, "", (*agent.Reply).Rate)
	middle("sets that changed the log", report.Sets, "slower than 1 ms, with a new log file after them", func(r *agent.Reply) float64 { return float64(len(r.Rotations)) })
	middle("the slowest of them", report.Micros, "", func(r *agent.Reply) float64 { return micros(slices.Max(append(r.Rotations, 0))) })
	part.Fact("slowest of the others", report.Micros, "what the curve shows", slowest.Greatest()...)
	fresh, again := turns[0].slowest(), turns[1].slowest()
	part.Fact("slowest of the others in the calmest database", report.Micros, "", slices.Min(fresh), slices.Min(again))
	part.Fact("slowest of the others in any database", report.Micros, "", slices.Max(fresh), slices.Max(again))
	part.Fact("most processor time of a set", report.Micros, "of the others, of its thread, on Linux: what the curve shows", processor.Greatest()...)
	return growthTails(part, turns)
}

// growthTails are of the sets of all databases together.
func growthTails(part *report.Part, turns []growthTurn) error {
	var merged []*hdrhistogram.Histogram
	for _, turn := range turns {
		h, err := agent.Histogram(turn.replies...)
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
