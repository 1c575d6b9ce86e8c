package enginetest

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/logrecord"
)

// CheckFiles checks the directory of a database that was closed cleanly: every checkpoint is whole, every log reads to its end,
// each log follows the one before it, and there is no file that should not be there.
func CheckFiles(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var logs, checkpoints []uint64
	for _, e := range entries {
		if n, ok := format.ParseLogName(e.Name()); ok {
			logs = append(logs, n)
		} else if n, ok := format.ParseCheckpointName(e.Name()); ok {
			checkpoints = append(checkpoints, n)
		} else {
			assert.Contains(t, []string{format.LockName, format.VersionName, format.SpareName, "lost+found"}, e.Name(), "a file left behind")
		}
		info, err := e.Info()
		require.NoError(t, err)
		if info.Mode().IsRegular() {
			assert.Equal(t, fs.FileMode(0o600), info.Mode(), e.Name())
		}
	}
	version, err := os.ReadFile(filepath.Join(dir, format.VersionName))
	require.NoError(t, err)
	pointer, err := format.DecodeVersionFile(version)
	require.NoError(t, err)
	assert.Contains(t, checkpoints, pointer.Generation, "the checkpoint that version names")
	for _, n := range checkpoints {
		assert.NoError(t, CheckCheckpoint(filepath.Join(dir, format.CheckpointName(n))))
	}
	slices.Sort(logs)
	require.NotEmpty(t, logs)
	assert.Contains(t, logs, pointer.Generation, "the log that version names")
	checkLogs(t, dir, logs)
}

// CheckCheckpoint verifies a whole checkpoint.
func CheckCheckpoint(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return ckpt.Verify(f, info.Size(), filepath.Base(path))
}

// Log is a log file and what its first two blocks say.
type Log struct {
	ID     format.LogIdentity
	Before format.Predecessor
	Data   []byte
}

// ReadLog reads a log and its first two blocks.
func ReadLog(t testing.TB, path string) Log {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(data), format.LogHeaderSize)
	l := Log{Data: data}
	l.ID, err = format.DecodeLogIdentity(data)
	require.NoError(t, err, path)
	l.Before, err = format.DecodePredecessor(data[format.BlockSize:], l.ID.Salt)
	require.NoError(t, err, path)
	return l
}

// Frames calls each with every frame up to end (0 if no successor says where the log ends), and returns where the log
// ends, the history there, and nil or why it cannot be read that far.
func (l *Log) Frames(end int64, each func(*logrecord.Frame)) (int64, format.Position, error) {
	r := logrecord.NewReader(&source{l.Data}, l.ID, l.Before.Position, end)
	for {
		frame, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Offset(), r.Position(), nil
		}
		if err != nil {
			return r.Offset(), r.Position(), err
		}
		each(frame)
	}
}

// source is the bytes of a log as a file.
type source struct{ data []byte }

func (s *source) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, s.data[min(off, int64(len(s.data))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// checkLogs reads all logs, rising; the last was closed.
func checkLogs(t testing.TB, dir string, generations []uint64) {
	t.Helper()
	logs := make([]Log, len(generations))
	for i, n := range generations {
		logs[i] = ReadLog(t, filepath.Join(dir, format.LogName(n)))
		assert.Equal(t, n, logs[i].ID.Generation)
		assert.EqualValues(t, logs[i].ID.Size, len(logs[i].Data), format.LogName(n))
	}
	for i := range logs {
		l, end := &logs[i], int64(0)
		if i+1 < len(logs) {
			next := &logs[i+1]
			end = next.Before.End
			assert.Equal(t, generations[i]+1, generations[i+1], "no log is missing")
			assert.Equal(t, generations[i], next.Before.Generation)
			assert.Equal(t, l.ID.Salt, next.Before.Salt)
			assert.Equal(t, l.ID.UUID, next.ID.UUID)
		}
		_, position, err := l.Frames(end, func(*logrecord.Frame) {})
		if !assert.NoError(t, err, format.LogName(generations[i])) {
			continue
		}
		if i+1 < len(logs) {
			want := logs[i+1].Before.Position
			assert.LessOrEqual(t, position.Epoch, want.Epoch)
			position.Epoch = want.Epoch // a new one may have begun there
			assert.Equal(t, want, position, "where %s starts", format.LogName(generations[i+1]))
		}
	}
}
