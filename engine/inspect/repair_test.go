package inspect_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/engine/inspect"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/logrecord"
	"github.com/tongpengdl/small-db/mmapio"
)

// operation is one of a history.
type operation struct {
	seq        uint64
	key, value string
	deadline   int64
	deleted    bool
	batch      uint64 // first sequence of its batch
}

// entry is what a key has.
type entry struct {
	value    string
	deadline int64
	seq      uint64
}

// past is a directory and every operation that led to it.
type past struct {
	dir        string
	files      map[string][]byte
	operations []operation
	base       uint64 // generation of the newest checkpoint
	positions  map[string]uint64
	newest     string // log
}

// newPast makes one of so many batches between checkpoints: closed, or as a kill would leave it.
func newPast(t testing.TB, seed uint64, batches, rounds int, closed bool) *past {
	p := &past{dir: inMemory(t), positions: map[string]uint64{}}
	random := rand.New(rand.NewPCG(seed, 1))
	opts := quiet(p.dir)
	db := open(t, opts)
	seq := uint64(0)
	for round := range rounds {
		for range batches {
			var b engine.Batch
			n := 1 + random.IntN(4)
			for range n {
				seq++
				o := operation{seq: seq, key: fmt.Sprintf("key-%02d", random.IntN(40)), batch: seq - uint64(b.Len())}
				switch random.IntN(6) {
				case 0:
					o.deleted = true
					b.Delete([]byte(o.key))
				case 1:
					o.value = fmt.Sprintf("until %d", seq)
					o.deadline = time.Date(2100, 1, 1, 0, 0, 0, int(seq), time.UTC).UnixNano()
					b.SetUntil([]byte(o.key), []byte(o.value), time.Unix(0, o.deadline))
				default:
					o.value = fmt.Sprintf("value %d %0*d", seq, random.IntN(300), 0)
					b.Set([]byte(o.key), []byte(o.value))
				}
				p.operations = append(p.operations, o)
			}
			v, err := db.Apply(ctx, &b)
			require.NoError(t, err)
			require.Equal(t, seq, v.Seq)
		}
		if round+1 < rounds {
			require.NoError(t, db.Checkpoint(ctx))
		}
	}
	p.base = db.Stats().Generation
	killed := files(t, p.dir)
	require.NoError(t, db.Close())
	if !closed {
		delete(killed, "spare.tmp")
		restore(t, p.dir, killed)
	}
	p.take(t)
	return p
}

// take keeps what the directory holds.
func (p *past) take(t testing.TB) {
	_ = os.Remove(filepath.Join(p.dir, "spare"))
	p.files = files(t, p.dir)
	for name, data := range p.files {
		if kind, n := inspect.KindByName(name); kind == inspect.KindCheckpoint {
			h, err := format.DecodeCheckpointHeader(data)
			require.NoError(t, err)
			p.positions[name] = h.Position.Seq
		} else if kind == inspect.KindLog && (p.newest == "" || len(name) > len(p.newest) || name > p.newest) {
			p.newest = format.LogName(n)
		}
	}
}

func (p *past) last() uint64 { return p.operations[len(p.operations)-1].seq }

// frames are those of a log.
func (p *past) frames(t testing.TB, name string) (out []logrecord.Frame) {
	write(t, p.dir, name, p.files[name])
	l := enginetest.ReadLog(t, filepath.Join(p.dir, name))
	_, _, _ = l.Frames(0, func(f *logrecord.Frame) { out = append(out, *f) })
	return out
}

// salvage repairs the directory with other files in place of its own (nil: removed), and returns the report and what is in the copy; nil
// if nothing is left to save.
func (p *past) salvage(t testing.TB, changed map[string][]byte) (*inspect.RepairReport, map[string]entry, []byte) {
	t.Helper()
	for name, data := range changed {
		write(t, p.dir, name, data)
	}
	before := files(t, p.dir)
	r, err := inspect.NewRepair(ctx, p.dir, inspect.RepairOptions{})
	var copied bytes.Buffer
	if err == nil {
		require.NoError(t, r.Write(ctx, &copied))
		r.Close()
	}
	after := files(t, p.dir)
	if !maps.EqualFunc(before, after, bytes.Equal) {
		require.Fail(t, "the damaged directory was changed")
	}
	for name := range changed {
		if data, ok := p.files[name]; ok {
			write(t, p.dir, name, data)
		} else {
			write(t, p.dir, name, nil)
		}
	}
	if err != nil {
		require.ErrorIs(t, err, inspect.ErrNothingSaved)
		return nil, nil, nil
	}
	state := contents(t, copied.Bytes())
	require.EqualValues(t, len(state), r.Report().Keys)
	return r.Report(), state, copied.Bytes()
}

// repaired is the report of a repair of a directory; nil if nothing was ever stored there.
func repaired(t testing.TB, dir string) *inspect.RepairReport {
	t.Helper()
	r, err := inspect.NewRepair(ctx, dir, inspect.RepairOptions{})
	if errors.Is(err, inspect.ErrNoDatabase) {
		return nil
	}
	require.NoError(t, err)
	defer r.Close()
	require.NoError(t, r.Write(ctx, io.Discard))
	return r.Report()
}

// contents is what a backup holds.
func contents(t testing.TB, backup []byte) map[string]entry {
	t.Helper()
	require.NoError(t, ckpt.Verify(bytes.NewReader(backup), int64(len(backup)), "copy"))
	dir := inMemory(t)
	defer os.RemoveAll(dir)
	write(t, dir, "copy", backup)
	d, err := mmapio.OpenDir(dir, false)
	require.NoError(t, err)
	defer d.Close()
	f, err := d.Open("copy", mmapio.Read)
	require.NoError(t, err)
	defer f.Close()
	r, err := ckpt.Open(f)
	require.NoError(t, err)
	out := map[string]entry{}
	c := r.Cursor()
	for rec, ok, err := c.Next(); ok; rec, ok, err = c.Next() {
		require.NoError(t, err)
		out[string(rec.Key)] = entry{string(rec.Value), rec.Expiry, rec.Seq}
	}
	return out
}

// inHoles reports whether a key lies in a hole of a checkpoint.
func inHoles(r *inspect.RepairReport, file, key string) bool {
	return slices.ContainsFunc(r.Holes, func(h inspect.Hole) bool {
		return h.File == file && (h.After == nil || key > string(h.After)) && (h.Before == nil || key < string(h.Before))
	})
}

// isLost reports whether an operation is lost by what the report says.
func isLost(r *inspect.RepairReport, o *operation) bool {
	if o.seq > r.LastSeq {
		return true
	}
	for i := range r.Lost {
		l := &r.Lost[i]
		if l.FirstSeq == 0 || o.seq < l.FirstSeq || l.LastSeq != 0 && o.seq > l.LastSeq {
			continue
		}
		return !slices.ContainsFunc(l.MendedBy, func(file string) bool { return !inHoles(r, file, o.key) })
	}
	return false
}

// without is the state after all operations but those that are lost.
func (p *past) without(r *inspect.RepairReport) map[string]entry {
	state := map[string]entry{}
	for i := range p.operations {
		switch o := &p.operations[i]; {
		case isLost(r, o):
		case o.deleted:
			delete(state, o.key)
		default:
			state[o.key] = entry{o.value, o.deadline, o.seq}
		}
	}
	return state
}

// allowDeletes takes keys out of want that a lost operation has deleted, if it may be in a checkpoint of unknown position.
func (p *past) allowDeletes(r *inspect.RepairReport, want, got map[string]entry) {
	if len(r.Unplaced) == 0 {
		return
	}
	for i := range p.operations {
		o := &p.operations[i]
		if _, there := got[o.key]; !there && o.deleted && o.seq > want[o.key].seq && isLost(r, o) {
			delete(want, o.key)
		}
	}
}

// same compares states; what differs is said.
func same(t testing.TB, want, got map[string]entry, versions bool, what string, r *inspect.RepairReport) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		w, g := want[key], got[key]
		if !versions {
			w.seq, g.seq = 0, 0
		}
		require.Equal(t, w, g, "%s: key %s; %+v", what, key, r.Lost)
	}
	require.Len(t, got, len(want), "%s: %+v", what, r.Lost)
}

// restoreCopy makes a database of a copy, and checks all that is promised of it.
func (p *past) restoreCopy(t testing.TB, backup []byte, r *inspect.RepairReport, want map[string]entry) {
	t.Helper()
	opts := quiet(filepath.Join(inMemory(t), "new"))
	require.NoError(t, engine.Restore(opts, bytes.NewReader(backup)))
	defer os.RemoveAll(filepath.Dir(opts.Dir))
	require.Empty(t, check(t, opts.Dir).Findings)
	opts.Create = false
	db := open(t, opts)
	require.EqualValues(t, len(want), db.Stats().Keys)
	for key, e := range want {
		got, ok, err := db.Entry([]byte(key))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, e.value, string(got.Value))
		if e.deadline != 0 {
			require.Equal(t, e.deadline, got.Deadline.UnixNano())
		}
	}
	v, err := db.Set(ctx, []byte("another"), nil)
	require.NoError(t, err)
	next := r.LastSeq + 1
	if len(r.Unversioned) > 0 {
		next++
	}
	require.Equal(t, next, v.Seq)
	require.Greater(t, v.Epoch, uint64(1), "a new epoch")
	require.NoError(t, db.Close())
}

// lostText is the lost ranges of a report, without why.
func lostText(r *inspect.RepairReport) []string {
	out := []string{}
	for _, l := range r.Lost {
		out = append(out, fmt.Sprintf("%s@%d: %d-%d %v", l.File, l.Offset, l.FirstSeq, l.LastSeq, l.MendedBy))
	}
	return out
}

// What is saved, and what is said to be lost, for one of each kind of damage.
func TestRepairKinds(t *testing.T) {
	p := newPast(t, 7, 30, 4, true)
	base, kept := format.CheckpointName(p.base), format.CheckpointName(p.base-1)
	log, old := format.LogName(p.base), format.LogName(p.base-1)
	atBase, atKept, last := p.positions[base], p.positions[kept], p.last()
	require.Equal(t, log, p.newest)
	frames, oldFrames := p.frames(t, log), p.frames(t, old)
	f, of := frames[9], oldFrames[9]
	require.Greater(t, f.Header.Count, uint32(0))
	flip := func(name string, at ...int) []byte {
		data := p.files[name]
		for _, a := range at {
			data = flipped(data, a)
		}
		return data
	}
	size := func(name string) int { return len(p.files[name]) }
	records := format.CheckpointHeaderLen + 200
	payload := func(f *logrecord.Frame) int { return int(f.Offset) + format.FrameHeaderLen + 3 }
	lost := func(name string, offset int64, first, last uint64, by ...string) string {
		return fmt.Sprintf("%s@%d: %d-%d %v", name, offset, first, last, by)
	}
	frameLost := lost(log, f.Offset, f.Header.FirstSeq, f.Header.LastSeq())
	oldLost := lost(old, of.Offset, of.Header.FirstSeq, of.Header.LastSeq(), base)
	for _, c := range []struct {
		name    string
		changed map[string][]byte
		lost    []string
		refused []string
	}{
		{"nothing", nil, nil, nil},
		{"version", map[string][]byte{"version": flip("version", 50)}, nil, nil},
		{"version gone", map[string][]byte{"version": nil}, nil, nil},
		{"newest checkpoint gone", map[string][]byte{base: nil}, nil, nil},
		{"newest checkpoint and version gone", map[string][]byte{base: nil, "version": nil}, nil, nil},
		{"a record of the newest checkpoint", map[string][]byte{base: flip(base, records)}, nil, nil},
		{"kept checkpoint gone", map[string][]byte{kept: nil}, nil, nil},
		{"kept log gone", map[string][]byte{old: nil}, nil, nil},
		{"frame of the kept log", map[string][]byte{old: flip(old, payload(&of))}, nil, nil},
		{"payload", map[string][]byte{log: flip(log, payload(&f))}, []string{frameLost}, nil},
		{"header of a frame", map[string][]byte{log: flip(log, int(f.Offset)+20)}, nil, nil},
		{"headers of three frames", map[string][]byte{log: flip(log, int(f.Offset)+20, int(frames[10].Offset)+20, int(frames[11].Offset))}, nil, nil},
		{"both", map[string][]byte{log: flip(log, int(f.Offset)+20, payload(&f))}, []string{frameLost}, nil},
		{"two frames", map[string][]byte{log: flip(log, payload(&f), payload(&frames[20]))},
			[]string{frameLost, lost(log, frames[20].Offset, frames[20].Header.FirstSeq, frames[20].Header.LastSeq())}, nil},
		{"block 0", map[string][]byte{log: flip(log, 20)}, nil, nil},
		{"the salt in block 0", map[string][]byte{log: flip(log, 40)}, nil, nil},
		{"block 1", map[string][]byte{log: flip(log, 4096+50)}, nil, nil},
		{"newest log gone", map[string][]byte{log: nil}, []string{lost(log, -1, atBase+1, 0)}, nil},
		{"newest log cut", map[string][]byte{log: p.files[log][:frames[20].Offset]}, []string{lost(log, frames[20].Offset, frames[20].Header.FirstSeq, 0)}, nil},
		{"both checkpoints gone", map[string][]byte{base: nil, kept: nil}, []string{lost(format.CheckpointName(p.base-1), -1, 1, atKept)}, nil},
		{"kept log and newest checkpoint gone", map[string][]byte{base: nil, old: nil}, []string{lost(old, -1, atKept+1, atBase)}, nil},
		{"newest checkpoint and a frame before it", map[string][]byte{base: nil, old: flip(old, payload(&of))},
			[]string{lost(old, of.Offset, of.Header.FirstSeq, of.Header.LastSeq())}, nil},
		{"a record of the newest checkpoint and a frame before it", map[string][]byte{base: flip(base, records), old: flip(old, payload(&of))}, []string{oldLost}, nil},
		{"the indexes of the newest checkpoint and a frame before it",
			map[string][]byte{base: flip(base, size(base)-format.FooterLen-700), old: flip(old, payload(&of))}, nil, nil},
		{"the header of the newest checkpoint and a frame before it", map[string][]byte{base: flip(base, 60), old: flip(old, payload(&of))}, nil, nil},
		{"the zeros in the header of the newest checkpoint, no log of it and a frame before it",
			map[string][]byte{base: flip(base, 3000), log: nil, old: flip(old, payload(&of))}, []string{lost(log, -1, atBase+1, 0)}, nil},
		{"the footer of the newest checkpoint and a frame before it", map[string][]byte{base: flip(base, size(base)-20), old: flip(old, payload(&of))}, nil, nil},
		{"the directory of the newest checkpoint and a frame before it",
			map[string][]byte{base: flip(base, size(base)-format.FooterLen-20), old: flip(old, payload(&of))}, nil, nil},
		{"a checkpoint of nothing but zeros", map[string][]byte{base: make([]byte, size(base)), old: flip(old, payload(&of))},
			[]string{lost(old, of.Offset, of.Header.FirstSeq, of.Header.LastSeq())}, []string{base}},
		{"all but the newest log", map[string][]byte{base: nil, kept: nil, old: nil, "version": nil}, []string{lost("checkpoint.4", -1, 1, atBase)}, nil},
		{"all logs", map[string][]byte{log: nil, old: nil}, []string{lost(log, -1, atBase+1, 0)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, state, copied := p.salvage(t, c.changed)
			if c.lost == nil {
				c.lost = []string{}
				require.Equal(t, last, r.LastSeq)
			}
			assert.Equal(t, c.lost, lostText(r))
			assert.Equal(t, len(c.lost) > 0, r.Lossy())
			var refused []string
			for _, f := range r.Refused {
				refused = append(refused, f.File)
			}
			assert.Equal(t, c.refused, refused)
			want := p.without(r)
			same(t, want, state, false, c.name, r)
			p.restoreCopy(t, copied, r, want)
		})
	}
}

// Files of another database, or of another history of this one, are not mixed in.
func TestRepairStrangers(t *testing.T) {
	p, other := newPast(t, 7, 20, 3, true), newPast(t, 8, 20, 3, true)
	base, kept := format.CheckpointName(p.base), format.CheckpointName(p.base-1)
	log, old := format.LogName(p.base), format.LogName(p.base-1)
	for _, c := range []struct {
		name    string
		changed []string
		lossy   bool
	}{
		{"version", []string{"version"}, false},
		{"newest checkpoint", []string{base}, false},
		{"kept checkpoint", []string{kept}, false},
		{"kept log", []string{old}, false},
		{"newest log", []string{log}, true},
		{"newest checkpoint and kept log", []string{base, old}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed := map[string][]byte{}
			for _, name := range c.changed {
				changed[name] = other.files[name]
			}
			r, state, _ := p.salvage(t, changed)
			require.Len(t, r.Refused, len(c.changed), "%+v", r.Refused)
			assert.Equal(t, c.lossy, r.Lossy(), "%+v", r.Lost)
			same(t, p.without(r), state, true, c.name, r)
		})
	}
}

// A restored database has a single checkpoint, and no log that could make it again.
func TestRepairOneCheckpoint(t *testing.T) {
	p := newPast(t, 9, 40, 2, true)
	r, all, backup := p.salvage(t, nil)
	require.False(t, r.Lossy())
	dir := inMemory(t)
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, engine.Restore(quiet(dir), bytes.NewReader(backup)))
	q := &past{dir: dir, operations: p.operations, positions: map[string]uint64{}}
	q.take(t)
	name := format.CheckpointName(1)
	n := len(q.files[name])
	counts := map[string]int{}
	for _, at := range []int{0, 20, 40, 60, format.CheckpointHeaderLen, format.CheckpointHeaderLen + 1, format.CheckpointHeaderLen + 300, n / 2, n - 300, n - 200, n - 100, n - 1} {
		for _, length := range []int{1, 100, 512} {
			data := slices.Clone(q.files[name])
			for i := at; i < min(n, at+length); i++ {
				data[i] ^= 0x55
			}
			what := fmt.Sprintf("%d bytes at %d of %d", length, at, n)
			r, state, _ := q.salvage(t, map[string][]byte{name: data})
			same(t, q.without(r), state, false, what, r)
			for key, e := range state {
				require.Equal(t, all[key].value, e.value, what)
			}
			counts["damaged"]++
			if len(state) == len(all) {
				counts["all saved"]++
			} else {
				require.True(t, r.Lossy(), what)
				require.True(t, len(r.Holes) > 0 || len(r.Refused) > 0, what)
			}
		}
	}
	for _, size := range []int{format.CheckpointHeaderLen + 500, n / 2, n - format.FooterLen, n - 1} {
		r, state, _ := q.salvage(t, map[string][]byte{name: q.files[name][:size]})
		require.True(t, r.Lossy(), size)
		require.NotEmpty(t, state, size)
		same(t, q.without(r), state, false, fmt.Sprint(size), r)
		counts["cut"]++
	}
	t.Logf("of a single checkpoint: %v", counts)
	require.GreaterOrEqual(t, counts["all saved"], 15)
}

// The property: whatever is damaged, the copy is the history without exactly the operations that the report says are lost, and
// the directory is as it was.
func TestRepairRandom(t *testing.T) {
	seed := enginetest.Seed(t, 20260718)
	random := rand.New(rand.NewPCG(seed, 0))
	pasts := []*past{newPast(t, seed, 25, 4, true), newPast(t, seed+1, 60, 3, false)}
	counts := map[string]int{}
	for n := range enginetest.Times(200, 20_000) {
		p := pasts[n%len(pasts)]
		changed := map[string][]byte{}
		var what []string
		for range 1 + random.IntN(4) {
			name, data, did := p.hurt(random, changed)
			changed[name] = data
			what = append(what, did)
		}
		text := fmt.Sprintf("seed %d, round %d: %v", seed, n, what)
		r, state, copied := p.salvage(t, changed)
		if r == nil {
			counts["nothing saved"]++
			continue
		}
		want := p.without(r)
		p.allowDeletes(r, want, state)
		same(t, want, state, !slices.ContainsFunc(r.Lost, func(l inspect.Lost) bool { return len(l.MendedBy) > 0 }) && len(changed) == 1, text, r)
		p.honest(t, r, changed, text, counts)
		if n%10 == 0 {
			p.restoreCopy(t, copied, r, want)
			counts["restored"]++
		}
	}
	t.Logf("repairs: %v", counts)
	require.GreaterOrEqual(t, counts["lossy"], 50)
	require.GreaterOrEqual(t, counts["all saved"], 50)
	require.GreaterOrEqual(t, counts["a torn end"], 1)
	require.GreaterOrEqual(t, counts["mended by a damaged checkpoint"], 5)
	require.LessOrEqual(t, counts["nothing saved"], counts["repaired"]/20)
}

// hurt damages a file that is needed.
func (p *past) hurt(random *rand.Rand, changed map[string][]byte) (string, []byte, string) {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(p.files)), func(name string) bool {
		data, done := changed[name]
		return name == format.LockName || done && len(data) < 1024
	})
	name := names[random.IntN(len(names))]
	data, done := changed[name]
	if !done {
		data = p.files[name]
	}
	used := len(bytes.TrimRight(data, "\x00"))
	if used == 0 {
		used = len(data)
	}
	data = slices.Clone(data)
	at := random.IntN(used)
	const sector = 512
	switch random.IntN(12) {
	case 0:
		return name, nil, "removed " + name
	case 1:
		return name, data[:at], fmt.Sprintf("cut %s at %d", name, at)
	case 2, 3:
		at -= at % sector
		clear(data[at:min(len(data), at+sector)])
		return name, data, fmt.Sprintf("zeros in %s at %d", name, at)
	case 4:
		at -= at % sector
		from := random.IntN(used/sector+1) * sector
		copy(data[at:min(len(data), at+sector)], data[from:])
		return name, data, fmt.Sprintf("copied in %s from %d to %d", name, from, at)
	case 5:
		at = max(0, used-1-random.IntN(300)) // the last frame, or the trailer
	}
	data[at] ^= 1 << random.IntN(8)
	return name, data, fmt.Sprintf("flipped in %s at %d", name, at)
}

// honest checks that the report does not say too much or too little.
func (p *past) honest(t testing.TB, r *inspect.RepairReport, changed map[string][]byte, text string, counts map[string]int) {
	t.Helper()
	counts["repaired"]++
	logs := 0
	for name := range changed {
		if kind, _ := inspect.KindByName(name); kind == inspect.KindLog {
			logs++
		}
	}
	last := uint64(0)
	mended := false
	for _, l := range r.Lost {
		require.NotEmpty(t, l.What, text)
		if l.FirstSeq == 0 {
			continue
		}
		require.Greater(t, l.FirstSeq, last, text)
		require.True(t, l.LastSeq == 0 || l.LastSeq >= l.FirstSeq && l.LastSeq <= r.LastSeq, "%s: %+v", text, l)
		last = l.LastSeq
		mended = mended || len(l.MendedBy) > 0
		_, hurt := changed[l.File]
		require.True(t, hurt || l.FirstSeq == 1, "%s: %+v is not in a damaged file", text, l)
	}
	for i := range p.operations { // a batch is saved as a whole, unless a checkpoint has a part of it, or more than is known
		if o := &p.operations[i]; !mended && len(r.Unplaced) == 0 && o.batch != o.seq {
			require.Equal(t, isLost(r, &p.operations[i-1]), isLost(r, o), "%s: half of the batch at %d", text, o.batch)
		}
	}
	switch {
	case mended:
		counts["mended by a damaged checkpoint"]++
		fallthrough
	case r.Lossy():
		counts["lossy"]++
	case r.LastSeq < p.last():
		counts["a torn end"]++
		require.Positive(t, logs, text)
		require.False(t, r.Clean, text)
	default:
		counts["all saved"]++
	}
	if logs == 0 && len(changed) == 1 {
		require.False(t, r.Lossy(), "%s: %+v", text, r.Lost)
	}
}

// unreadable is a directory in which a block of one file cannot be read.
type unreadable struct {
	mmapio.Dir
	name string
	at   int64 // in bytes, a multiple of the size of a block
}

func (d *unreadable) Open(name string, mode mmapio.Mode) (mmapio.File, error) {
	f, err := d.Dir.Open(name, mode)
	if err != nil || name != d.name {
		return f, err
	}
	return &badFile{f, d.at}, nil
}

type badFile struct {
	mmapio.File
	at int64
}

// ReadAt fails where the block begins, as a disk does.
func (f *badFile) ReadAt(p []byte, off int64) (int, error) {
	if off >= f.at+format.BlockSize || off+int64(len(p)) <= f.at {
		return f.File.ReadAt(p, off)
	}
	n := 0
	if off < f.at {
		n, _ = f.File.ReadAt(p[:f.at-off], off)
	}
	return n, unix.EIO
}

// A block that the disk cannot read costs what was in it, and nothing around it.
func TestRepairUnreadable(t *testing.T) {
	p := newPast(t, 11, 40, 3, true)
	log, base := p.newest, format.CheckpointName(p.base)
	lossy, mended := 0, 0
	for _, row := range []struct {
		name  string
		wreck map[string][]byte // so that the file is needed
	}{
		{log, nil},
		{base, map[string][]byte{format.CheckpointName(p.base - 1): nil, format.LogName(p.base - 1): nil}},
	} {
		for name, data := range row.wreck {
			write(t, p.dir, name, data)
		}
		for at := int64(0); at < int64(len(p.files[row.name])); at += format.BlockSize {
			what := fmt.Sprintf("%s at %d", row.name, at)
			d, err := mmapio.OpenDir(p.dir, false)
			require.NoError(t, err)
			r, err := inspect.NewRepairOf(ctx, &unreadable{d, row.name, at})
			if err != nil {
				require.ErrorIs(t, err, inspect.ErrNothingSaved, what)
				r.Close()
				continue
			}
			var copied bytes.Buffer
			require.NoError(t, r.Write(ctx, &copied), what)
			r.Close()
			require.NoError(t, d.Close())
			state := contents(t, copied.Bytes())
			same(t, p.without(r.Report()), state, false, what, r.Report())
			require.NotEmpty(t, state, what)
			if r.Report().Lossy() {
				lossy++
			}
			if len(r.Report().Holes) > 0 {
				mended++
			}
		}
		restore(t, p.dir, p.files)
	}
	t.Logf("unreadable blocks: %d with losses, %d of them in a checkpoint of which the rest is saved", lossy, mended)
	require.GreaterOrEqual(t, lossy, 5)
	require.GreaterOrEqual(t, mended, 1)
}

// Engine time and deadlines are kept, and what was due stays due, though the wall clock is set back.
func TestRepairKeepsTime(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	opts := quiet(inMemory(t))
	opts.Now = func() time.Time { return now }
	db := open(t, opts)
	soon, later := now.Add(time.Minute), now.Add(time.Hour)
	for key, deadline := range map[string]time.Time{"soon": soon, "later": later} {
		_, err := db.SetUntil(ctx, []byte(key), []byte("value"), deadline)
		require.NoError(t, err)
	}
	require.NoError(t, db.Checkpoint(ctx))
	_, err := db.SetUntil(ctx, []byte("soon too"), []byte("value"), soon)
	require.NoError(t, err)
	now = now.Add(10 * time.Minute)
	base := db.Stats().Generation
	require.NoError(t, db.Close())
	p := &past{dir: opts.Dir, positions: map[string]uint64{}}
	p.take(t)
	require.Equal(t, format.LogName(base), p.newest)
	_, state, copied := p.salvage(t, map[string][]byte{p.newest: flipped(p.files[p.newest], 20)})
	require.Equal(t, map[string]entry{"later": {"value", later.UnixNano(), state["later"].seq}}, state)
	h, err := format.DecodeCheckpointHeader(copied)
	require.NoError(t, err)
	require.Equal(t, now.UnixNano(), h.Position.Time)

	opts = quiet(filepath.Join(inMemory(t), "new"))
	opts.Now = func() time.Time { return now.Add(-24 * time.Hour) }
	require.NoError(t, engine.Restore(opts, bytes.NewReader(copied)))
	db = open(t, opts)
	_, err = db.SetUntil(ctx, []byte("due"), []byte("value"), soon) // before engine time
	require.NoError(t, err)
	_, ok, err := db.Get([]byte("due"))
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, db.Close())
}

// Whatever ends a repair, no copy is whole that is not.
func TestRepairInterrupted(t *testing.T) {
	p := newPast(t, 3, 10, 2, true)
	stopped, stop := context.WithCancel(ctx)
	stop()
	_, err := inspect.NewRepair(stopped, p.dir, inspect.RepairOptions{})
	require.ErrorIs(t, err, context.Canceled)
	r, err := inspect.NewRepair(ctx, p.dir, inspect.RepairOptions{})
	require.NoError(t, err)
	require.ErrorIs(t, r.Write(stopped, io.Discard), context.Canceled)
	_, err = engine.Open(quiet(p.dir))
	require.ErrorIs(t, err, engine.ErrLocked, "it is locked until Close")
	r.Close()
	r.Close()
	require.NoError(t, open(t, quiet(p.dir)).Close())

	// Bytes that go bad between the two passes.
	large := inMemory(t)
	db := open(t, quiet(large))
	for _, key := range []string{"a", "b", "c"} {
		set(t, db, key, string(make([]byte, 150_000)))
	}
	require.NoError(t, db.Checkpoint(ctx))
	set(t, db, "d", "value")
	base := db.Stats().Generation
	require.NoError(t, db.Close())
	for name, at := range map[string]int{
		format.CheckpointName(base): format.CheckpointHeaderLen + 400_000, format.LogName(base): format.LogHeaderSize + format.FrameHeaderLen + 20,
	} {
		whole := files(t, large)[name]
		r, err := inspect.NewRepair(ctx, large, inspect.RepairOptions{})
		require.NoError(t, err)
		write(t, large, name, flipped(whole, at))
		require.ErrorIs(t, r.Write(ctx, io.Discard), format.ErrCorrupt, name)
		r.Close()
		write(t, large, name, whole)
	}
	empty := inMemory(t)
	_, err = inspect.NewRepair(ctx, empty, inspect.RepairOptions{})
	require.ErrorIs(t, err, inspect.ErrNoDatabase)
	write(t, empty, "version", p.files["version"])
	_, err = inspect.NewRepair(ctx, empty, inspect.RepairOptions{})
	require.ErrorIs(t, err, inspect.ErrNothingSaved)
}
