package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

// largeSection is open and get over the large data set. In a quick run, and for what ratios need, it is for ours alone.
func (b *bench) largeSection() error {
	if b.large == 0 {
		return nil
	}
	b.closeReaders()
	ours, dir := b.rivals[0], b.path("large", rival.Ours)
	took, err := b.loadAndReopen(ours, dir)
	if err != nil {
		return err
	}
	b.setRatio("open_10m_ms", took, true)
	base, err := b.enter(ours, dir, b.large)
	if err != nil {
		return err
	}
	defer base.agent.Kill()
	base.close = true
	if !b.largeAll {
		return errors.Join(b.largeGetsOf(base), base.leave())
	}
	delta, err := b.enterDelta(dir, b.large)
	if err != nil {
		return err
	}
	defer delta.agent.Kill()
	if err := b.getAll([]*entrant{delta.entrant, base}, delta, b.large, b.otherRounds, 0); err != nil {
		return err
	}
	if err := delta.leave(); err != nil {
		return err
	}
	if err := b.largeRivals(base); err != nil {
		return err
	}
	return base.leave()
}

// largeGetsOf measures the gets of ours with an empty delta: to fill one over so many keys takes longer than all else of a quick run.
func (b *bench) largeGetsOf(base *entrant) error {
	for _, miss := range []bool{false, true} {
		request := agent.Request{Do: agent.Get, N: b.large, Workers: 2, Miss: miss, For: b.get}
		t, err := b.rounds([]*entrant{base}, b.plan.rounds, 0, request)
		if err != nil {
			return err
		}
		b.addRates(getWorkload(request), report.PerSecond, []*entrant{base}, t)
	}
	return nil
}

// loadAndReopen loads the large data set, and returns how many ms it takes to open it.
func (b *bench) loadAndReopen(r *rival.Rival, dir string) (float64, error) {
	if err := b.loadOne(r, dir, b.large); err != nil {
		return 0, err
	}
	took, err := b.reopen(r, dir, b.large)
	if err == nil {
		b.results.Add(fmt.Sprintf("open, %s keys, after a clean close", count(b.large)), r.Name, took, report.Millis)
	}
	return took, err
}

// largeRivals measures the others, one after the other: all at the same time would not fit into memory.
func (b *bench) largeRivals(base *entrant) error {
	for _, r := range b.rivals[1:] {
		if !r.Reads {
			continue
		}
		if time.Since(b.started) > b.budget {
			b.note("%s was not measured with %s keys: the time was up", r.Name, count(b.large))
			continue
		}
		dir := b.path("large", r.Name)
		err := b.largeRival(base, r, dir)
		if err := errors.Join(b.failed(r, err), os.RemoveAll(dir)); err != nil {
			return err
		}
	}
	return nil
}

// largeRival is open and get of one, with ours beside it in turns.
func (b *bench) largeRival(base *entrant, r *rival.Rival, dir string) error {
	if r.Durable {
		if _, err := b.loadAndReopen(r, dir); err != nil {
			return err
		}
	}
	e, err := b.openOne(r, dir, b.large)
	if err != nil {
		return err
	}
	defer func() { e.agent.Kill() }()
	for _, miss := range []bool{false, true} {
		for _, n := range getReaders {
			request := agent.Request{Do: agent.Get, N: b.large, Workers: n, Miss: miss, For: b.get}
			t, err := b.rounds([]*entrant{base, e}, b.otherRounds, b.otherRounds, request)
			if err != nil {
				return err
			}
			b.addRates(getWorkload(request), report.PerSecond, []*entrant{e}, t)
		}
	}
	return e.leave()
}
