package ckpt_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/ckpt"
)

// The checkpoint that the specification of the format shows was put together without this package. It
// is read and verified by it, and built by it again byte for byte.
func TestSampleOfTheSpecification(t *testing.T) {
	samples, err := filepath.Glob("../format/testdata/*/checkpoint.*")
	require.NoError(t, err)
	require.NotEmpty(t, samples)
	for _, sample := range samples {
		whole, err := os.ReadFile(sample)
		require.NoError(t, err)
		f := stored(t, whole)
		require.NoError(t, verify(f))
		r, err := ckpt.Open(f)
		require.NoError(t, err)

		_, again := create(t)
		b, err := ckpt.NewBuilder(again, r.Header(), r.Footer().Records)
		require.NoError(t, err)
		b.SetHashSeed(r.Footer().HashSeed)
		c := r.Cursor()
		for record, ok, err := c.Next(); ok; record, ok, err = c.Next() {
			require.NoError(t, err)
			require.NoError(t, b.Add(record))
		}
		_, err = b.Finish(r.Epochs())
		require.NoError(t, err)
		require.Equal(t, whole, contents(t, again))
	}
}
