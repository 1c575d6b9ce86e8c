package main

import (
	"fmt"

	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

// memorySection is what each weighs in a fresh process, after every key was read once.
func (b *bench) memorySection() error {
	readers, err := b.open()
	if err != nil {
		return err
	}
	for _, e := range readers {
		b.addMemory(e.rival, e.fresh)
	}
	return nil
}

func (b *bench) addMemory(r *rival.Rival, m *agent.Reply) {
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
}

func (b *bench) addHeap(prefix string, r *rival.Rival, m *agent.Reply) {
	b.results.Add(prefix+"live heap objects", r.Name, float64(m.HeapObjects), report.Objects)
	b.results.Add(prefix+"a garbage collection", r.Name, millis(m.Collection), report.Millis)
	b.results.Add(prefix+"its longest pause", r.Name, micros(m.Pause), report.Micros)
}
