package engine_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/logrecord"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// sealing says how a directory was left.
type sealing string

const (
	sealedClean    sealing = "closed"     // cleanly
	sealedByKill   sealing = "killed"     // no trailer in the newest log
	sealedInSwitch sealing = "newVersion" // killed between writing newVersion and its renaming, some writes after the rotation
)

var sealings = []sealing{sealedClean, sealedByKill, sealedInSwitch}

// sealed is a small directory that nobody has open, of all kinds of files, and what it holds.
type sealed struct {
	how      sealing
	opts     engine.Options
	files    map[string][]byte
	earlier  []map[string][]byte    // what was there at earlier moments, from the last checkpoint's beginning on
	states   map[uint64]*modelState // after each group, by the sequence of its last operation
	last     *modelState
	keys     []string // all that were ever set, and some that never were
	named    uint64   // generation that an open starts from
	previous uint64   // generation of the checkpoint that is kept for repair
	newest   string   // log
	parts    map[string][]part
	frames   map[string][]frameAt // of each log, without trailers
	dirty    map[string]bool      // files that may not be as sealed; nil for all
}

// frameAt is a frame of a log and the operations in it.
type frameAt struct {
	from, to          int64 // header and payload, in bytes
	firstSeq, lastSeq uint64
	records           []recordAt
}

// recordAt is a record of a log.
type recordAt struct {
	key      string
	from, to int64 // in bytes
}

// sealer writes a directory that is to be sealed.
type sealer struct {
	t     *testing.T
	s     *sealed
	db    *engine.DB
	clock *fakeClock
}

// seal makes a directory in dir. Deadlines, several epochs, batches, deletes and a rotation are in it.
func seal(t *testing.T, how sealing, dir string) *sealed {
	opts, clock := timed(t)
	opts.Dir, opts.Sync = dir, engine.SyncDsync
	w := &sealer{t: t, clock: clock, s: &sealed{how: how, opts: opts, states: map[uint64]*modelState{}}}
	in := mmapiotest.NewInjector(mmapio.OpenDir)
	opts.OpenDir = in.OpenDir
	w.open(opts)
	w.first()
	if how != sealedInSwitch { // a second epoch
		image := files(t, dir)
		require.NoError(t, w.db.Close())
		restoreFiles(t, dir, image)
		w.open(opts)
		w.set("after the kill", 5)
	}
	require.NoError(t, w.db.Checkpoint(ctx))
	w.second()
	w.remember()
	if how == sealedInSwitch {
		in.Add(mmapiotest.Fault{
			Match: func(op mmapiotest.Op) bool { return op.Kind == mmapiotest.Rename && op.Name == format.NewVersionName },
			Before: func(mmapiotest.Op) {
				w.third()
				w.waitForSpare()
				w.s.files = files(t, dir)
			},
		})
	}
	require.NoError(t, w.db.Checkpoint(ctx))
	if how != sealedInSwitch {
		w.third()
		w.waitForSpare()
		w.s.files = files(t, dir)
	}
	require.NoError(t, w.db.Close())
	if how == sealedClean {
		w.s.earlier, w.s.files = append(w.s.earlier, w.s.files), files(t, dir)
	}
	w.finish()
	return w.s
}

func (w *sealer) open(opts engine.Options) {
	db, err := engine.Open(opts)
	require.NoError(w.t, err)
	w.db = db
	w.t.Cleanup(func() { _ = db.Close() })
	if w.s.last == nil {
		w.s.last = &modelState{entries: map[string]modelEntry{}}
	}
	w.s.last.version = db.Version()
}

// write applies a batch.
func (w *sealer) write(writes ...modelWrite) {
	var b engine.Batch
	next := w.s.last.clone()
	for _, one := range writes {
		one.addTo(&b)
		next.write(one)
		w.s.keys = append(w.s.keys, one.key)
	}
	v, err := w.db.Apply(ctx, &b)
	require.NoError(w.t, err)
	require.Equal(w.t, v, next.version)
	w.s.last = &next
	w.s.states[v.Seq] = &next
}

func (w *sealer) set(key string, n int) {
	w.write(modelWrite{key: key, value: string(bytesOf(fmt.Sprint(key, w.s.last.version.Seq), n))})
}

func (w *sealer) del(key string) { w.write(modelWrite{key: key, del: true}) }

// first is what the kept checkpoint holds.
func (w *sealer) first() {
	for i := range 10 {
		w.set(fmt.Sprintf("kept-%d", i), 7*i)
		w.set(fmt.Sprintf("changed-%d", i), 20)
	}
	w.write(modelWrite{key: "until noon", value: "a", deadline: after(5).UnixNano()}, modelWrite{key: "for long", value: "b", deadline: after(1e18).UnixNano()},
		modelWrite{key: "deleted", value: "c"})
	w.del("deleted")
	w.set("deleted later", 10)
}

// second is what comes between the checkpoints.
func (w *sealer) second() {
	for i := range 5 {
		w.set(fmt.Sprintf("changed-%d", i), 30)
	}
	w.del("kept-0")
	w.write(modelWrite{key: "until noon, too", value: "d", deadline: after(6).UnixNano()}, modelWrite{key: "batched", value: "e"})
}

// third is what comes after the last checkpoint. But for the switch it goes over two logs.
func (w *sealer) third() {
	w.clock.ns.Store(10) // some keys of the checkpoint are due
	w.set("changed-0", 300)
	w.del("deleted later")
	if w.s.how != sealedInSwitch {
		w.set("fills the log", 50_000)
		w.del("fills the log")
	}
	for i := range 20 {
		w.set(fmt.Sprintf("changed-%d", i%7), 40+i)
	}
	w.write(modelWrite{key: "kept-1", del: true}, modelWrite{key: "new", value: "f"}, modelWrite{key: "new until later", value: "g", deadline: after(1e18).UnixNano()})
	w.remember()
	w.write(modelWrite{key: "last", value: string(bytesOf("last", 700))}, modelWrite{key: "kept-2", del: true})
}

// remember keeps what there is now as an earlier version of each file.
func (w *sealer) remember() {
	w.waitForSpare()
	w.s.earlier = append(w.s.earlier, files(w.t, w.s.opts.Dir))
}

// waitForSpare waits until the helper that prepares logs has come to rest. Every rotation asks it for a spare.
func (w *sealer) waitForSpare() {
	eventually(w.t, "a spare", func() bool {
		there := files(w.t, w.s.opts.Dir)
		return there[format.SpareName] != nil && there[format.SpareName+format.TempSuffix] == nil
	})
}

// finish takes the files apart.
func (w *sealer) finish() {
	s := w.s
	for i := range 40 {
		s.keys = append(s.keys, fmt.Sprintf("never set %d", i))
	}
	slices.Sort(s.keys)
	s.keys = slices.Compact(s.keys)
	for _, state := range s.states {
		state.time = after(10).UnixNano()
	}
	pointer := format.VersionName
	if w.s.how == sealedInSwitch {
		pointer = format.NewVersionName
	}
	v, err := format.DecodeVersionFile(s.files[pointer])
	require.NoError(w.t, err)
	s.named, s.previous = v.Generation, v.Previous
	want := []string{format.LockName, format.SpareName, format.VersionName, format.CheckpointName(s.named), format.CheckpointName(s.previous),
		format.LogName(s.named), format.LogName(s.previous)}
	s.newest = format.LogName(s.named)
	if w.s.how == sealedInSwitch {
		want = append(want, format.NewVersionName, format.CheckpointName(s.previous-1), format.LogName(s.previous-1))
	} else {
		s.newest = format.LogName(s.named + 1)
		want = append(want, s.newest)
	}
	require.ElementsMatch(w.t, want, s.names())
	restoreFiles(w.t, s.opts.Dir, s.files)
	s.parts, s.frames = map[string][]part{}, map[string][]frameAt{}
	for _, name := range s.names() {
		s.takeApart(w.t, name)
	}
}

// names are the names of its files, in order.
func (s *sealed) names() []string { return slices.Sorted(maps.Keys(s.files)) }

// fate is what becomes of damage.
type fate int

const (
	unharmed  fate = iota // the state is the exact one: no state needs the bytes
	atRead                // open serves all but the keys that are damaged
	looksTorn             // the state is an earlier one: the honest limit
	repaired              // the state is the exact one, rebuilt
	refused               // by Open
	fates
)

func (f fate) String() string {
	return [...]string{"harmless", "found by reads", "looks torn", "repaired", "refused"}[f]
}

const deadlinesSegment = "deadlines"

var segmentNames = map[format.SegmentKind]string{
	format.SegmentRecords: "records", format.SegmentBuckets: "buckets", format.SegmentOrdered: "ordered index",
	format.SegmentDeadlines: deadlinesSegment, format.SegmentEpochs: "epochs",
}

// part is a range of bytes of a file that have one fate.
type part struct {
	from, to int64
	fate     fate
	what     string
}

// takeApart says what becomes of damage to each byte of a file.
func (s *sealed) takeApart(t testing.TB, name string) {
	size := int64(len(s.files[name]))
	all := func(f fate) { s.parts[name] = []part{{0, size, f, "all"}} }
	if n, ok := format.ParseLogName(name); ok {
		s.takeApartLog(t, name, n)
		return
	}
	switch {
	case name == format.CheckpointName(s.named):
		s.takeApartCheckpoint(t, name)
	case name == format.VersionName && s.how != sealedInSwitch:
		all(repaired)
	default: // newVersion: without it there is version, and without that there is newVersion
		all(unharmed)
	}
}

func (s *sealed) takeApartLog(t testing.TB, name string, generation uint64) {
	l := enginetest.ReadLog(t, filepath.Join(s.opts.Dir, name))
	end := int64(0)
	if next, ok := s.files[format.LogName(generation+1)]; ok {
		p, err := format.DecodePredecessor(next[format.BlockSize:], binary.LittleEndian.Uint64(next[40:]))
		require.NoError(t, err)
		end = p.End
	}
	parts := []part{{0, format.BlockSize, refused, "block 0"}, {format.BlockSize, format.LogHeaderSize, refused, "block 1"}}
	var frames []frameAt
	at, _, err := l.Frames(end, func(f *logrecord.Frame) {
		if f.Header.Kind == format.FrameTrailer {
			return
		}
		to := f.Offset + format.FrameHeaderLen + int64(f.Header.Length)
		parts = append(parts, part{f.Offset, to, refused, "frame"}, part{to, f.Offset + format.FrameLen(int(f.Header.Length), int64(l.ID.Align)), unharmed, "padding"})
		var records []recordAt
		for _, r := range f.Records {
			n := int64(format.RecordLen(len(r.Key), len(r.Value), r.Expiry != 0))
			records = append(records, recordAt{string(r.Key), r.Offset, r.Offset + n})
		}
		frames = append(frames, frameAt{f.Offset, to, f.Header.FirstSeq, f.Header.LastSeq(), records})
	})
	if torn := name == s.newest && s.how != sealedClean; torn {
		require.Error(t, err)
		parts[len(parts)-2].fate = looksTorn
	} else {
		require.NoError(t, err)
	}
	parts = append(parts, part{at, int64(len(l.Data)), unharmed, "rest"}) // a trailer is in it
	if generation < s.named {
		for i := range parts {
			parts[i].fate = unharmed
		}
	}
	s.parts[name], s.frames[name] = parts, frames
}

func (s *sealed) takeApartCheckpoint(t testing.TB, name string) {
	data := s.files[name]
	h, err := format.DecodeCheckpointHeader(data)
	require.NoError(t, err)
	size := uint64(len(data))
	footer, err := format.DecodeFooter(data[size-format.FooterLen:], h.Salt, size)
	require.NoError(t, err)
	parts := []part{{0, format.CheckpointHeaderLen, repaired, "header"}}
	at := int64(format.CheckpointHeaderLen)
	kinds := map[format.SegmentKind]int{}
	for i := range footer.Segments {
		seg, err := format.DecodeSegment(data[footer.Directory+i*format.SegmentEntryLen:], footer.Directory)
		require.NoError(t, err)
		kinds[seg.Kind]++
		if int64(seg.Offset) > at {
			parts = append(parts, part{at, int64(seg.Offset), unharmed, "padding"})
		}
		at = int64(seg.Offset + seg.Length)
		f := atRead
		if seg.Kind == format.SegmentEpochs {
			f = repaired
		}
		parts = append(parts, part{int64(seg.Offset), at, f, segmentNames[seg.Kind]})
	}
	require.Len(t, kinds, int(format.SegmentEpochs), "a segment of each kind")
	if at < int64(footer.Directory) {
		parts = append(parts, part{at, int64(footer.Directory), unharmed, "padding"})
	}
	s.parts[name] = append(parts, part{int64(footer.Directory), int64(size), repaired, "directory and footer"})
}

// expected is what becomes of other content for one file.
func (s *sealed) expected(name string, now []byte) fate {
	was := s.files[name]
	whole := fate(unharmed)
	for _, p := range s.parts[name] {
		if p.fate == looksTorn { // of another length it is no torn write
			p.fate = refused
		}
		whole = max(whole, p.fate)
	}
	if len(now) != len(was) {
		return whole
	}
	found := fate(unharmed)
	for _, p := range s.parts[name] {
		if p.fate > found && string(now[p.from:p.to]) != string(was[p.from:p.to]) {
			found = p.fate
		}
	}
	return found
}

// partAt is the part in which a byte lies.
func (s *sealed) partAt(name string, at int64) part {
	parts := s.parts[name]
	return parts[slices.IndexFunc(parts, func(p part) bool { return at < p.to })]
}
