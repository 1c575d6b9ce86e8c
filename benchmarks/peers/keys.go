package main

import (
	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
	"github.com/tongpengdl/small-db/format"
)

// costs are measured constants, over as many keys as the run has at most.
type costs struct {
	keys                float64 // that they were measured with; 0 if they were not
	basePerKey          float64 // bytes of a checkpoint
	logWritten          float64 // written to logs for each byte of records, in large groups, zeros of new files included
	checkpointRate      float64 // bytes of a checkpoint in a second, with a delta at its threshold
	recoveryRate        float64 // record bytes replayed in a second, by an open after a kill
	openLeast, openMost float64 // ms after a clean close, with the fewest and with the most keys
	heapPerKey          float64 // bytes on the heap for each key in a delta
}

// recordBytes is what a set takes in a log, without its frame.
var recordBytes = float64(format.RecordLen(benchmarks.KeyLen, benchmarks.ValueLen, false))

// keyCurves are what is measured over more and more keys.
type keyCurves struct{ get, set, scan, open, checkpoint, written *report.Curve }

// keysSection is the cost of everything over more and more keys.
func (b *bench) keysSection() error {
	part := &report.Part{Title: "Keys", Text: "Random gets by one goroutine, durable sets of random keys, ordered scans of all keys, and open to the first value, over a base of " +
		"more and more keys. A delta is full when a checkpoint is due: after 256 MiB of records, or as many bytes as the base has if that is more. The first scan over it sorts it. " +
		"The open after a kill replays all of it. Gets that come just after the open meet pages that the process has not mapped yet, or that are not in memory; before the others every key was read once. Background checkpoints are off while a full delta is measured, and on otherwise."}
	curve := func(name, unit string) *report.Curve {
		return part.Curve(report.Curve{Name: name, X: "keys", Unit: unit, Doubles: true})
	}
	c := &keyCurves{
		get: curve("Random get by keys", report.Nanos), set: curve("Durable set by keys", report.PerSecond),
		scan: curve("Ordered scan by keys", report.KeysRate), open: curve("Open by keys", report.Millis),
		checkpoint: curve("Checkpoint with a full delta by keys", report.Millis), written: curve("Written per byte by keys", report.Times),
	}
	b.results.AddPart(part)
	for _, n := range b.keySizes() {
		b.say("%s keys", count(n))
		if err := b.keysAt(n, c); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) keysAt(n uint64, c *keyCurves) error {
	e, err := b.loadOurs(b.path("grow", count(n)), n, 0)
	if err != nil {
		return err
	}
	defer func() { b.discard(e) }()
	x := float64(n)
	if _, err := e.agent.Close(); err != nil {
		return err
	}
	took, err := b.reopen(b.ours(), e.dir, n)
	if err != nil {
		return err
	}
	c.open.Add("after a clean close", x, took)
	if b.costs.openLeast == 0 {
		b.costs.openLeast = took
	}
	b.costs.openMost = took
	e.agent.Kill()
	if e, err = b.enter(b.ours(), e.dir, n); err != nil {
		return err
	}
	if err := b.overBase(e, n, c); err != nil {
		return err
	}
	if e, err = b.reenter(e, agent.Request{N: n, Own: noCheckpoints}); err != nil {
		return err
	}
	filled, err := b.overDelta(e, n, c)
	if err != nil {
		return err
	}
	e.agent.Kill()
	again, reply, err := b.enterAs(b.ours(), agent.Request{Dir: e.dir, N: n, Own: noCheckpoints})
	if err != nil {
		return err
	}
	e = again
	c.open.Add("after a kill, with a full delta", x, millis(reply.Took))
	b.costs.recoveryRate = float64(filled.LogBytes) / reply.Took.Seconds()
	return b.checkpointAt(e, n, filled, c)
}

// overBase is what needs no delta, and sets.
func (b *bench) overBase(e *entrant, n uint64, c *keyCurves) error {
	x := float64(n)
	get := agent.Request{Do: agent.Get, N: n, Workers: 1, For: b.get}
	if err := b.point(c.get, "base only, just opened", x, e, get); err != nil {
		return err
	}
	if err := e.do(agent.Request{Do: agent.Memory, N: n}); err != nil { // every page is mapped from then on
		return err
	}
	if err := b.point(c.get, "base only", x, e, get); err != nil {
		return err
	}
	if err := b.point(c.scan, "base only", x, e, agent.Request{Do: agent.Walk, N: n, For: b.get}); err != nil {
		return err
	}
	if err := b.point(c.set, "1 writer", x, e, agent.Request{Do: agent.Set, N: n, Workers: 1, For: b.set}); err != nil {
		return err
	}
	if err := b.point(c.set, "64 writers", x, e, agent.Request{Do: agent.Set, N: n, Workers: setsOfMany, For: b.set}); err != nil {
		return err
	}
	return e.do(agent.Request{Do: agent.Compact, Weigh: true}) // the delta that is filled next starts empty
}

// overDelta fills the delta and reads. It returns what filled it.
func (b *bench) overDelta(e *entrant, n uint64, c *keyCurves) (*agent.Reply, error) {
	b.seed++
	filled, err := e.agent.Do(agent.Request{Do: agent.Fill, N: n, Seed: b.seed, Part: 1, For: b.fillTime, Weigh: true})
	if err != nil {
		return nil, err
	}
	b.say("delta filled to %.0f %% of its threshold", 100*filled.Filled)
	if filled.Filled < 0.95 {
		b.note("as keys grow: the delta over %s keys was filled to %.0f %% of its threshold in the time that it has", count(n), 100*filled.Filled)
	}
	x := float64(n)
	if err := b.point(c.get, "full delta", x, e, agent.Request{Do: agent.Get, N: n, Workers: 1, For: b.get}); err != nil {
		return nil, err
	}
	walk, err := e.agent.Do(agent.Request{Do: agent.Walk, N: n})
	if err != nil {
		return nil, err
	}
	c.scan.Add("full delta, the first", x, walk.Rate())
	return filled, b.point(c.scan, "full delta, again", x, e, agent.Request{Do: agent.Walk, N: n, For: b.get})
}

// checkpointAt makes a checkpoint of base and delta.
func (b *bench) checkpointAt(e *entrant, n uint64, filled *agent.Reply, c *keyCurves) error {
	reply, err := e.agent.Do(agent.Request{Do: agent.Compact, Weigh: true})
	if err != nil {
		return err
	}
	x, user := float64(n), float64(filled.Ops)*dataLen
	c.checkpoint.Add("its time", x, millis(reply.Took))
	c.written.Add("log, in large groups", x, float64(filled.Written)/user)
	c.written.Add("log and the checkpoint after it", x, float64(filled.Written+reply.Written)/user)
	k := &b.costs
	k.keys, k.basePerKey = x, float64(reply.Base)/x
	k.logWritten = float64(filled.Written) / (float64(filled.Ops) * recordBytes)
	k.checkpointRate = float64(reply.Base) / reply.Took.Seconds()
	_, err = e.agent.Close()
	return err
}
