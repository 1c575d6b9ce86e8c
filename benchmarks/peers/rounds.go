package main

import (
	"os"
	"slices"
	"time"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
)

// turns are the replies of each entrant, by its name; nil for a round in which it had no turn.
type turns map[string][]*agent.Reply

// rounds lets the entrants take turns: in each round every one has its turn, in the next one in the opposite order, so that a steady drift of the
// machine favours nobody. Before the first one each warms up. Who fails is left out from then on.
func (b *bench) rounds(entrants []*entrant, rounds, others int, request agent.Request) (turns, error) {
	out, order := turns{}, slices.Clone(entrants)
	var failed []*entrant
	for round := -1; round < rounds; round++ {
		for _, e := range order {
			if slices.Contains(failed, e) {
				continue
			}
			if !e.close && round >= others {
				out[e.name] = append(out[e.name], nil)
				continue
			}
			reply, err := b.turn(e, round < 0, request)
			if err != nil {
				if err := b.failed(e.rival, err); err != nil {
					return nil, err
				}
				b.drop(e)
				failed = append(failed, e)
				delete(out, e.name)
				continue
			}
			if round >= 0 {
				out[e.name] = append(out[e.name], reply)
			}
		}
		slices.Reverse(order)
	}
	return out, nil
}

// drop ends an entrant that has failed, for all sections to come.
func (b *bench) drop(e *entrant) {
	e.agent.Kill()
	b.readers = slices.DeleteFunc(b.readers, func(other *entrant) bool { return other == e })
	_ = os.RemoveAll(e.dir) // at the end of the run it is removed in any case
}

// warmUp is the part of a turn's length that a warm-up lasts.
const warmUp = 0.25

func (b *bench) turn(e *entrant, warm bool, request agent.Request) (*agent.Reply, error) {
	if request.Warm = warm; warm {
		request.For = time.Duration(warmUp * float64(request.For))
	}
	b.seed++
	request.Seed = b.seed
	return e.agent.Do(request)
}

// of are the turns that an entrant had.
func (t turns) of(name string) []*agent.Reply {
	return slices.DeleteFunc(slices.Clone(t[name]), func(r *agent.Reply) bool { return r == nil })
}

// rate is the median of the operations per second.
func (t turns) rate(name string) float64 { return median(t.of(name), (*agent.Reply).Rate) }

// ratio is the median over the rounds of the rates of one divided by those of the other; false if they had no round in common.
func (t turns) ratio(one, other string) (float64, bool) {
	var ratios []float64
	for i := range min(len(t[one]), len(t[other])) {
		if a, b := t[one][i], t[other][i]; a != nil && b != nil {
			ratios = append(ratios, a.Rate()/b.Rate())
		}
	}
	if len(ratios) == 0 {
		return 0, false
	}
	return benchmarks.Median(ratios), true
}

// median is that of a figure of replies, of which there is at least one.
func median(replies []*agent.Reply, figure func(*agent.Reply) float64) float64 {
	figures := make([]float64, len(replies))
	for i, r := range replies {
		figures[i] = figure(r)
	}
	return benchmarks.Median(figures)
}

// addRates adds the rates of all entrants.
func (b *bench) addRates(workload, unit string, entrants []*entrant, t turns) {
	for _, e := range entrants {
		if len(t.of(e.name)) > 0 {
			b.results.Add(workload, e.name, t.rate(e.name), unit)
		}
	}
}

// addQuantiles adds quantiles of the latencies of all entrants, in µs.
func (b *bench) addQuantiles(workload string, entrants []*entrant, t turns) error {
	for _, q := range []struct {
		name string
		q    float64
	}{{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}} {
		for _, e := range entrants {
			replies := t.of(e.name)
			if len(replies) == 0 {
				continue
			}
			h, err := agent.Histogram(replies...)
			if err != nil {
				return err
			}
			b.results.Add(workload+", "+q.name, e.name, micros(agent.Quantile(h, q.q)), report.Micros)
		}
	}
	return nil
}

// setRatio records a ratio of the goals, if it could be taken.
func (b *bench) setRatio(goal string, value float64, ok bool) {
	if ok {
		b.results.Ratios[goal] = value
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
