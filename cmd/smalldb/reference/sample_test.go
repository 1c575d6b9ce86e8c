package reference_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/cmd/smalldb/reference"
)

// The bytes as the reference writes them, put together once more and by other means.

func u32(n int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }

// join concatenates its arguments.
func join(parts ...[]byte) []byte {
	out := []byte{}
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// payload is that of a record with these fields, whether they agree or not.
func payload(op byte, keyLen, valueLen int, rest string) []byte {
	return join([]byte{op}, u32(keyLen), u32(valueLen), []byte(rest))
}

// framed is a record of the log with this payload and a right checksum.
func framed(payload []byte) []byte {
	return join(u32(len(payload)), payload, u32(int(crc32.ChecksumIEEE(payload))))
}

func set(key, value string) []byte { return framed(payload(1, len(key), len(value), key+value)) }
func del(key string) []byte        { return framed(payload(2, len(key), 0, key)) }

// entry is one of a checkpoint.
func entry(key, value string) []byte {
	return join(u32(len(key)), u32(len(value)), []byte(key), []byte(value))
}

func checkpoint(version, generation, count int, entries ...[]byte) []byte {
	return join([]byte("SMALLDB\x00"), u32(version), u32(generation), u32(generation>>32), u32(count), join(entries...))
}

// files are the content of a directory.
type files map[string][]byte

func (f files) write(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range f {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	return dir
}

// contents reads a directory.
func contents(t testing.TB, dir string) files {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	f := files{}
	for _, e := range entries {
		f[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
	}
	return f
}

// pair is a key and its value.
type pair struct{ key, value string }

// state returns what Each gives.
func state(t testing.TB, d *reference.Directory) []pair {
	t.Helper()
	pairs := []pair{}
	length := int64(0)
	require.NoError(t, d.Each(context.Background(), func(key, value []byte) error {
		pairs = append(pairs, pair{string(key), string(value)})
		length += int64(len(key) + len(value))
		return nil
	}))
	require.Equal(t, len(pairs), d.Keys())
	require.Equal(t, length, d.Bytes())
	return pairs
}

// open opens a directory with this content, which must stay as it is.
func open(t testing.TB, f files, opts reference.Options) (*reference.Directory, error) {
	t.Helper()
	dir := f.write(t)
	d, err := reference.Open(context.Background(), dir, opts)
	require.True(t, maps.EqualFunc(f, contents(t, dir), bytes.Equal), "the source is not touched")
	return d, err
}
