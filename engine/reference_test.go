package engine_test

import (
	"encoding/binary"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
)

// referenceFiles are a directory as the reference implementation writes it.
func referenceFiles() map[string][]byte {
	le := binary.LittleEndian
	checkpoint := append([]byte("SMALLDB\x00"), 1, 0, 0, 0)
	checkpoint = le.AppendUint64(checkpoint, 3)
	checkpoint = le.AppendUint32(checkpoint, 1)
	checkpoint = le.AppendUint32(checkpoint, 1)
	checkpoint = le.AppendUint32(checkpoint, 2)
	checkpoint = append(checkpoint, "kv1"...)
	payload := append([]byte{1, 1, 0, 0, 0, 2, 0, 0, 0}, "kv2"...)
	log := append(le.AppendUint32(nil, uint32(len(payload))), payload...)
	log = le.AppendUint32(log, crc32.ChecksumIEEE(payload))
	return map[string][]byte{"version": []byte("3\n"), "checkpoint.3": checkpoint, "logfile.3": log}
}

// stateOf is all that there is to see of a directory: names, bytes, modes and times.
func stateOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		out[path] = info.Mode().String() + " " + info.ModTime().Format(time.RFC3339Nano)
		if !d.IsDir() {
			data, err := os.ReadFile(path)
			out[path] += " " + string(data)
			return err
		}
		return nil
	}))
	return out
}

// A directory of the reference implementation is named as such, and not touched.
func TestOpenReferenceDirectory(t *testing.T) {
	for name, change := range map[string]func(files map[string][]byte){
		"as it is":         func(map[string][]byte) {},
		"no newline":       func(f map[string][]byte) { f["version"] = []byte("3") },
		"version alone":    func(f map[string][]byte) { delete(f, "checkpoint.3"); delete(f, "logfile.3") },
		"large generation": func(f map[string][]byte) { f["version"] = []byte("18446744073709551615\n") },
		"during a switch": func(f map[string][]byte) {
			f["newVersion"] = []byte("4\n")
			f["checkpoint.4"] = f["checkpoint.3"]
			f["logfile.4"] = nil
		},
		"switch not begun":    func(f map[string][]byte) { f["newVersion"] = nil },
		"committed by a kill": func(f map[string][]byte) { f["newVersion"] = f["version"]; delete(f, "version") },
		"other files":         func(f map[string][]byte) { f["notes.txt"] = []byte("mine") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			files := referenceFiles()
			change(files)
			past := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
			for file, data := range files {
				path := filepath.Join(dir, file)
				require.NoError(t, os.WriteFile(path, data, 0o644))
				require.NoError(t, os.Chtimes(path, past, past))
			}
			require.NoError(t, os.Chtimes(dir, past, past))
			before := stateOf(t, dir)
			for _, create := range []bool{false, true} {
				db, err := engine.Open(engine.Options{Dir: dir, Create: create})
				require.Nil(t, db)
				assert.ErrorIs(t, err, engine.ErrReference)
				assert.NotErrorIs(t, err, engine.ErrCorrupt)
				assert.ErrorContains(t, err, "smalldb migrate "+dir)
				assert.NotContains(t, err.Error(), "\n")
				assert.Equal(t, before, stateOf(t, dir), "untouched")
			}
		})
	}
}

// What only looks a little like it is not taken for it.
func TestDamagedVersionIsNotOfTheReference(t *testing.T) {
	opts := quiet(t)
	db, err := engine.Open(opts)
	require.NoError(t, err)
	set(t, db, "k", "v")
	require.NoError(t, db.Close())
	for _, version := range []string{"", "\n", "x\n", "3\n\n", "-3\n", " 3\n", "3 \n", "3\r\n", "0x3"} {
		require.NoError(t, os.WriteFile(filepath.Join(opts.Dir, format.VersionName), []byte(version), 0o600))
		db, err := engine.Open(opts)
		require.NoError(t, err, "%q is rebuilt", version)
		require.Len(t, db.Stats().Recovery.Repaired, 1)
		requireValue(t, db, "k", "v")
		require.NoError(t, db.Close())
	}
}
