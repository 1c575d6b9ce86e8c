package benchmarks

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Worker is the work of one goroutine in a slice: it repeats one operation until stop is set, and returns how many it
// completed. It adds their latencies to the histogram if it measures them.
type Worker func(worker int, stop *atomic.Bool, latencies *Histogram) (ops uint64, err error)

// Slice is what one subject did in its turn.
type Slice struct {
	Ops       uint64
	Took      time.Duration
	CPU       time.Duration // that the process used meanwhile, on all processors, in user and kernel mode
	Latencies Histogram
}

// Rate is the operations per second.
func (s *Slice) Rate() float64 { return float64(s.Ops) / s.Took.Seconds() }

// CPUPerOp is the ns of processor time for each operation.
func (s *Slice) CPUPerOp() float64 { return float64(s.CPU) / float64(s.Ops) }

// RunSlice lets n goroutines work for a while.
func RunSlice(n int, length time.Duration, work Worker) (*Slice, error) {
	var (
		stop       atomic.Bool
		wg         sync.WaitGroup
		ops        = make([]uint64, n)
		errs       = make([]error, n)
		histograms = make([]Histogram, n)
	)
	started, cpu := time.Now(), cpuTime()
	for i := range n {
		wg.Go(func() { ops[i], errs[i] = work(i, &stop, &histograms[i]) })
	}
	time.Sleep(length)
	stop.Store(true)
	wg.Wait()
	s := &Slice{Took: time.Since(started), CPU: cpuTime() - cpu}
	for i := range n {
		s.Ops += ops[i]
		s.Latencies.Merge(&histograms[i])
	}
	return s, errors.Join(errs...)
}

// cpuTime is the processor time that the process has used so far.
func cpuTime() time.Duration {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage) // fails only for bad arguments
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// Pairs are slices of ours and of the limit that took turns.
type Pairs struct{ Ours, Limit []*Slice }

// Run adds a pair. Every other one runs the limit first, so that a steady drift of the machine favours nobody.
func (p *Pairs) Run(n int, length time.Duration, ours, limit Worker) error {
	turns := []struct {
		slices *[]*Slice
		work   Worker
	}{{&p.Ours, ours}, {&p.Limit, limit}}
	if len(p.Ours)%2 == 1 {
		slices.Reverse(turns)
	}
	for _, turn := range turns {
		s, err := RunSlice(n, length, turn.work)
		if err != nil {
			return err
		}
		*turn.slices = append(*turn.slices, s)
	}
	return nil
}

// Ratio is the median over the pairs of what a figure of ours is divided by that of the limit.
func (p *Pairs) Ratio(figure func(*Slice) float64) float64 {
	ratios := make([]float64, len(p.Ours))
	for i := range ratios {
		ratios[i] = figure(p.Ours[i]) / figure(p.Limit[i])
	}
	return Median(ratios)
}

// Over is the median of a figure over slices.
func Over(all []*Slice, figure func(*Slice) float64) float64 {
	figures := make([]float64, len(all))
	for i, s := range all {
		figures[i] = figure(s)
	}
	return Median(figures)
}

// Latencies are those of all slices together.
func Latencies(all []*Slice) *Histogram {
	h := new(Histogram)
	for _, s := range all {
		h.Merge(&s.Latencies)
	}
	return h
}

// Median is the middle one of the figures, or the mean of the middle two. There is at least one.
func Median(figures []float64) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
