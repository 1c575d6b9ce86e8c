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

// The sections from here on show how cost changes as the work grows: ours alone, each in a directory of its own.

const (
	mebibyte = 1 << 20
	// setsOfMany are the writers of sets by many.
	setsOfMany = 64
)

// noCheckpoints are the options under which a delta grows beyond its threshold.
var noCheckpoints = &rival.Own{NoCheckpoints: true}

func (b *bench) ours() *rival.Rival { return b.rivals[0] }

// loadOurs loads n keys with values of size bytes into a new directory, makes a checkpoint of them, and leaves ours open.
func (b *bench) loadOurs(dir string, n uint64, size int) (*entrant, error) {
	e, err := b.enter(b.ours(), dir, 0)
	if err != nil {
		return nil, err
	}
	request := agent.Request{Do: agent.Load, N: n, Size: size, For: b.loadTime}
	reply, err := e.agent.Do(request)
	if err == nil && reply.Ops < n {
		err = fmt.Errorf("%w: %d of %d keys in %s", errSlow, reply.Ops, n, reply.Took.Round(time.Second))
	}
	if err == nil {
		_, err = e.agent.Do(agent.Request{Do: agent.Compact})
	}
	if err != nil {
		e.agent.Kill()
		return nil, err
	}
	return e, nil
}

// reenter closes ours and opens it as a request says.
func (b *bench) reenter(e *entrant, request agent.Request) (*entrant, error) {
	_, err := e.agent.Close()
	e.agent.Kill()
	if err != nil {
		return nil, err
	}
	request.Dir = e.dir
	again, _, err := b.enterAs(b.ours(), request)
	return again, err
}

// discard ends an entrant whose data nobody needs.
func (b *bench) discard(e *entrant) {
	e.agent.Kill()
	_ = os.RemoveAll(e.dir) // at the end of the run it is removed in any case
}

// repeat are the turns of one after a warm-up.
func (b *bench) repeat(e *entrant, request agent.Request) ([]*agent.Reply, error) {
	t, err := b.rounds([]*entrant{e}, b.growRounds, b.growRounds, request)
	return t.of(e.name), err
}

// perOp is the ns from one operation to the next.
func perOp(r *agent.Reply) float64 { return float64(r.Took) / float64(r.Ops) }

// rateOf is the median of the operations per second.
func (b *bench) rateOf(e *entrant, request agent.Request) (float64, error) {
	replies, err := b.repeat(e, request)
	if err != nil {
		return 0, err
	}
	return median(replies, (*agent.Reply).Rate), nil
}

// costOf is the median of the ns from one operation to the next.
func (b *bench) costOf(e *entrant, request agent.Request) (float64, error) {
	replies, err := b.repeat(e, request)
	if err != nil {
		return 0, err
	}
	return median(replies, perOp), nil
}

// point adds the median of a figure of turns to a line.
func (b *bench) point(c *report.Curve, line string, x float64, e *entrant, request agent.Request) error {
	measure := b.rateOf
	if c.Unit == report.Nanos {
		measure = b.costOf
	}
	y, err := measure(e, request)
	if err == nil {
		c.Add(line, x, y)
	}
	return err
}

// do is a request whose reply is of no interest.
func (e *entrant) do(requests ...agent.Request) error {
	for _, r := range requests {
		if _, err := e.agent.Do(r); err != nil {
			return err
		}
	}
	return nil
}

// keySizes are the powers of ten from a thousand up to the most keys of the run, or that number if it is less.
func (p *plan) keySizes() []uint64 {
	most := max(p.keys, p.large)
	var sizes []uint64
	for n := uint64(1000); n <= most; n *= 10 {
		sizes = append(sizes, n)
	}
	if len(sizes) == 0 {
		sizes = append(sizes, most)
	}
	return sizes
}

// doublings are the numbers from 1 to most, each twice the one before.
func doublings(most int) []int {
	var all []int
	for n := 1; n <= most; n *= 2 {
		all = append(all, n)
	}
	return all
}

// chosen is a rival that takes part in the run; nil if it does not.
func (b *bench) chosen(name string) *rival.Rival {
	i := slices.IndexFunc(b.rivals, func(r *rival.Rival) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return b.rivals[i]
}
