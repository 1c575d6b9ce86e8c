package ckpt_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

const name = "checkpoint.7"

var (
	seed   = format.KeySeed{K0: 0x0706050403020100, K1: 0x0f0e0d0c0b0a0908}
	header = format.CheckpointHeader{
		UUID: format.UUID{1, 2, 3}, Generation: 7, Salt: 0x5a17,
		Position: format.Position{Epoch: 3, Seq: 1 << 40, Index: 17, Time: 99, Chain: 0xc4a1},
	}
	epochs = []format.EpochStart{{Epoch: 1, FirstSeq: 1}, {Epoch: 3, FirstSeq: 500}}
)

// create makes an empty file in a new directory.
func create(t testing.TB) (mmapio.Dir, mmapio.File) {
	t.Helper()
	d, err := mmapio.OpenDir(t.TempDir(), false)
	require.NoError(t, err)
	f, err := d.Create(name)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, f.Close())
		require.NoError(t, d.Close())
	})
	return d, f
}

// fill builds a checkpoint of records in f.
func fill(f mmapio.File, records []ckpt.Record, expect int) (ckpt.Summary, error) {
	b, err := ckpt.NewBuilder(f, header, uint64(expect))
	if err != nil {
		return ckpt.Summary{}, err
	}
	b.SetHashSeed(seed)
	for _, r := range records {
		if err := b.Add(r); err != nil {
			return ckpt.Summary{}, err
		}
	}
	return b.Finish(epochs)
}

// build builds a checkpoint of records and opens it.
func build(t testing.TB, records []ckpt.Record) (*ckpt.Reader, mmapio.File) {
	t.Helper()
	_, f := create(t)
	_, err := fill(f, records, len(records))
	require.NoError(t, err)
	r, err := ckpt.Open(f)
	require.NoError(t, err)
	return r, f
}

// verify verifies the file as it stands.
func verify(f mmapio.File) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	return ckpt.Verify(f, size, f.Name())
}

// contents returns the bytes of the file.
func contents(t testing.TB, f mmapio.File) []byte {
	t.Helper()
	size, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	return b
}

// stored writes b to a new file and opens it for reading.
func stored(t testing.TB, b []byte) mmapio.File {
	t.Helper()
	path := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(path, name), b, 0o600))
	d, err := mmapio.OpenDir(path, false)
	require.NoError(t, err)
	defer d.Close()
	f, err := d.Open(name, mmapio.Write)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// sorted gives records of the keys and values of m, in order.
func sorted(rng *rand.Rand, m map[string][]byte) []ckpt.Record {
	var records []ckpt.Record
	for k, v := range m {
		records = append(records, ckpt.Record{Key: []byte(k), Value: v})
	}
	slices.SortFunc(records, func(a, b ckpt.Record) int { return bytes.Compare(a.Key, b.Key) })
	for i := range records {
		records[i].Seq = 1 + rng.Uint64N(1<<uint(1+rng.IntN(40)))
		if rng.IntN(3) == 0 {
			records[i].Expiry = 1 + rng.Int64N(1<<62)
		}
	}
	return records
}

// numbered returns n records with keys of equal length and short values.
func numbered(n int) []ckpt.Record {
	records := make([]ckpt.Record, n)
	for i := range records {
		records[i] = ckpt.Record{Seq: uint64(i) + 1, Key: fmt.Appendf(nil, "key%09d", i), Value: fmt.Appendf(nil, "value %d", i)}
	}
	return records
}

// guarded calls f inside a guard.
func guarded(f func() error) (err error) {
	defer mmapio.Recover(mmapio.Arm(), &err)
	return f()
}

// same reports whether two records are equal; nil and empty values are.
func same(a, b ckpt.Record) bool {
	return a.Seq == b.Seq && a.Expiry == b.Expiry && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value)
}

// requireCorrupt fails unless err is a well-formed *format.CorruptionError for our file.
func requireCorrupt(t testing.TB, err error, msg ...any) *format.CorruptionError {
	t.Helper()
	var c *format.CorruptionError
	require.ErrorAs(t, err, &c, msg...)
	require.Equal(t, name, c.File, msg...)
	require.ErrorIs(t, err, format.ErrCorrupt, msg...)
	for _, sentinel := range []error{format.ErrMagic, format.ErrVersion, format.ErrChecksum, format.ErrLength, format.ErrField} {
		if errors.Is(err, sentinel) {
			return c
		}
	}
	require.Fail(t, "no sentinel of package format", "%v", err)
	return nil
}
