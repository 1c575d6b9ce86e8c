package main

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

// deltaName is ours with a delta that is nearly at its threshold.
const deltaName = rival.Ours + " (delta)"

// deltaTime is how old a filled delta may become before it is filled anew: a checkpoint comes after a minute.
const deltaTime = 20 * time.Second

// fullDelta is ours with a full delta.
type fullDelta struct {
	*entrant
	filled time.Time
}

// getReaders are the numbers of goroutines.
var getReaders = []int{1, 2}

// getSection is random gets of keys that are set and of keys that are not. Ours is measured twice: with an empty delta, and with one that is
// nearly at its threshold. Of the two, the worse one counts for the ratios.
func (b *bench) getSection() error {
	if err := b.loadAll(); err != nil {
		return err
	}
	delta, err := b.enterDelta(b.loaded[rival.Ours], b.keys)
	if err != nil {
		return err
	}
	defer func() { delta.agent.Kill(); os.RemoveAll(delta.dir) }()
	readers, err := b.open()
	if err != nil {
		return err
	}
	for _, e := range readers {
		e.close = slices.Contains([]string{rival.Ours, mapName, lmdbName}, e.name)
	}
	entrants := append([]*entrant{delta.entrant}, readers...)
	return b.getAll(entrants, delta, b.keys, b.plan.rounds, b.otherRounds)
}

// enterDelta opens a copy of what was loaded.
func (b *bench) enterDelta(loaded string, n uint64) (*fullDelta, error) {
	dir := b.path("delta", count(n))
	if err := os.CopyFS(dir, os.DirFS(loaded)); err != nil {
		return nil, err
	}
	e, err := b.enter(b.rivals[0], dir, n)
	if err != nil {
		return nil, err
	}
	e.name, e.close = deltaName, true
	return &fullDelta{entrant: e}, nil
}

func (b *bench) getAll(entrants []*entrant, delta *fullDelta, keys uint64, rounds, others int) error {
	for _, miss := range []bool{false, true} {
		for _, n := range getReaders {
			if err := b.getRounds(entrants, delta, keys, rounds, others, agent.Request{Do: agent.Get, N: keys, Workers: n, Miss: miss, For: b.get}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) getRounds(entrants []*entrant, delta *fullDelta, keys uint64, rounds, others int, request agent.Request) error {
	workload := getWorkload(request)
	b.say("%s", workload)
	checkpoints, err := b.fill(delta, keys)
	if err != nil {
		return err
	}
	t, err := b.rounds(entrants, rounds, others, request)
	if err != nil {
		return err
	}
	if replies := t.of(deltaName); replies[len(replies)-1].Compactions != checkpoints {
		b.note("%s: a checkpoint emptied the delta meanwhile; the figure of ours (delta) is for less than a full one", workload)
	}
	b.addRates(workload, report.PerSecond, entrants, t)
	if keys == b.keys && !request.Miss && request.Workers == 2 {
		b.setWorseRatio("get_2_vs_rwmap", t, mapName)
		b.setWorseRatio("get_2_vs_lmdb", t, lmdbName)
	}
	return nil
}

// getWorkload names the row of a get.
func getWorkload(r agent.Request) string {
	what := "get"
	if r.Miss {
		what = "get of a key that is not set"
	}
	return fmt.Sprintf("%s, %s keys, readers %d", what, count(r.N), r.Workers)
}

// setWorseRatio records the worse one of the ratios of ours, with an empty and with a full delta.
func (b *bench) setWorseRatio(goal string, t turns, other string) {
	base, ok := t.ratio(rival.Ours, other)
	delta, also := t.ratio(deltaName, other)
	b.setRatio(goal, min(base, delta), ok && also)
}

// fill sees to it that the delta is nearly at its threshold, and young. It returns the checkpoints that there have been.
func (b *bench) fill(delta *fullDelta, keys uint64) (checkpoints int, err error) {
	if !delta.filled.IsZero() && time.Since(delta.filled) > deltaTime {
		if _, err := delta.agent.Do(agent.Request{Do: agent.Compact}); err != nil {
			return 0, err
		}
	}
	b.seed++
	reply, err := delta.agent.Do(agent.Request{Do: agent.Fill, N: keys, Seed: b.seed, For: b.fillTime})
	if err != nil {
		return 0, err
	}
	if reply.Ops > 0 {
		delta.filled = time.Now()
		b.say("delta filled to %.0f %% of its threshold in %s", 100*reply.Filled, reply.Took.Round(time.Millisecond))
		if reply.Filled < 0.5 {
			b.note("the delta over %s keys could be filled to %.0f %% of its threshold only: a checkpoint comes after a minute", count(keys), 100*reply.Filled)
		}
	}
	return reply.Compactions, nil
}

// scanLengths are the keys in a scan.
var scanLengths = []int{100, 10_000}

// scanSection is scans in key order from a random key on, by one goroutine.
func (b *bench) scanSection() error {
	entrants, err := b.ordered()
	if err != nil {
		return err
	}
	for _, length := range scanLengths {
		t, err := b.rounds(entrants, b.otherRounds, b.otherRounds, agent.Request{Do: agent.Scan, N: b.keys, Workers: 1, Length: length, For: b.get})
		if err != nil {
			return err
		}
		b.addRates(fmt.Sprintf("scan, %d keys", length), report.KeysRate, entrants, t)
	}
	return nil
}

// ordered are the open ones that can be scanned.
func (b *bench) ordered() ([]*entrant, error) {
	entrants, err := b.open()
	return slices.DeleteFunc(slices.Clone(entrants), func(e *entrant) bool { return !e.rival.Ordered }), err
}

// mixWorkers is the goroutines of a YCSB workload.
const mixWorkers = 16

// mixSection is the core workloads of YCSB. That without writes comes first, and that with inserts last.
func (b *bench) mixSection() error {
	all, err := b.open()
	if err != nil {
		return err
	}
	durable := slices.DeleteFunc(slices.Clone(all), func(e *entrant) bool { return !e.rival.Durable })
	ordered, err := b.ordered()
	if err != nil {
		return err
	}
	for _, mix := range []struct {
		name     string
		entrants []*entrant
	}{{"C", durable}, {"B", durable}, {"A", durable}, {"E", ordered}} {
		b.say("YCSB %s", mix.name)
		t, err := b.rounds(mix.entrants, b.mixRounds, b.mixRounds, agent.Request{Do: agent.Mix, Mix: mix.name, N: b.keys, Workers: mixWorkers, For: b.mix})
		if err != nil {
			return err
		}
		b.addRates("YCSB, "+mix.name, report.PerSecond, mix.entrants, t)
	}
	return nil
}
