package main

import (
	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
)

// valueSizes are the bytes of a value.
var valueSizes = []int{16, 128, 1 << 10, 16 << 10, 128 << 10, 1 << 20}

const (
	// All values of a size take so many bytes, at most, and no more than so many for each key of the run.
	valueBytes       = 256 * mebibyte
	valueBytesPerKey = 256
	leastValues      = 4
)

// valuesOf is how many keys have a value of a size.
func (p *plan) valuesOf(size int) uint64 {
	return max(leastValues, min(p.keys, min(valueBytes, p.keys*valueBytesPerKey)/uint64(size)))
}

// valuesSection is sets and gets of larger and larger values.
func (b *bench) valuesSection() error {
	part := &report.Part{Title: "Values", Text: "Durable sets by 1 and 16 writers, and random gets by one goroutine, each with a copy of the value, over a base of at most 256 MiB. " +
		"The rates of bytes are those of values."}
	curve := func(name, unit string) *report.Curve {
		return part.Curve(report.Curve{Name: name, X: "value", Unit: unit, Bytes: true, Doubles: true})
	}
	sets, bytes := curve("Durable set by value size", report.PerSecond), curve("Bytes set by value size", report.MiBRate)
	get, read := curve("Random get by value size", report.Nanos), curve("Bytes read by value size", report.MiBRate)
	b.results.AddPart(part)
	for _, size := range valueSizes {
		n, x := b.valuesOf(size), float64(size)
		b.say("values of %s bytes", count(uint64(size)))
		e, err := b.loadOurs(b.path("values", count(uint64(size))), n, size)
		if err != nil {
			return err
		}
		defer b.discard(e)
		cost, err := b.costOf(e, agent.Request{Do: agent.Get, N: n, Size: size, Workers: 1, For: b.get})
		if err != nil {
			return err
		}
		get.Add("base only", x, cost)
		read.Add("base only", x, x*1e9/cost/mebibyte)
		for _, w := range []struct {
			name string
			n    int
		}{{"1 writer", 1}, {"16 writers", 16}} {
			rate, err := b.rateOf(e, agent.Request{Do: agent.Set, N: n, Size: size, Workers: w.n, For: b.set})
			if err != nil {
				return err
			}
			sets.Add(w.name, x, rate)
			bytes.Add(w.name, x, rate*x/mebibyte)
		}
		if err := e.leave(); err != nil {
			return err
		}
	}
	return nil
}
