package benchmarks

import (
	"math/bits"
	"time"
)

// Histogram counts durations with a relative error below 1/32, from 1 ns up to days, as an
// HDR histogram does (Tene, 2012). The zero value is empty. It is used by one goroutine.
type Histogram struct {
	counts [(65 - histogramBits) << histogramBits]uint64
	total  uint64
}

// histogramBits: each power of two is divided into 2^histogramBits equal parts.
const histogramBits = 5

// Add counts a duration, which is not negative.
func (h *Histogram) Add(d time.Duration) {
	h.counts[histogramIndex(uint64(d))]++
	h.total++
}

// histogramIndex is the index of the counter for ns.
func histogramIndex(ns uint64) int {
	shift := max(0, bits.Len64(ns)-histogramBits-1)
	return shift<<histogramBits + int(ns>>shift)
}

// histogramValue is the smallest value that has this index.
func histogramValue(index int) uint64 {
	shift := max(0, index>>histogramBits-1)
	return uint64(index-shift<<histogramBits) << shift
}

// Merge adds the counts of another one.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
}

// Quantile is the duration that the fraction q of all does not exceed, rounded down by less than 1/32; 0 without any.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := min(uint64(q*float64(h.total)), max(h.total, 1)-1)
	for i, n := range h.counts {
		if rank < n {
			return time.Duration(histogramValue(i))
		}
		rank -= n
	}
	return 0
}
