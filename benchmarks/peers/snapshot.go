package main

import (
	"fmt"

	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
)

// heldCheckpoints are those through which a snapshot is held.
const heldCheckpoints = 3

// snapshotSection holds a snapshot through checkpoints, and does the same without one.
func (b *bench) snapshotSection() error {
	part := &report.Part{Title: "A snapshot held through three checkpoints", Text: "A base of " + count(b.keys) + " keys. Steps: 0 before, 1 with the snapshot, which is taken when each key " +
		"was set again, 2 to 4 after sets by 64 writers and a checkpoint each, 5 with the snapshot dropped, 6 after one more checkpoint. The line without does the same and holds nothing. " +
		"At each step keys that are read in the snapshot are as they were when it was taken."}
	c := &heldCurves{}
	for _, curve := range []struct {
		to         **report.Curve
		name, unit string
	}{
		{&c.get, "Random get beside a snapshot", report.Nanos}, {&c.set, "Durable set by 64 writers beside a snapshot", report.PerSecond},
		{&c.heap, "Go heap beside a snapshot", report.MiB}, {&c.resident, "Resident memory beside a snapshot", report.MiB},
		{&c.disk, "Disk beside a snapshot", report.MiB}, {&c.recall, "Random get in a snapshot", report.Nanos},
	} {
		*curve.to = part.Curve(report.Curve{Name: curve.name, X: "step", Unit: curve.unit})
	}
	b.results.AddPart(part)
	for _, line := range []string{heldLine, "without"} {
		if err := b.holdThrough(line, c); err != nil {
			return err
		}
	}
	return nil
}

const heldLine = "snapshot held"

type heldCurves struct{ get, set, heap, resident, disk, recall *report.Curve }

// holdThrough is all steps.
func (b *bench) holdThrough(line string, c *heldCurves) error {
	e, err := b.loadOurs(b.path("snapshot", line), b.keys, 0)
	if err != nil {
		return err
	}
	defer b.discard(e)
	held := line == heldLine
	change := agent.Request{Do: agent.Set, N: b.keys, Workers: setsOfMany, For: b.set}
	compact := agent.Request{Do: agent.Compact}
	steps := [][]agent.Request{nil, {{Do: agent.Load, N: b.keys}, {Do: agent.Hold}}}
	for range heldCheckpoints {
		steps = append(steps, []agent.Request{change, compact})
	}
	steps = append(steps, []agent.Request{{Do: agent.Release}}, []agent.Request{change, compact})
	for step, requests := range steps {
		b.say("%s, step %d", line, step)
		for _, r := range requests {
			if !held && (r.Do == agent.Hold || r.Do == agent.Release) {
				continue
			}
			b.seed++
			r.Seed = b.seed
			if err := e.do(r); err != nil {
				return fmt.Errorf("step %d: %w", step, err)
			}
		}
		inside := held && step > 0 && step <= 1+heldCheckpoints
		if err := b.beside(e, line, float64(step), inside, c); err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
	}
	return e.leave()
}

// beside measures at a step.
func (b *bench) beside(e *entrant, line string, x float64, inside bool, c *heldCurves) error {
	var s states
	if err := b.weight(e, &s); err != nil {
		return err
	}
	c.heap.Add(line, x, s.heap[0])
	c.resident.Add(line, x, s.resident[0])
	c.disk.Add(line, x, s.disk[0])
	if err := b.point(c.get, line, x, e, agent.Request{Do: agent.Get, N: b.keys, Workers: 1, For: b.get}); err != nil {
		return err
	}
	if inside {
		if err := b.point(c.recall, line, x, e, agent.Request{Do: agent.Recall, N: b.keys, For: b.get}); err != nil {
			return err
		}
	}
	return b.point(c.set, line, x, e, agent.Request{Do: agent.Set, N: b.keys, Workers: setsOfMany, For: b.set})
}
