package agent

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Bounds of what is counted, in ns, and its precision: within one percent.
const (
	histogramMin    = 1
	histogramMax    = int64(10 * time.Minute)
	histogramDigits = 2
)

// NewHistogram is an empty one.
func NewHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(histogramMin, histogramMax, histogramDigits)
}

func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(int64(d), histogramMin), histogramMax)) // fails beyond the bounds alone
}

// Histogram merges the latencies of replies.
func Histogram(replies ...*Reply) (*hdrhistogram.Histogram, error) {
	h := NewHistogram()
	for _, r := range replies {
		other, err := hdrhistogram.Decode(r.Latencies)
		if err != nil {
			return nil, fmt.Errorf("latencies of a reply: %w", err)
		}
		h.Merge(other)
	}
	return h, nil
}

// Quantile is that of a histogram.
func Quantile(h *hdrhistogram.Histogram, q float64) time.Duration {
	return time.Duration(h.ValueAtPercentile(100 * q))
}
