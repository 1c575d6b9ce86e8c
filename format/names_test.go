package format_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tongpengdl/small-db/format"
)

func TestNames(t *testing.T) {
	for _, generation := range []uint64{1, 9, 10, 12345, 1<<63 + 1, 1<<64 - 1} {
		got, ok := format.ParseLogName(format.LogName(generation))
		assert.True(t, ok)
		assert.Equal(t, generation, got)
		got, ok = format.ParseCheckpointName(format.CheckpointName(generation))
		assert.True(t, ok)
		assert.Equal(t, generation, got)
		_, ok = format.ParseLogName(format.CheckpointName(generation))
		assert.False(t, ok, "a checkpoint is no log")
	}
	assert.Equal(t, "logfile.7", format.LogName(7))
	assert.Equal(t, "checkpoint.7", format.CheckpointName(7))
}

func TestOtherNames(t *testing.T) {
	for _, rest := range []string{
		"", "0", "00", "01", "007", "+1", "-1", " 1", "1 ", "1\n", "\x001", "1_000", "1e3", "0x1", "a", "1a", "1.tmp", "1.", ".1", "1.1", "¹", "１",
		"18446744073709551616", "99999999999999999999", "36893488147419103233", strings.Repeat("1", 1000),
	} {
		n, ok := format.ParseLogName("logfile." + rest)
		assert.False(t, ok, "%q is generation %d", rest, n)
		n, ok = format.ParseCheckpointName("checkpoint." + rest)
		assert.False(t, ok, "%q is generation %d", rest, n)
	}
	for _, name := range []string{
		"", "logfile", "logfile1", "Logfile.1", "LOGFILE.1", "xlogfile.1", "./logfile.1", "/logfile.1", "log.1", ".1", "1",
		format.LockName, format.VersionName, format.NewVersionName, format.SpareName, format.LogName(1) + format.TempSuffix,
	} {
		_, ok := format.ParseLogName(name)
		assert.False(t, ok, "%q", name)
		_, ok = format.ParseCheckpointName(strings.ReplaceAll(name, "logfile", "checkpoint"))
		assert.False(t, ok, "%q", name)
	}
}

func TestKindNames(t *testing.T) {
	assert.Equal(t, "set", format.KindSet.String())
	assert.Equal(t, "delete", format.KindDelete.String())
	assert.Equal(t, "kind 9", format.Kind(9).String())
}

func TestCorruptionError(t *testing.T) {
	for _, c := range []struct {
		err  format.CorruptionError
		want string
	}{
		{format.CorruptionError{File: "logfile.3", Offset: 8192, FirstSeq: 5, LastSeq: 9, Err: format.ErrChecksum},
			"logfile.3: corrupt at offset 8192 (sequences 5 to 9): checksum mismatch"},
		{format.CorruptionError{File: "logfile.3", FirstSeq: 5, Err: format.ErrMagic},
			"logfile.3: corrupt at offset 0 (sequences from 5): wrong magic number"},
		{format.CorruptionError{File: "version", Offset: -1, Err: format.ErrLength}, "version: corrupt: length out of bounds"},
	} {
		assert.EqualError(t, &c.err, c.want)
		assert.ErrorIs(t, &c.err, format.ErrCorrupt)
		assert.ErrorIs(t, &c.err, c.err.Err)
		assert.NotErrorIs(t, &c.err, format.ErrField)
		as, ok := errors.AsType[*format.CorruptionError](error(&c.err))
		assert.True(t, ok)
		assert.Equal(t, c.err.Offset, as.Offset)
	}
}
