package main

import (
	"fmt"
	"time"

	"github.com/tongpengdl/small-db/benchmarks/peers/report"
	"github.com/tongpengdl/small-db/engine"
)

// paperKeys are the numbers of keys that nothing here is measured with.
var paperKeys = []float64{100e6, 1e9}

const (
	gibibyte = 1 << 30
)

// paperSection computes what many keys would take from what was measured. Without that it has nothing to say.
func (b *bench) paperSection() error {
	k := &b.costs
	if k.keys == 0 || k.heapPerKey == 0 {
		b.note("nothing is computed on paper: that needs the sections keys and growth in the same run")
		return nil
	}
	part := &report.Part{Title: "On paper", Text: fmt.Sprintf("Computed, not measured, for keys of 16 and values of 128 bytes, from constants that this run has measured over %s keys: a key takes "+
		"%.0f bytes in a checkpoint and %.0f on the heap while it is in the delta, a set takes %.0f bytes in the log, for each of which %.2f bytes are written in large groups, the zeros of new log files included; a checkpoint writes %.0f MiB/s, "+
		"an open after a kill replays %.0f MiB/s. All of the delta's keys are taken to be different ones.",
		count(uint64(k.keys)), k.basePerKey, k.heapPerKey, recordBytes, k.logWritten, k.checkpointRate/mebibyte, k.recoveryRate/mebibyte)}
	columns := make([]paper, len(paperKeys))
	for i, n := range paperKeys {
		part.Facts.Heads = append(part.Facts.Heads, count(uint64(n))+" keys")
		columns[i] = k.at(n)
	}
	for _, line := range paperLines {
		values := make([]float64, len(columns))
		for i := range columns {
			values[i] = line.figure(&columns[i])
		}
		part.Fact(line.what, line.unit, line.how, values...)
	}
	b.results.AddPart(part)
	return nil
}

// paper is what n keys take.
type paper struct {
	base, threshold   float64 // bytes; the threshold is of record bytes
	deltaKeys, heap   float64
	checkpoint        time.Duration
	written           float64 // bytes for each byte of user data
	recovery, opening float64 // s, ms
}

func (k *costs) at(n float64) paper {
	p := paper{base: n * k.basePerKey}
	p.threshold = max(engine.DefaultCheckpointLogBytes, p.base)
	p.deltaKeys = min(n, p.threshold/recordBytes)
	p.heap = p.deltaKeys * k.heapPerKey
	p.checkpoint = time.Duration(p.base / k.checkpointRate * float64(time.Second))
	p.written = (p.threshold*k.logWritten + p.base) / (p.threshold / recordBytes * dataLen)
	p.recovery = p.threshold / k.recoveryRate
	p.opening = k.openLeast + max(0, k.openMost-k.openLeast)*n/k.keys
	return p
}

var paperLines = []struct {
	what, unit, how string
	figure          func(*paper) float64
}{
	{"base", report.GiB, "keys x bytes of a key in a checkpoint: resident when all was read, and on the disk", func(p *paper) float64 { return p.base / gibibyte }},
	{"record bytes until a checkpoint", report.GiB, "256 MiB, or the base if that is more", func(p *paper) float64 { return p.threshold / gibibyte }},
	{"heap for a full delta", report.GiB, "(record bytes / bytes of a set, at most all keys) x heap of a key", func(p *paper) float64 { return p.heap / gibibyte }},
	{"memory with an empty delta", report.GiB, "base", func(p *paper) float64 { return p.base / gibibyte }},
	{"memory with a full delta", report.GiB, "base + record bytes + heap; frames of few sets are padded, so that a log takes up to 8 x its record bytes", func(p *paper) float64 { return (p.base + p.threshold + p.heap) / gibibyte }},
	{"memory at the end of a checkpoint", report.GiB, "2 bases + record bytes + heap, if nothing is written meanwhile", func(p *paper) float64 {
		return (2*p.base + p.threshold + p.heap) / gibibyte
	}},
	{"disk at the end of a checkpoint", report.GiB, "2 bases, and the record bytes since the older one", func(p *paper) float64 { return (2*p.base + p.threshold) / gibibyte }},
	{"time of a checkpoint", report.Seconds, "base / its rate", func(p *paper) float64 { return p.checkpoint.Seconds() }},
	{"written by a checkpoint", report.GiB, "base", func(p *paper) float64 { return p.base / gibibyte }},
	{"written per byte of user data", report.Times, "(record bytes x what is written for each + base) / user bytes in the log, in large groups", func(p *paper) float64 { return p.written }},
	{"open after a kill with a full delta", report.Seconds, "record bytes / rate of replay", func(p *paper) float64 { return p.recovery }},
	{"open after a clean close, empty log", report.Millis, "a line through the times with the fewest and the most keys", func(p *paper) float64 { return p.opening }},
}
