package main

import (
	"fmt"

	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

// memorySection weighs a fresh process of each, after every key was read once.
func (b *bench) memorySection() error {
	if err := b.loadAll(); err != nil {
		return err
	}
	for _, r := range b.rivals {
		dir, ok := b.loaded[r.Name]
		if !r.Reads || r.Durable && !ok {
			continue
		}
		if err := b.failed(r, b.weigh(r, dir)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) weigh(r *rival.Rival, dir string) error {
	e, err := b.openOne(r, dir, b.keys)
	if err != nil {
		return err
	}
	defer e.agent.Kill()
	m, err := e.agent.Do(agent.Request{Do: agent.Memory, N: b.keys})
	if err != nil {
		return err
	}
	prefix := fmt.Sprintf("memory, %s keys, ", count(b.keys))
	resident := float64(m.Resident) / (float64(b.keys) * dataLen)
	b.results.Add(prefix+"resident per byte of data", r.Name, resident, report.Times)
	if !r.Served { // a server has a heap of its own, and no garbage collector
		b.addHeap(prefix, r, m)
	}
	if r.Name == rival.Ours {
		b.setRatio("rss_per_data_1m", resident, true)
		b.setRatio("heap_objects_1m", float64(m.HeapObjects), true)
	}
	_, err = e.agent.Close()
	return err
}

func (b *bench) addHeap(prefix string, r *rival.Rival, m *agent.Reply) {
	b.results.Add(prefix+"live heap objects", r.Name, float64(m.HeapObjects), report.Objects)
	b.results.Add(prefix+"a garbage collection", r.Name, millis(m.Collection), report.Millis)
	b.results.Add(prefix+"its longest pause", r.Name, micros(m.Pause), report.Micros)
}
