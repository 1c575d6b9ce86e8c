package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
)

// bench is a run.
type bench struct {
	plan
	ctx     context.Context
	results *report.Results
	servers []*server // ours first
	seed    uint64    // of the last turn
	started time.Time
}

// measure builds, starts, loads and measures the servers; parent is where their data lies meanwhile. What was measured before an error is
// returned with it.
func measure(ctx context.Context, p plan, parent string) (*report.Results, error) {
	chosen, err := choose(p.engines)
	if err != nil {
		return nil, err
	}
	if err := benchmarks.CheckDirectory(parent); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, "small-db-http")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b := &bench{plan: p, ctx: ctx, started: time.Now(), results: newResults()}
	defer b.killAll()
	if err := b.startAll(chosen, dir); err != nil {
		return nil, err
	}
	for _, o := range []operation{getOperation, putOperation} {
		for _, n := range p.connections {
			if err := b.section(o, n); err != nil {
				return b.results, err
			}
		}
	}
	return b.results, nil
}

// startAll builds ours, and starts and loads all that can be measured here.
func (b *bench) startAll(chosen []*contender, dir string) error {
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return err
	}
	b.say("build")
	if err := buildServer(b.ctx, bin); err != nil {
		return err
	}
	for _, c := range chosen {
		engine := report.Engine{Name: c.name, Settings: c.settings, Limit: c.limit}
		if err := c.missing(); err != nil {
			engine.Missing = err.Error()
			b.say("%s is not measured: %v", c.name, err)
		} else {
			engine.Version = c.version()
			if err := b.start(c, bin, dir); err != nil {
				return err
			}
		}
		b.results.Engines = append(b.results.Engines, engine)
	}
	return nil
}

func (b *bench) start(c *contender, bin, dir string) error {
	s, err := c.start(bin, dir)
	if err != nil {
		return err
	}
	b.servers = append(b.servers, s)
	b.say("load %s, %d keys", c.name, b.keys)
	if err := s.wait(b.ctx, b.patience); err != nil {
		return err
	}
	return s.explain(b.load(s))
}

func (b *bench) killAll() {
	for _, s := range b.servers {
		s.kill()
	}
}

// say tells how far the run is.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%4.0fs  %s\n", time.Since(b.started).Seconds(), fmt.Sprintf(format, args...))
}

// turns are the results of each server, one for each round, by its name.
type turns map[string][]*result

// warmUp is the part of a turn's length that a warm-up lasts.
const warmUp = 0.25

// section measures one kind of request at one number of connections. In each round every server has its turn, in the next one in the opposite
// order, so that a steady drift of the machine favours nobody. Before the first one each warms up.
func (b *bench) section(o operation, connections int) error {
	b.say("%s, connections %d", o.name, connections)
	t, order := turns{}, slices.Clone(b.servers)
	for round := -1; round < b.rounds; round++ {
		for _, s := range order {
			length := b.length
			if round < 0 {
				length = time.Duration(warmUp * float64(length))
			}
			r, err := b.turn(s, o, connections, length)
			if err != nil {
				return s.explain(err)
			}
			if round >= 0 {
				t[s.name] = append(t[s.name], r)
			}
		}
		slices.Reverse(order)
	}
	b.addRows(t, o, connections)
	if connections == goalConnections {
		b.addRatios(t, o)
	}
	return nil
}

// Figures of a turn.
func (r *result) cpu() float64       { return micros(r.serverCPU) / float64(r.Ops) }
func (r *result) clientCPU() float64 { return micros(r.CPU) / float64(r.Ops) }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// addRows adds the medians of the figures over the rounds, and the quantiles over all rounds together.
func (b *bench) addRows(t turns, o operation, connections int) {
	at := fmt.Sprintf(", connections %d", connections)
	b.addRow(t, o.name+at, report.PerSecond, func(all []*result) float64 { return median(all, (*result).Rate) })
	for _, q := range []struct {
		name string
		q    float64
	}{{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}} {
		b.addRow(t, o.name+" latency"+at+", "+q.name, report.Micros, func(all []*result) float64 { return micros(latencies(all).Quantile(q.q)) })
	}
	if t[ours][0].serverCPU == 0 {
		return // nobody tells it here
	}
	b.addRow(t, o.name+" CPU"+at, report.Micros, func(all []*result) float64 { return median(all, (*result).cpu) })
	b.noteClient(t, o, connections)
}

// noteClient notes what this process has used for each request: no figure of a server's, but one that shows how alike the clients are.
func (b *bench) noteClient(t turns, o operation, connections int) {
	var used []string
	for _, s := range b.servers {
		used = append(used, fmt.Sprintf("%s %.1f", s.name, median(t[s.name], (*result).clientCPU)))
	}
	b.results.Notes = append(b.results.Notes, fmt.Sprintf("CPU of the client per %s, connections %d, in µs: %s", o.name, connections, strings.Join(used, ", ")))
}

func (b *bench) addRow(t turns, workload, unit string, figure func([]*result) float64) {
	for _, s := range b.servers {
		b.results.Add(workload, s.name, figure(t[s.name]), unit)
	}
}

func (b *bench) addRatios(t turns, o operation) {
	if o.name == getOperation.name {
		if t[ours][0].serverCPU > 0 {
			b.addRatio(getCPU, t, emptyName, (*result).cpu)
		}
		return
	}
	b.addRatio(putVsRedis, t, redisName, (*result).Rate)
	b.addRatio(putVsEtcd, t, etcdName, (*result).Rate)
}

// addRatio adds the median over the rounds of a figure of ours divided by that of another server, if that was measured.
func (b *bench) addRatio(name string, t turns, other string, figure func(*result) float64) {
	if len(t[other]) == 0 {
		return
	}
	ratios := make([]float64, len(t[ours]))
	for i, r := range t[ours] {
		ratios[i] = figure(r) / figure(t[other][i])
	}
	b.results.Ratios[name] = benchmarks.Median(ratios)
}

// median is that of a figure of results, of which there is at least one.
func median(all []*result, figure func(*result) float64) float64 {
	figures := make([]float64, len(all))
	for i, r := range all {
		figures[i] = figure(r)
	}
	return benchmarks.Median(figures)
}

// latencies are those of all results together.
func latencies(all []*result) *benchmarks.Histogram {
	h := new(benchmarks.Histogram)
	for _, r := range all {
		h.Merge(&r.Latencies)
	}
	return h
}

func newResults() *report.Results { return &report.Results{Ours: ours, Ratios: map[string]float64{}} }
