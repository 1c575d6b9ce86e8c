package agent

import (
	"math"
	"math/rand/v2"
)

// ZipfTheta is the skew that YCSB uses.
const ZipfTheta = 0.99

// Zipf draws ranks below n, rank r with a probability in proportion to 1/(r+1)^θ: the method of Gray et al., "Quickly Generating
// Billion-Record Synthetic Databases" (SIGMOD 1994), as YCSB uses it. It does not change; any number of goroutines may draw, each with a
// source of its own.
type Zipf struct {
	n                       uint64
	theta, zeta, alpha, eta float64
	first, firstTwo         float64 // u·zeta below these is rank 0, 1
}

// NewZipf sums up n terms: that takes some 30 ms for a million.
func NewZipf(n uint64, theta float64) *Zipf {
	z := &Zipf{n: n, theta: theta, alpha: 1 / (1 - theta), first: 1}
	for i := n; i > 0; i-- { // the small terms first: they are not lost
		z.zeta += math.Pow(float64(i), -theta)
	}
	z.firstTwo = 1 + math.Pow(0.5, theta)
	z.eta = (1 - math.Pow(2/float64(n), 1-theta)) / (1 - z.firstTwo/z.zeta)
	return z
}

// Draw is a rank.
func (z *Zipf) Draw(random *rand.Rand) uint64 {
	u := random.Float64()
	switch uz := u * z.zeta; {
	case uz < z.first:
		return 0
	case uz < z.firstTwo:
		return 1
	}
	return min(uint64(float64(z.n)*math.Pow(z.eta*u-z.eta+1, z.alpha)), z.n-1)
}
