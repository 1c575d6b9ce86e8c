package main_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

// referenceRecord is an operation in a log of the reference implementation: 1 sets, 2 deletes.
func referenceRecord(op byte, key, value string) []byte {
	payload := []byte{op}
	payload = binary.LittleEndian.AppendUint32(payload, uint32(len(key)))
	payload = binary.LittleEndian.AppendUint32(payload, uint32(len(value)))
	payload = append(append(payload, key...), value...)
	record := binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
	record = append(record, payload...)
	return binary.LittleEndian.AppendUint32(record, crc32.ChecksumIEEE(payload))
}

// writeReference writes a directory of the reference: its first generation, with this log.
func writeReference(t *testing.T, log []byte) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "version"), []byte("0\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "logfile.0"), log, 0o600))
	return dir
}

// newReference is a directory of the reference with n keys.
func newReference(t *testing.T, n int) string {
	var log []byte
	for i := range n {
		log = append(log, referenceRecord(1, fmt.Sprintf("k%06d", i), strings.Repeat("v", i%100))...)
	}
	log = append(log, referenceRecord(1, "gone", "x")...)
	return writeReference(t, append(log, referenceRecord(2, "gone", "")...))
}

// filesOf reads all files of a directory.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	files := map[string]string{}
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		require.NoError(t, err)
		if entry.Name() == format.LockName {
			text = nil // it says since when the last one had the lock
		}
		files[entry.Name()] = string(text)
	}
	return files
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	const n = 20_000
	old := newReference(t, n)
	before := filesOf(t, old)
	dir := newDir(t)
	assert.Contains(t, r.must("migrate", old, dir), fmt.Sprintf("%d keys", n))
	assert.Equal(t, before, filesOf(t, old), "the source is as it was")
	all := entriesOf(t, dir)
	require.Len(t, all, n)
	for i, e := range all {
		require.Equal(t, fmt.Sprintf("k%06d", i), string(e.Key))
		require.Len(t, e.Value, i%100)
	}
	assert.NoDirExists(t, dir+".tmp")
	assert.Contains(t, r.must("check", dir), "closed cleanly")

	empty := t.TempDir()
	said := parseJSON(t, r.must("migrate", "-json", old, empty))[0]
	assert.EqualValues(t, n, said["keys"])
	assert.Equal(t, empty, said["dir"])
	assert.Equal(t, all, entriesOf(t, empty))
}

func TestMigrateRefuses(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	old := newReference(t, 10)
	r.fails(1, "no such file", "migrate", newDir(t), newDir(t))
	r.fails(1, "reference", "migrate", filled(t), newDir(t))
	r.fails(1, "not empty", "migrate", old, filled(t))
	r.fails(1, "not empty", "migrate", old, old)

	dir := newDir(t)
	require.NoError(t, os.Mkdir(dir+".tmp", 0o700))
	r.fails(1, dir+".tmp", "migrate", old, dir)
	require.NoError(t, os.Remove(dir+".tmp"))
	r.fails(1, "no such file", "migrate", old, filepath.Join(dir, "below"))
	r.must("migrate", old, dir)

	got := r.fails(1, "migrate", "get", "-dir", old, "k000001")
	assert.Contains(t, got.stderr, "migrate", "opening the old directory says what to do")
}

// TestMigrateDamage: damage in the middle of the log is refused, unless it is accepted; then what is dropped is said.
func TestMigrateDamage(t *testing.T) {
	t.Parallel()
	good := referenceRecord(1, "first", "1")
	bad := referenceRecord(1, "second", "2")
	bad[len(bad)-1] ^= 1
	old := writeReference(t, append(append(append([]byte{}, good...), bad...), referenceRecord(1, "third", "3")...))
	r := newRunner(t)
	dir := newDir(t)
	r.fails(5, "logfile.0", "migrate", old, dir)
	assert.NoDirExists(t, dir)
	got := r.run("migrate", "-accept-damage", old, dir)
	assert.Equal(t, 0, got.exit)
	assert.Contains(t, got.stderr, "note: logfile.0")
	assert.Len(t, entriesOf(t, dir), 1)

	torn := writeReference(t, append(append([]byte{}, good...), bad[:10]...))
	got = r.run("migrate", "-json", torn, newDir(t))
	assert.Equal(t, 0, got.exit, got.stderr)
	assert.Contains(t, parseJSON(t, got.stderr)[0]["note"], "logfile.0")
	assert.EqualValues(t, 1, parseJSON(t, got.stdout)[0]["keys"])
}

// TestInterruptedMigrate leaves no directory of the new name, and says what there is.
func TestInterruptedMigrate(t *testing.T) {
	t.Parallel()
	old := newReference(t, 60_000)
	dir := newDir(t)
	got := failing(t, "", "migrate", old, dir)
	assert.Equal(t, 1, got.exit)
	assert.Contains(t, got.stderr, "interrupted")
	assert.NoDirExists(t, dir)
}
