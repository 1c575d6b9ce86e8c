package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

// openSection is from the call of open to the first value read. The store was compacted and closed, and its files are in the page cache.
func (b *bench) openSection() error {
	if err := b.loadAll(); err != nil {
		return err
	}
	for _, r := range b.rivals {
		dir, ok := b.loaded[r.Name]
		if !ok {
			continue
		}
		took, err := b.reopen(r, dir, b.keys)
		if err != nil {
			if err := b.failed(r, err); err != nil {
				return err
			}
			continue
		}
		b.results.Add(fmt.Sprintf("open, %s keys, after a clean close", count(b.keys)), r.Name, took, report.Millis)
		if r.Name == rival.Ours {
			b.setRatio("open_1m_ms", took, true)
		}
	}
	return nil
}

// reopen returns the median of the times to the first value, in ms.
func (b *bench) reopen(r *rival.Rival, dir string, n uint64) (float64, error) {
	a, err := b.startAgent()
	if err != nil {
		return 0, err
	}
	defer a.Kill()
	reply, err := a.Do(agent.Request{Do: agent.Reopen, Rival: r.Name, Dir: dir, N: n, Times: b.opens, Warm: true})
	if err != nil {
		return 0, err
	}
	times := make([]float64, len(reply.Times))
	for i, d := range reply.Times {
		times[i] = millis(d)
	}
	return benchmarks.Median(times), nil
}

// killedKeys is how many keys are set between a compaction and the kill.
const killedKeys = 100_000

func (b *bench) killed() uint64 { return min(killedKeys, b.keys) }

// killSection kills each store after some sets that it has acknowledged, and opens it again, in a new process. It ends what is open.
func (b *bench) killSection() error {
	readers, err := b.open()
	if err != nil {
		return err
	}
	for _, e := range slices.Clone(readers) {
		if !e.rival.Durable || !b.among(e.rival) {
			continue
		}
		times, err := b.killAndOpen(e)
		if err != nil {
			b.drop(e)
			if err := b.failed(e.rival, err); err != nil {
				return err
			}
			continue
		}
		b.results.Add(fmt.Sprintf("open, %s keys, after a kill and %s sets", count(b.keys), count(b.killed())), e.name, benchmarks.Median(times), report.Millis)
	}
	b.closeReaders()
	return nil
}

// serverEnd is the time that a killed agent's server is given to end, too.
const serverEnd = 100 * time.Millisecond

func (b *bench) killAndOpen(e *entrant) (times []float64, err error) {
	for range b.kills {
		if _, err := e.agent.Do(agent.Request{Do: agent.Compact}); err != nil {
			return nil, err
		}
		if _, err := e.agent.Do(agent.Request{Do: agent.Load, N: b.killed()}); err != nil {
			return nil, err
		}
		e.agent.Kill()
		time.Sleep(serverEnd)
		a, err := b.startAgent()
		if err != nil {
			return nil, err
		}
		e.agent = a
		reply, err := a.Do(agent.Request{Do: agent.Open, Rival: e.rival.Name, Dir: e.dir, N: b.keys})
		if err != nil {
			return nil, err
		}
		times = append(times, millis(reply.Took))
	}
	return times, nil
}
