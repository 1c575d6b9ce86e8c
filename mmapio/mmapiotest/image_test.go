package mmapiotest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

func TestImageHash(t *testing.T) {
	m := mmapiotest.Image{"a": []byte("b"), "c": nil}
	assert.Equal(t, m.Hash(), mmapiotest.Image{"c": []byte{}, "a": []byte("b")}.Hash())
	for _, other := range []mmapiotest.Image{
		{}, {"a": []byte("b")}, {"ab": nil, "c": nil}, {"a": []byte("bc")}, {"a": nil, "c": []byte("b")},
	} {
		assert.NotEqual(t, m.Hash(), other.Hash(), other)
	}
}

func TestImageWriteTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new")
	require.NoError(t, mmapiotest.Image{"a": []byte("1"), "b": {}}.WriteTo(path))
	m := mmapiotest.Image{"b": []byte("2"), "c": []byte("3")}
	require.NoError(t, m.WriteTo(path))
	assert.Equal(t, m, onDisk(t, path))
	info, err := os.Stat(filepath.Join(path, "b"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
}

// BenchmarkImages makes all images of a log of 256 KiB under durable writes of one block.
func BenchmarkImages(b *testing.B) {
	tr := durableFile("logfile.1", 1, make([]byte, 256<<10))
	for i := range int64(60) {
		tr = append(tr, writeDurable(1, i*page, fill('A'+byte(i%26), page)))
	}
	images := 0
	for b.Loop() {
		r := tr.Replayer()
		for _, cut := range tr.Cuts() {
			for _, mode := range mmapiotest.Modes() {
				_ = r.Image(cut, mode, 1).Hash()
				images++
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(images), "µs/image")
}
