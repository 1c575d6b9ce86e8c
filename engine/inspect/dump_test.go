package inspect_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/engine/inspect"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/logrecord"
)

// dumped is all items of a log, as JSON by offset and in order.
type dumped struct {
	frames map[int64]string
	items  []inspect.LogItem
	damage int
	behind int // frames after the first damage
}

func dump(t *testing.T, path string) *dumped {
	t.Helper()
	d := &dumped{frames: map[int64]string{}}
	at := int64(0)
	require.NoError(t, inspect.DumpLog(ctx, path, inspect.DumpOptions{Values: true}, func(i *inspect.LogItem) error {
		require.GreaterOrEqual(t, i.Offset, at, "in order")
		at = i.Offset
		text, err := json.Marshal(i)
		require.NoError(t, err)
		switch {
		case i.Frame != nil, i.Trailer != nil:
			d.frames[i.Offset] = string(text)
			if d.damage > 0 {
				d.behind++
			}
		case i.Damage != nil:
			require.NotEmpty(t, i.Damage.What)
			d.damage++
		}
		d.items = append(d.items, *i)
		return nil
	}))
	require.NotNil(t, d.items[len(d.items)-1].End)
	return d
}

func TestDumpLog(t *testing.T) {
	s := takeSample(t, true)
	name := format.LogName(s.base)
	path := filepath.Join(s.dir, name)
	d := dump(t, path)
	l := enginetest.ReadLog(t, path)
	i := 2
	end, position, err := l.Frames(0, func(f *logrecord.Frame) {
		item := d.items[i]
		i++
		require.Equal(t, f.Offset, item.Offset)
		if f.Header.Kind == format.FrameTrailer {
			require.Equal(t, f.Trailer.Generation, item.Trailer.Generation)
			return
		}
		require.Equal(t, f.Header.FirstSeq, item.Frame.FirstSeq)
		require.Len(t, item.Frame.Records, len(f.Records))
	})
	require.NoError(t, err)
	require.Len(t, d.items, i+1)
	assert.Equal(t, s.base, d.items[0].Identity.Generation)
	assert.Equal(t, s.base-1, d.items[1].Predecessor.Generation)
	assert.Equal(t, l.Before.Position.Seq, d.items[1].Predecessor.Position.Seq)
	last := d.items[i]
	assert.Equal(t, end, last.Offset)
	assert.True(t, last.End.Sealed)
	assert.Equal(t, position.Seq, last.End.Position.Seq)

	values := 0
	require.NoError(t, inspect.DumpLog(ctx, path, inspect.DumpOptions{}, func(i *inspect.LogItem) error {
		if i.Frame != nil {
			for _, r := range i.Frame.Records {
				assert.Nil(t, r.Value)
				values += r.ValueLen
			}
		}
		return nil
	}))
	assert.NotZero(t, values)

	enough := errors.New("enough")
	require.ErrorIs(t, inspect.DumpLog(ctx, path, inspect.DumpOptions{}, func(*inspect.LogItem) error { return enough }), enough)
	require.ErrorIs(t, inspect.DumpLog(ctx, path+"?", inspect.DumpOptions{}, nil), os.ErrNotExist)
}

// Damage never becomes a frame, and hides none behind it.
func TestDumpDamagedLog(t *testing.T) {
	s := takeSample(t, true)
	name := format.LogName(s.base)
	path := filepath.Join(s.dir, name)
	whole := dump(t, path)
	parts := s.parts(t, name)
	behind := 0
	for _, bit := range s.bits(t, name) {
		data := flipped(s.files[name], int(bit/8))
		write(t, s.dir, name, data)
		d := dump(t, path)
		for offset, text := range d.frames {
			require.Equal(t, whole.frames[offset], text, "byte %d: a frame that is not there", bit/8)
		}
		c := classOf(parts, bit/8)
		if bit/8 >= format.LogHeaderSize && c == meaning {
			require.Equal(t, 1, d.damage, "byte %d", bit/8)
			require.Len(t, d.frames, len(whole.frames)-1, "byte %d: all others are shown", bit/8)
			behind += d.behind
		}
	}
	assert.NotZero(t, behind)
	for _, n := range []int{0, 1, 100, 4096, 8191, 8192, 8200, 9000} {
		write(t, s.dir, name, s.files[name][:n])
		require.NotZero(t, dump(t, path).damage, "%d bytes", n)
	}
}

func TestDumpCheckpoint(t *testing.T) {
	s := takeSample(t, true)
	name := format.CheckpointName(s.base)
	path := filepath.Join(s.dir, name)
	whole, err := inspect.DumpCheckpoint(ctx, path)
	require.NoError(t, err)
	assert.Empty(t, whole.Damage)
	assert.Equal(t, s.base, whole.Generation)
	assert.Equal(t, "changed-0", string(whole.FirstKey))
	assert.Equal(t, "kept-1-4", string(whole.LastKey))
	assert.EqualValues(t, 15, whole.Keys)
	assert.Equal(t, []inspect.Epoch{{Epoch: 1, FirstSeq: 1}}, whole.Epochs)
	for _, seg := range whole.Segments {
		assert.True(t, seg.Intact, seg.Kind)
		assert.NotEmpty(t, seg.Kind)
	}
	found, done := 0, 0
	for _, bit := range s.bits(t, name) {
		write(t, s.dir, name, flipped(s.files[name], int(bit/8)))
		info, err := inspect.DumpCheckpoint(ctx, path)
		require.NoError(t, err)
		_, err = json.Marshal(info)
		require.NoError(t, err)
		done++
		if len(info.Damage) > 0 {
			found++
		}
		if at := bit / 8; at < format.CheckpointHeaderLen && (at < 40 || at >= 48) {
			require.Equal(t, whole.Keys, info.Keys, "byte %d: the rest is shown", at)
			require.Equal(t, whole.LastKey, info.LastKey, "byte %d: the rest is shown", at)
		}
	}
	t.Logf("%d of %d flipped bits seen", found, done)
	assert.Equal(t, done, found)
	for _, n := range []int{0, 1, 100, 4096, 4200, len(s.files[name]) - 1} {
		write(t, s.dir, name, s.files[name][:n])
		info, err := inspect.DumpCheckpoint(ctx, path)
		require.NoError(t, err)
		require.NotEmpty(t, info.Damage, "%d bytes", n)
	}
}

func TestDumpVersion(t *testing.T) {
	s := takeSample(t, true)
	path := filepath.Join(s.dir, "version")
	v, err := inspect.DumpVersion(path)
	require.NoError(t, err)
	assert.Equal(t, s.base, v.Generation)
	write(t, s.dir, "version", flipped(s.files["version"], 33))
	_, err = inspect.DumpVersion(path)
	require.ErrorIs(t, err, format.ErrCorrupt)
	write(t, s.dir, "version", []byte{})
	_, err = inspect.DumpVersion(path)
	require.ErrorIs(t, err, format.ErrLength)
}

func TestKinds(t *testing.T) {
	for name, want := range map[string]inspect.Kind{
		"logfile.7": inspect.KindLog, "checkpoint.1": inspect.KindCheckpoint, "version": inspect.KindVersion, "newVersion": inspect.KindVersion,
		"LOCK": inspect.KindLock, "spare": inspect.KindSpare, "spare.tmp": inspect.KindTemporary, "logfile.tmp": inspect.KindTemporary,
		"checkpoint.3.tmp": inspect.KindTemporary, "logfile.07": inspect.KindForeign, "logfile.7.tmp": inspect.KindForeign, "x": inspect.KindForeign,
	} {
		kind, _ := inspect.KindByName(name)
		assert.Equal(t, want, kind, name)
	}
	s := takeSample(t, true)
	for _, name := range s.names() {
		want, _ := inspect.KindByName(name)
		kind, err := inspect.KindOfFile(filepath.Join(s.dir, name))
		require.NoError(t, err)
		assert.Equal(t, want, kind, name)
		if want == inspect.KindLog || want == inspect.KindCheckpoint {
			write(t, s.dir, "copy", flipped(s.files[name], 20))
			kind, err = inspect.KindOfFile(filepath.Join(s.dir, "copy"))
			require.NoError(t, err)
			assert.Equal(t, want, kind, "by what it begins with")
			write(t, s.dir, name, flipped(s.files[name], 3))
			kind, err = inspect.KindOfFile(filepath.Join(s.dir, name))
			require.NoError(t, err)
			assert.Equal(t, want, kind, "by its name")
		}
	}
	_, err := inspect.KindOfFile(s.dir)
	require.Error(t, err)
}
