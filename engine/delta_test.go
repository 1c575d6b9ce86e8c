package engine

import (
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/logrecord"
	"github.com/tongpengdl/small-db/mmapio"
)

// logFile writes a log of one frame with these operations, and returns it and where its records are.
func logFile(t *testing.T, dir mmapio.Dir, generation uint64, ops []op) (f mmapio.File, id format.LogIdentity, at []int64) {
	t.Helper()
	id = format.LogIdentity{Align: 512, Generation: generation, Salt: 1000 + generation, Size: 64 << 10}
	framer := logrecord.NewFramer(id.Salt, 512, format.LogHeaderSize, format.Position{Epoch: 1})
	framer.Begin(1, 0, 1)
	for _, o := range ops {
		at = append(at, framer.Offset()+int64(framer.Add(&format.Record{Kind: o.kind, Key: o.key, Value: o.value})))
	}
	data := make([]byte, id.Size)
	copy(data[framer.Offset():], framer.End())
	require.NoError(t, os.WriteFile(filepath.Join(dir.Path(), format.LogName(generation)), data, 0o600))
	f, err := dir.Open(format.LogName(generation), mmapio.Write)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f, id, at
}

// Keys whose hashes are one are told apart by themselves, over logs, and the last record of each counts.
func TestDeltaTellsKeysOfOneHashApart(t *testing.T) {
	dir, err := mmapio.OpenDir(t.TempDir(), false)
	require.NoError(t, err)
	d, err := newDelta(maphash.MakeSeed(), 0, 0)
	require.NoError(t, err)
	const hash, keys = 0x123456789ABCDEF0, 100
	want := map[string]string{}
	for generation := uint64(1); generation <= 3; generation++ {
		var ops []op
		for i := range keys {
			o := op{kind: format.KindSet, key: fmt.Appendf(nil, "key-%d", i), value: fmt.Appendf(nil, "%d-%d", generation, i)}
			if (i+int(generation))%7 == 0 {
				o.kind, o.value = format.KindDelete, nil
			}
			ops = append(ops, o)
		}
		f, id, at := logFile(t, dir, generation, ops)
		start, err := d.attach(f, &id)
		require.NoError(t, err)
		for i, o := range ops {
			before, err := d.put(&change{hash: hash, key: o.key, place: (start + at[i]) / placeUnit})
			require.NoError(t, err)
			switch was, known := want[string(o.key)]; {
			case !known:
				require.Zero(t, before)
			case was == "":
				require.Equal(t, state{kind: format.KindDelete}, before)
			default:
				require.Equal(t, state{kind: format.KindSet}, before)
			}
			want[string(o.key)] = string(o.value)
		}
		for k, v := range want {
			var rec format.Record
			ok, err := d.get(hash, []byte(k), &rec)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, v, string(rec.Value))
			require.Equal(t, v == "", rec.Kind == format.KindDelete)
		}
		ok, err := d.get(hash, []byte("another"), new(format.Record))
		require.NoError(t, err)
		require.False(t, ok)
	}
	assert.EqualValues(t, keys, d.table.entries.Load(), "a slot for each key")
}

// A damaged record is met by whoever asks for its key, not taken for another, and not replaced unnoticed.
func TestDeltaMeetsDamage(t *testing.T) {
	dir, err := mmapio.OpenDir(t.TempDir(), false)
	require.NoError(t, err)
	d, err := newDelta(maphash.MakeSeed(), 0, 0)
	require.NoError(t, err)
	ops := []op{{kind: format.KindSet, key: []byte("bad"), value: []byte("bad")}, {kind: format.KindSet, key: []byte("good"), value: []byte("good")}}
	f, id, at := logFile(t, dir, 1, ops)
	start, err := d.attach(f, &id)
	require.NoError(t, err)
	for i, o := range ops {
		_, err := d.put(&change{hash: d.hash(o.key), key: o.key, place: (start + at[i]) / placeUnit})
		require.NoError(t, err)
	}
	_, err = f.WriteAt([]byte{0xFF}, at[0]+8)
	require.NoError(t, err)
	ok, err := d.get(d.hash([]byte("bad")), []byte("bad"), new(format.Record))
	require.False(t, ok)
	var c *format.CorruptionError
	require.ErrorAs(t, err, &c)
	require.Equal(t, format.LogName(1), c.File)
	require.Equal(t, at[0], c.Offset)
	require.ErrorIs(t, err, format.ErrChecksum)
	var rec format.Record
	ok, err = d.get(d.hash([]byte("good")), []byte("good"), &rec)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "good", string(rec.Value))

	// Beyond the end of the file nothing can be read at all.
	require.NoError(t, os.Truncate(filepath.Join(dir.Path(), format.LogName(1)), 0))
	_, same, _ := d.sameKey((start+at[1])/placeUnit, []byte("good"))
	require.False(t, same)
}

// What is found of a key is of the record that its slot named, while others of that key are entered.
func TestFindBesideEnter(t *testing.T) {
	dir, err := mmapio.OpenDir(t.TempDir(), false)
	require.NoError(t, err)
	d, err := newDelta(maphash.MakeSeed(), 0, 0)
	require.NoError(t, err)
	key, hash := []byte("k"), d.hash([]byte("k"))
	f, id, at := logFile(t, dir, 1, []op{{kind: format.KindSet, key: key}, {kind: format.KindDelete, key: key}})
	start, err := d.attach(f, &id)
	require.NoError(t, err)
	places := []int64{(start + at[0]) / placeUnit, (start + at[1]) / placeUnit}
	enter := func(i int) { _, _ = d.put(&change{hash: hash, key: key, place: places[i%2]}) }
	enter(0)

	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
				enter(i)
			}
		}
	}()
	v := &view{delta: d}
	for range 1_000_000 {
		found := v.find(hash, key)
		want := format.KindSet
		if found.value == slotOf(hash, places[1]) {
			want = format.KindDelete
		}
		if !assert.Equal(t, want, found.state.kind) {
			break
		}
	}
	close(stop)
	<-stopped
}
