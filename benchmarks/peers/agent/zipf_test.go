package agent_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
)

// TestZipf compares what is drawn with the probabilities 1/(r+1)^θ / ζ. The method is exact for the first two ranks, and an approximation by a
// continuous distribution for the others.
func TestZipf(t *testing.T) {
	const n, draws = 1000, 1_000_000
	zipf, random := agent.NewZipf(n, agent.ZipfTheta), rand.New(rand.NewPCG(1, 2))
	var counts [n]float64
	for range draws {
		counts[zipf.Draw(random)]++ // panics beyond n
	}
	zeta := 0.0
	for r := range n {
		zeta += math.Pow(float64(r+1), -agent.ZipfTheta)
	}
	for _, r := range []int{0, 1} {
		require.InEpsilon(t, math.Pow(float64(r+1), -agent.ZipfTheta)/zeta, counts[r]/draws, 0.02, "rank %d", r)
	}
	expected, got := 0.0, 0.0
	for r := range n {
		expected, got = expected+math.Pow(float64(r+1), -agent.ZipfTheta)/zeta, got+counts[r]/draws
		if r >= 10 {
			require.InDelta(t, expected, got, 0.03, "ranks up to %d", r)
		}
	}
	require.InDelta(t, 1, got, 1e-9)
	require.Positive(t, counts[n-1])
}
