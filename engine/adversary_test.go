package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/logrecord"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// hostileOp is an operation of a hostile life.
type hostileOp struct {
	key, value string
	del        bool
	last       bool // of its batch
}

// attack is a write of bytes that pretend to be a part of the files.
type attack struct {
	copies       string // what they are copies of
	phase        int    // where they land: offset in the frame, modulo the block
	copied       []byte
	acknowledged uint64 // operations, before it
	issued       uint64 // with it
	from, to     int    // its part of the trace
}

// hostileLife is a recorded run of a database whose clients write copies of its own files back into it.
type hostileLife struct {
	t       *testing.T
	rng     *rand.Rand
	seed    uint64
	align   int
	rec     *mmapiotest.Recorder
	dir     string
	db      *engine.DB
	history []hostileOp // by sequence, from 1
	attacks []attack
	trace   mmapiotest.Trace
	images  map[uint64]bool // that were opened
	work    string          // where they are
	opened  int
}

const attacksInALife = 10

func newHostileLife(t *testing.T, seed uint64, align int) *hostileLife {
	return &hostileLife{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 5)), align: align, rec: mmapiotest.NewRecorder(),
		dir: inMemory(t), work: inMemory(t), images: map[uint64]bool{},
	}
}

func (l *hostileLife) options(dir string) engine.Options {
	return engine.Options{Dir: dir, Create: true, LogFileBytes: 64 << 10, FrameAlign: l.align, DisableBackgroundCheckpoint: true}
}

func (l *hostileLife) open() {
	opts := l.options(l.dir)
	opts.OpenDir = l.rec.OpenDir
	db, err := engine.Open(opts)
	require.NoError(l.t, err)
	l.db = db
}

// apply applies operations as one batch.
func (l *hostileLife) apply(ops ...hostileOp) {
	var b engine.Batch
	for i := range ops {
		ops[i].last = i == len(ops)-1
		if ops[i].del {
			b.Delete([]byte(ops[i].key))
		} else {
			b.Set([]byte(ops[i].key), []byte(ops[i].value))
		}
	}
	l.history = append(l.history, ops...)
	v, err := l.db.Apply(ctx, &b)
	require.NoError(l.t, err)
	require.EqualValues(l.t, len(l.history), v.Seq)
}

// live performs the run, with attacks first to first+attacksInALife of all.
func (l *hostileLife) live(first int) {
	l.open()
	l.everyday(8)
	require.NoError(l.t, l.db.Checkpoint(ctx))
	l.everyday(6)
	require.NoError(l.t, l.db.Close())
	l.open()
	for i := range attacksInALife {
		l.attack(first+i, false)
		switch i % 3 {
		case 1:
			l.everyday(2)
		case 2: // logs full of copies are retired, recycled once they are unmapped, and written again
			runtime.GC()
			require.NoError(l.t, l.db.Checkpoint(ctx))
		}
	}
	l.attack(first, true)
	require.Error(l.t, l.db.Close())
	l.trace = l.rec.Trace()
}

// everyday writes what is no attack.
func (l *hostileLife) everyday(n int) {
	for range n {
		op := hostileOp{key: fmt.Sprintf("key-%d", l.rng.IntN(12)), del: l.rng.IntN(5) == 0}
		if !op.del {
			op.value = strings.Repeat(fmt.Sprintf("%08x.", l.rng.Uint32()), 1+l.rng.IntN(300))
		}
		l.apply(op, hostileOp{key: "counter", value: fmt.Sprint(len(l.history))})
	}
}

// phaseOf is where the copies of the nth attack land: for half of them where a frame could begin, for the others anywhere, every
// phase in its turn.
func (l *hostileLife) phaseOf(nth int) int {
	if nth%2 == 0 {
		return nth / 2 * l.align % format.BlockSize
	}
	return nth / 2 * 1031 % format.BlockSize // 1031 is odd, so all come by
}

// attack writes a value, and at times a key, full of copies of one part of the files. If it is fatal the process ends while the frame
// has reached the page cache and not the disk.
func (l *hostileLife) attack(nth int, fatal bool) {
	all := harvest(l.t, l.dir)
	kinds := slices.Sorted(maps.Keys(all))
	kind := kinds[(nth/2)%len(kinds)]
	a := attack{copies: kind, phase: l.phaseOf(nth), acknowledged: uint64(len(l.history)), from: len(l.rec.Trace())}
	copied := all[kind][l.rng.IntN(len(all[kind]))]
	key := fmt.Sprintf("hostile-%d", nth%7)
	if nth%5 == 4 {
		key += string(copied[:min(len(copied), 5000)])
	}
	a.copied = copied
	value := landing(recordStart(key), a.phase, copied, 3)
	op := hostileOp{key: key, value: string(value), last: true}
	l.history = append(l.history, op)
	if fatal {
		l.rec.KillAtNextWrite(func(op mmapiotest.Op) bool { return isFrame(op) })
	}
	v, err := l.db.Set(ctx, []byte(op.key), []byte(op.value))
	if fatal {
		require.ErrorIs(l.t, err, engine.ErrIndeterminate)
	} else {
		require.NoError(l.t, err)
		require.EqualValues(l.t, len(l.history), v.Seq)
	}
	a.issued, a.to = uint64(len(l.history)), len(l.rec.Trace())
	l.attacks = append(l.attacks, a)
}

// isFrame says whether a call writes a frame to the live log.
func isFrame(op mmapiotest.Op) bool {
	return op.Kind == mmapiotest.WriteAt && strings.HasSuffix(op.Site.Func, "(*liveLog).write")
}

// recordStart is where the value of a frame's first record lies in the frame, in bytes.
func recordStart(key string) int {
	return format.FrameHeaderLen + format.RecordLen(8, 0, false) - 8 - format.SumLen + len(key) // RecordLen rounds nothing for 8
}

// landing is a value that begins at offset start of a frame and holds a number of copies, each of which begins phase
// bytes after a block.
func landing(start, phase int, copied []byte, copies int) []byte {
	var value []byte
	for range copies {
		at := start + len(value)
		pad := (phase - at) & (format.BlockSize - 1)
		value = append(append(value, make([]byte, pad)...), copied...)
	}
	return value
}

// harvest cuts the files of a directory into the parts that somebody might want to forge.
func harvest(t testing.TB, dir string) map[string][][]byte {
	parts := map[string][][]byte{}
	add := func(kind string, b []byte) { parts[kind] = append(parts[kind], b) }
	for name, data := range files(t, dir) {
		if _, ok := format.ParseLogName(name); ok {
			harvestLog(t, data, add)
		} else if _, ok := format.ParseCheckpointName(name); ok {
			end := len(data) &^ (format.BlockSize - 1)
			add("checkpoint header", data[:format.BlockSize])
			add("checkpoint tail", data[max(0, end-format.BlockSize):])
			add("checkpoint buckets and records", data[format.BlockSize:min(len(data), 3*format.BlockSize)])
			add("checkpoint", data[:min(len(data), 3*format.BlockSize)])
		} else if name == format.VersionName {
			add("version", data)
		}
	}
	return parts
}

// harvestLog takes bytes and not a name: the helper may just be renaming the file.
func harvestLog(t testing.TB, data []byte, add func(kind string, b []byte)) {
	log := enginetest.Log{Data: data}
	var err error
	log.ID, err = format.DecodeLogIdentity(data)
	require.NoError(t, err)
	log.Before, err = format.DecodePredecessor(data[format.BlockSize:], log.ID.Salt)
	require.NoError(t, err)
	add("log identity", log.Data[:format.BlockSize])
	add("log predecessor", log.Data[format.BlockSize:format.LogHeaderSize])
	add("log header", log.Data[:format.LogHeaderSize])
	starts := []int64{format.LogHeaderSize}
	add("log front", log.Data[:4*format.BlockSize]) // with its first frames
	_, _, _ = log.Frames(0, func(f *logrecord.Frame) {
		end := f.Offset + format.FrameLen(int(f.Header.Length), int64(log.ID.Align))
		if f.Header.Kind == format.FrameTrailer {
			add("trailer", log.Data[f.Offset:end])
			return
		}
		if end-f.Offset <= 4*format.BlockSize {
			add("frame", log.Data[f.Offset:end])
		}
		starts = append(starts, end)
		for _, r := range f.Records {
			size := format.RecordLen(len(r.Key), len(r.Value), r.Expiry != 0)
			add("record", log.Data[r.Offset:][:min(size, 2*format.BlockSize)])
		}
	})
	if n := len(starts); n > 2 && starts[n-1]-starts[n-3] <= 4*format.BlockSize {
		add("two frames", log.Data[starts[n-3]:starts[n-1]])
	}
}

// hostileModes are what may become of a frame that is being written.
var hostileModes = []mmapiotest.Mode{
	mmapiotest.Everything, mmapiotest.TornPrefix, mmapiotest.TornSubset, mmapiotest.BlocksFew, mmapiotest.BlocksMost,
	mmapiotest.StaleSame, mmapiotest.StaleAny,
}

// check opens what crashes around each attack may have left.
func (l *hostileLife) check() {
	replayer := l.trace.Replayer()
	replayer.Block = int64(l.align) // a frame shares larger blocks with the one before it
	for _, a := range l.attacks {
		for i := a.from; i < a.to; i++ {
			if op := l.trace[i]; !isFrame(op) {
				continue
			}
			what := fmt.Sprintf("seed %d, align %d, %s at phase %d", l.seed, l.align, a.copies, a.phase)
			for at := a.phase; !bytes.HasPrefix(l.trace[i].Data[at:], a.copied); at += format.BlockSize {
				require.Less(l.t, at, len(l.trace[i].Data)-format.BlockSize, "%s: it is not there", what)
			}
			l.open1(replayer.Image(mmapiotest.Cut{Op: i}, mmapiotest.StaleSame, l.seed), a, "before "+what)
			for m, mode := range hostileModes {
				if !long && (m+i)%2 == 0 {
					continue
				}
				l.open1(replayer.Image(mmapiotest.Cut{Op: i, Inside: true}, mode, l.seed), a, fmt.Sprintf("inside %s, %s", what, mode))
			}
			for name, image := range l.beheaded(replayer.Image(mmapiotest.Cut{Op: i, Inside: true}, mmapiotest.Everything, l.seed), l.trace[i]) {
				l.open1(image, a, "inside "+what+", "+name)
			}
			b := a
			b.acknowledged = a.issued
			if l.trace[i].Err == nil {
				l.open1(replayer.Image(mmapiotest.Cut{Op: i + 1}, mmapiotest.SyncedOnly, l.seed), b, "after "+what)
			}
		}
	}
}

// beheaded are images in which the front of a frame is lost and the copies in it are there, as if each were a frame of its own.
func (l *hostileLife) beheaded(image mmapiotest.Image, op mmapiotest.Op) map[string]mmapiotest.Image {
	out := map[string]mmapiotest.Image{}
	for name, n := range map[string]int{"first sector lost": format.MinFrameAlign, "first block lost": format.BlockSize} {
		if n >= len(op.Data) {
			continue
		}
		data := bytes.Clone(image[op.Name])
		clear(data[op.Off:][:n])
		cut := maps.Clone(image)
		cut[op.Name] = data
		out[name] = cut
	}
	return out
}

// model is the state after so many operations.
func (l *hostileLife) model(seq uint64) (shadow, error) {
	if seq > 0 && !l.history[seq-1].last {
		return nil, errors.New("half a batch is there")
	}
	m := shadow{}
	for _, op := range l.history[:seq] {
		if op.del {
			delete(m, op.key)
		} else {
			m[op.key] = op.value
		}
	}
	return m, nil
}

// open1 opens an image, unless an equal one was: it must be the model after some operation between the last one acknowledged and the last one
// issued, and stay so.
func (l *hostileLife) open1(image mmapiotest.Image, a attack, what string) {
	hash := image.Hash() ^ a.acknowledged
	if l.images[hash] {
		return
	}
	l.images[hash] = true
	require.NoError(l.t, image.WriteTo(l.work))
	opts := l.options(l.work)
	rounds := 1
	if len(l.images)%4 == 0 {
		rounds = 3
	}
	for round := range rounds {
		if l.opened++; l.opened%64 == 0 {
			runtime.GC() // lets go of address space
		}
		db, err := engine.Open(opts)
		require.NoError(l.t, err, what)
		seq := db.Version().Seq
		require.True(l.t, a.acknowledged <= seq && seq <= a.issued, "%s: %d is there, %d was acknowledged, %d issued", what, seq, a.acknowledged, a.issued)
		m, err := l.model(seq)
		require.NoError(l.t, err, what)
		require.NoError(l.t, sameState(db, m), what)
		if round == 1 {
			_, err = db.Set(ctx, []byte("counter"), []byte(m["counter"]))
			require.NoError(l.t, err, what)
			a.acknowledged, a.issued = seq+1, seq+1
			defer func(before []hostileOp) { l.history = before }(l.history)
			l.history = append(slices.Clip(l.history[:seq]), hostileOp{key: "counter", value: m["counter"], last: true})
		}
		require.NoError(l.t, db.Close(), what)
	}
}

// sameState compares a database with a model, key by key and in a scan.
func sameState(db *engine.DB, m shadow) error {
	if n := db.Stats().Keys; n != uint64(len(m)) {
		return fmt.Errorf("%d keys instead of %d", n, len(m))
	}
	for k, want := range m {
		if v, ok, err := db.Get([]byte(k)); err != nil || !ok || string(v) != want {
			return fmt.Errorf("%.20q is %.20q, %t, %w instead of %.20q", k, v, ok, err, want)
		}
	}
	s, seen := db.Snapshot(), 0
	for k, v := range s.Scan(nil, nil) {
		if want, ok := m[string(k)]; !ok || string(v) != want {
			return fmt.Errorf("a scan finds %.20q as %.20q instead of %.20q, %t", k, v, want, ok)
		}
		seen++
	}
	if err := s.Err(); err != nil || seen != len(m) {
		return fmt.Errorf("a scan finds %d keys instead of %d: %w", seen, len(m), err)
	}
	return nil
}

// Values and keys that are copies of frames, trailers, headers and checkpoints of the very same database never become operations: not where they
// land where a frame could begin, not when the frame around them is torn, and not as stale bytes of a recycled log.
func TestHostileValues(t *testing.T) {
	t.Parallel()
	attacks := enginetest.Times(200, 10_000)
	base := enginetest.Seed(t, 1)
	done, aligned, images, opened, recycled, kinds := 0, 0, 0, 0, 0, map[string]int{}
	for life := 0; done < attacks; life++ {
		l := newHostileLife(t, base+uint64(life), []int{4096, 512, 4096, 1024}[life%4])
		l.live(done)
		l.check()
		for _, a := range l.attacks {
			kinds[a.copies]++
			if a.phase%l.align == 0 {
				aligned++
			}
		}
		for _, op := range l.trace {
			if _, fromLog := format.ParseLogName(op.Name); fromLog && op.Kind == mmapiotest.Rename && op.NewName == format.SpareName {
				recycled++
			}
		}
		done += len(l.attacks)
		images += len(l.images)
		opened += l.opened
		require.NoError(t, os.RemoveAll(l.dir))
		require.NoError(t, os.RemoveAll(l.work))
	}
	t.Logf("%d hostile writes (%d where a frame could begin), %d images, %d opens, %d logs recycled, no violation; copies of %v",
		done, aligned, images, opened, recycled, kinds)
	require.GreaterOrEqual(t, aligned, attacks/2)
	require.GreaterOrEqual(t, images, 6*attacks)
	require.GreaterOrEqual(t, recycled, attacks/20)
	require.GreaterOrEqual(t, len(kinds), 12)
}

// forged is a frame that a client who could read the data directory might have made: with the salt of the live log and
// for the very offset at which it will lie, inside the frame of the value that holds it.
type forged struct {
	name  string
	build func(f *logrecord.Framer) []byte
}

var forgeries = []forged{
	{"operations in place of the frame around it", func(f *logrecord.Framer) []byte {
		f.Begin(f.Position().Epoch, f.Position().Seq, f.Position().Time)
		f.Add(&format.Record{Kind: format.KindSet, Key: []byte("forged"), Value: []byte("forged")})
		f.Add(&format.Record{Kind: format.KindDelete, Key: []byte("kept")})
		return f.End()
	}},
	{"an empty frame", func(f *logrecord.Framer) []byte {
		return f.Empty(f.Position().Epoch, f.Position().Seq, f.Position().Time)
	}},
	{"the trailer of a clean close", func(f *logrecord.Framer) []byte { return f.Trailer(format.Trailer{Generation: 99}, 0) }},
	{"the trailer of a rotation", func(f *logrecord.Framer) []byte { return f.Trailer(format.Trailer{Generation: 99, Salt: 7}, 0) }},
}

// forge builds a value for key that, as the next record of the live log of a directory, holds a frame which is valid at its offset. claims
// says that it calls the log durable up to there, as a later frame would; otherwise only up to the frame around it.
func forge(t *testing.T, dir, key string, fake forged, align int64, claims bool) (value []byte, name string, frame int64) {
	var log enginetest.Log
	var generation uint64
	for file := range files(t, dir) {
		if n, ok := format.ParseLogName(file); ok && n > generation {
			generation, name = n, file
		}
	}
	log = enginetest.ReadLog(t, filepath.Join(dir, name))
	frame, position, err := log.Frames(0, func(*logrecord.Frame) {})
	require.ErrorAs(t, err, new(*logrecord.TornError), "it is live")
	at := format.Align(frame+int64(recordStart(key)), align)
	bytes := slices.Clone(fake.build(logrecord.NewFramer(log.ID.Salt, align, at, position)))
	header, err := format.DecodeFrameHeader(bytes, log.ID.Salt, uint64(at))
	require.NoError(t, err)
	if !claims {
		header.Synced = uint64(frame)
		header.Encode(bytes, log.ID.Salt, uint64(at))
	}
	return append(make([]byte, at-frame-int64(recordStart(key))), bytes...), name, frame
}

// What a frame that is forged with the salt can do: nothing as long as the frame around it is whole, for nobody looks inside of one. If that is
// torn by a crash, what is forged can pass for the witness that it was durable: then the open is refused. It never becomes an operation.
func TestForgedFrames(t *testing.T) {
	refused, ignored := 0, 0
	for _, align := range []int64{512, 4096} {
		for _, fake := range forgeries {
			for _, claims := range []bool{false, true} {
				for torn := int64(0); torn <= 4096; torn = max(512, 2*torn) { // bytes lost at the front of the frame
					if torn > align { // more than a frame without its copy
						break
					}
					what := fmt.Sprintf("%s, align %d, claims %t, %d bytes torn", fake.name, align, claims, torn)
					opts := quiet(t)
					opts.Dir, opts.FrameAlign = inMemory(t), int(align)
					db, err := engine.Open(opts)
					require.NoError(t, err)
					m := shadow{"kept": "v", "other": "w"}
					for k, v := range m {
						set(t, db, k, v)
					}
					value, name, frame := forge(t, opts.Dir, "hostile", fake, align, claims)
					set(t, db, "hostile", string(value))
					left := files(t, opts.Dir)
					require.NoError(t, db.Close())
					if torn > 0 {
						clear(left[name][frame:][:torn])
					} else {
						m["hostile"] = string(value)
					}
					restoreFiles(t, opts.Dir, left)
					for range 2 { // the second time after a clean close, or refused as before
						db, err = engine.Open(opts)
						if torn > 0 && claims {
							var place *format.CorruptionError
							require.ErrorAs(t, err, &place, what)
							require.Equal(t, name, place.File, what)
							require.Equal(t, frame, place.Offset, what)
							require.EqualValues(t, 3, place.FirstSeq, what)
							require.Equal(t, left[name], files(t, opts.Dir)[name], "nothing is changed")
							refused++
							continue
						}
						require.NoError(t, err, what)
						require.NoError(t, sameState(db, m), what)
						require.EqualValues(t, len(m), db.Version().Seq, what)
						require.NoError(t, db.Close())
						ignored++
					}
				}
			}
		}
	}
	t.Logf("%d opens with forged frames inside values: %d refused, %d saw nothing in them, no operation came of one", refused+ignored, refused, ignored)
	require.Positive(t, refused)
	require.Positive(t, ignored)
}

// A backup whose values are copies of whole checkpoints, cut off just behind each, is no backup.
func TestBackupsOfBackups(t *testing.T) {
	opts := quiet(t)
	opts.Dir = inMemory(t)
	db := enginetest.Open(t, opts)
	m := shadow{}
	var whole bytes.Buffer
	var copies [][]byte
	for i := range 8 {
		key := fmt.Sprint("backup-", i)
		m[key] = string(landing(0, i*521, append([]byte("x"), whole.Bytes()...), 1))
		set(t, db, key, m[key])
		copies = append(copies, bytes.Clone(whole.Bytes()))
		whole.Reset()
		_, err := db.Backup(ctx, &whole)
		require.NoError(t, err)
		if whole.Len() > 256<<10 {
			whole.Truncate(0) // it doubles each time
		}
	}
	whole.Reset()
	_, err := db.Backup(ctx, &whole)
	require.NoError(t, err)
	refused := 0
	for _, part := range copies[1:] {
		if len(part) == 0 {
			continue
		}
		for at := 0; ; {
			found := bytes.Index(whole.Bytes()[at:], part)
			if found < 0 {
				break
			}
			at += found + len(part)
			target := opts
			target.Dir = filepath.Join(inMemory(t), "restored")
			require.ErrorIs(t, engine.Restore(target, bytes.NewReader(whole.Bytes()[:at])), engine.ErrNotBackup)
			refused++
		}
	}
	target := opts
	target.Dir = filepath.Join(inMemory(t), "restored")
	require.NoError(t, engine.Restore(target, bytes.NewReader(whole.Bytes())))
	require.NoError(t, sameState(enginetest.Open(t, target), m))
	t.Logf("%d backups that end with a whole one inside a value, all refused", refused)
	require.GreaterOrEqual(t, refused, 7)
}
