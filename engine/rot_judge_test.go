package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
)

// rot is what is done to a sealed directory.
type rot struct {
	what    string
	changed map[string][]byte // other content of files; nil: the file is gone
	within  part              // what was changed, if it is that alone
	at      int64             // the byte that was changed then
}

// tally counts fates by what was damaged.
type rotTally map[string]*[fates]int

func (y rotTally) add(what string, f fate) {
	if y[what] == nil {
		y[what] = new([fates]int)
	}
	y[what][f]++
}

// log prints the counts, and returns how many there are of each fate and in all.
func (y rotTally) log(t *testing.T, what string) (sum [fates]int, all int) {
	var lines []string
	for _, of := range slices.Sorted(maps.Keys(y)) {
		var counts []string
		for f, n := range y[of] {
			if n > 0 {
				counts = append(counts, fmt.Sprintf("%d %v", n, fate(f)))
			}
			sum[f] += n
			all += n
		}
		lines = append(lines, of+" "+strings.Join(counts, " + "))
	}
	var counts []string
	for f, n := range sum {
		counts = append(counts, fmt.Sprintf("%d %v", n, fate(f)))
	}
	t.Logf("%d %s: %s; 0 wrong states (%s)", all, what, strings.Join(counts, ", "), strings.Join(lines, "; "))
	return sum, all
}

// lay makes the directory hold the sealed files, but for those that are changed, and returns what it holds then.
func (s *sealed) lay(t *testing.T, changed map[string][]byte) map[string][]byte {
	now := maps.Clone(s.files)
	for name, data := range changed {
		if now[name] = data; data == nil {
			delete(now, name)
		}
	}
	entries, err := os.ReadDir(s.opts.Dir)
	require.NoError(t, err)
	there := map[string]bool{}
	for _, e := range entries {
		if _, other := changed[e.Name()]; s.dirty != nil && !other && !s.dirty[e.Name()] {
			there[e.Name()] = true
			continue
		}
		path := filepath.Join(s.opts.Dir, e.Name())
		want, ok := now[e.Name()]
		if ok {
			have, err := os.ReadFile(path)
			require.NoError(t, err)
			ok = bytes.Equal(have, want)
		}
		if there[e.Name()] = ok; !ok {
			require.NoError(t, os.Remove(path))
		}
	}
	for name, data := range now {
		if !there[name] {
			require.NoError(t, os.WriteFile(filepath.Join(s.opts.Dir, name), data, 0o600))
		}
	}
	s.dirty = nil
	return now
}

// judge opens the directory with this damage and says what has become of it. Any state but the exact one fails the test, unless it is the honest
// limit, and so does an error that does not name the place. With more it is also written to, checkpointed and opened again.
func (s *sealed) judge(t *testing.T, d rot, more bool) fate {
	t.Helper()
	now := s.lay(t, d.changed)
	db, err := engine.Open(s.opts)
	if err != nil {
		s.requireRefused(t, d, err, now)
		s.dirty = map[string]bool{format.LockName: true}
		for name := range d.changed {
			s.dirty[name] = true
		}
		return refused
	}
	defer db.Close()
	recovery := db.Stats().Recovery
	require.False(t, recovery.Created, d.what)
	state, found := s.last, unharmed
	if db.Version().Seq != s.last.version.Seq {
		state, found = s.requireLimit(t, d, db, now), looksTorn
	}
	epoch := state.version.Epoch
	if !recovery.Clean {
		epoch++
	}
	require.Equal(t, engine.Version{Epoch: epoch, Seq: state.version.Seq}, db.Version(), d.what)
	bad := s.compare(t, d, db, state)
	switch {
	case len(recovery.Repaired) > 0:
		require.Zero(t, bad, "%s: %q", d.what, recovery.Repaired)
		require.Equal(t, unharmed, found, d.what)
		found = repaired
	case bad > 0:
		require.Equal(t, unharmed, found, d.what)
		found = atRead
	}
	if more {
		s.goOn(t, d, db, state, found)
	}
	return found
}

// requireRefused checks that an open was refused with an error that says where, and has changed nothing.
func (s *sealed) requireRefused(t *testing.T, d rot, err error, now map[string][]byte) {
	t.Helper()
	c := s.requirePlace(t, d, err)
	requireUntouched(t, s.opts.Dir, now)
	data, there := now[c.File]
	if !there {
		return
	}
	if c.Offset > int64(len(data)) {
		require.Fail(t, "beyond the end", "%s: %v", d.what, err)
	}
	for _, f := range s.frames[c.File] {
		if c.Offset == f.from && (c.FirstSeq != f.firstSeq || c.LastSeq != 0 && c.LastSeq < f.lastSeq) {
			require.Fail(t, "the wrong sequences", "%s: %v; want from %d", d.what, err, f.firstSeq)
		}
	}
}

// requirePlace checks that an error is damage, and in one of the files that were damaged or are gone.
func (s *sealed) requirePlace(t *testing.T, d rot, err error) *format.CorruptionError {
	t.Helper()
	var c *format.CorruptionError
	if !errors.Is(err, engine.ErrCorrupt) || !errors.As(err, &c) {
		require.Fail(t, "not reported as damage", "%s: %v", d.what, err)
	}
	_, changed := d.changed[c.File]
	_, there := s.files[c.File]
	if !changed && there || c.Offset < -1 || c.Err == nil || !strings.Contains(err.Error(), c.File) {
		require.Fail(t, "the wrong place", "%s: %v", d.what, err)
	}
	if d.within.to > 0 && (c.Offset < d.within.from || c.Offset > d.at) {
		require.Fail(t, "the wrong place", "%s: %v; want from %d to %d", d.what, err, d.within.from, d.at)
	}
	return c
}

// requireLimit checks that a state that is not the last one is the honest limit: the newest log was cut off before its first frame that has changed, and
// no intact frame after that says that it was durable. It returns the state.
func (s *sealed) requireLimit(t *testing.T, d rot, db *engine.DB, now map[string][]byte) *modelState {
	t.Helper()
	r := db.Stats().Recovery
	data := now[s.newest]
	_, changed := d.changed[s.newest]
	if !changed || r.Clean || r.CutFile != s.newest || len(r.Repaired) > 0 {
		require.Fail(t, "an earlier state", "%s: %v, %+v", d.what, db.Version(), r)
	}
	was := s.files[s.newest]
	id, err := format.DecodeLogIdentity(data)
	require.NoError(t, err, d.what)
	seq := uint64(0)
	for _, f := range s.frames[s.newest] {
		if string(data[f.from:f.to]) != string(was[f.from:f.to]) {
			require.Equal(t, f.from, r.CutAt, d.what)
			seq = f.firstSeq - 1
			break
		}
	}
	for at := r.CutAt + int64(id.Align); at+format.FrameHeaderLen <= int64(len(data)); at += int64(id.Align) {
		h, err := format.DecodeFrameHeader(data[at:], id.Salt, uint64(at))
		if err == nil && h.Synced > uint64(r.CutAt) {
			require.Fail(t, "there was proof", "%s: at %d", d.what, at)
		}
	}
	require.Equal(t, seq, db.Version().Seq, d.what)
	require.Contains(t, s.states, seq, d.what)
	return s.states[seq]
}

// compare is reads, and Stats agree with them.
func (s *sealed) compare(t *testing.T, d rot, db *engine.DB, state *modelState) (bad int) {
	t.Helper()
	bad = s.reads(t, d, db, state)
	stats := db.Stats()
	if bad > 0 && stats.Damage == nil || stats.Damage == nil && stats.Keys != state.count() {
		require.Fail(t, "wrong stats", "%s: %d reads met damage, Damage is %v; %d keys of %d", d.what, bad, stats.Damage, stats.Keys, state.count())
	}
	if stats.Damage != nil {
		s.requirePlace(t, d, stats.Damage)
		bad++
	}
	return bad
}

// reads reads everything in every way, and returns how many reads met damage. All others give the state.
func (s *sealed) reads(t *testing.T, d rot, db *engine.DB, state *modelState) (bad int) {
	t.Helper()
	var buf []byte
	for _, key := range s.keys {
		want, there := state.get(key)
		e, ok, err := db.Entry([]byte(key))
		if err != nil {
			s.requirePlace(t, d, err)
			bad++
			require.False(t, ok, d.what)
		} else if ok != there || ok && !want.is(key, e) {
			require.Fail(t, "wrong entry", "%s: %q: %t, %s", d.what, key, ok, briefly(e))
		}
		buf, ok, err = db.AppendGet(buf[:0], []byte(key))
		bad += s.compareValue(t, d, "AppendGet", key, string(buf), ok, err, state)
		got, ok, err := db.Get([]byte(key))
		bad += s.compareValue(t, d, "Get", key, string(got), ok, err, state)
		seen := ""
		ok, err = db.View([]byte(key), func(value []byte) error { seen = string(value); return nil })
		bad += s.compareValue(t, d, "View", key, seen, ok, err, state)
	}
	bad += s.scan(t, d, db, state, false) + s.scan(t, d, db, state, true)
	return bad
}

func (s *sealed) compareValue(t *testing.T, d rot, how, key, got string, ok bool, err error, state *modelState) (bad int) {
	t.Helper()
	want, there := state.get(key)
	switch {
	case err != nil:
		s.requirePlace(t, d, err)
		bad, there, want = 1, false, modelEntry{}
		fallthrough
	default:
		if ok != there || got != want.value {
			require.Fail(t, "wrong value", "%s: %s %q: %t, %s", d.what, how, key, ok, brief(got))
		}
	}
	return bad
}

// scan walks over all keys.
func (s *sealed) scan(t *testing.T, d rot, db *engine.DB, state *modelState, backward bool) (bad int) {
	t.Helper()
	keys := state.keys(nil, nil)
	snapshot := db.Snapshot()
	pairs := snapshot.Scan(nil, nil)
	if backward {
		slices.Reverse(keys)
		pairs = snapshot.Backward(nil, nil)
	}
	n := 0
	for k, v := range pairs {
		if n >= len(keys) || string(k) != keys[n] || string(v) != state.entries[keys[n]].value {
			require.Fail(t, "wrong pair", "%s: %d, %s: %s", d.what, n, brief(k), brief(v))
		}
		n++
	}
	if err := snapshot.Err(); err != nil {
		s.requirePlace(t, d, err)
		return 1
	}
	require.Len(t, keys, n, d.what)
	return 0
}

// backup compares a backup, restored, with the state; it returns 1 if there is none because of damage.
func (s *sealed) backup(t *testing.T, d rot, db *engine.DB, state *modelState) (bad int) {
	t.Helper()
	var b bytes.Buffer
	if _, err := db.Backup(ctx, &b); err != nil {
		s.requirePlace(t, d, err)
		return 1
	}
	opts := s.opts
	opts.Dir = s.opts.Dir + "-restored"
	defer os.RemoveAll(opts.Dir)
	require.NoError(t, engine.Restore(opts, &b), d.what)
	restored, err := engine.Open(opts)
	require.NoError(t, err, d.what)
	defer restored.Close()
	require.Zero(t, s.compare(t, d, restored, state), d.what)
	return 0
}

// goOn writes to a database that opened, checkpoints it, closes it and opens it again.
func (s *sealed) goOn(t *testing.T, d rot, db *engine.DB, state *modelState, found fate) {
	t.Helper()
	bad := s.backup(t, d, db, state)
	require.True(t, bad == 0 || found == atRead, d.what)
	next := state.clone()
	next.version = db.Version()
	for _, w := range []modelWrite{{key: "kept-5", value: "more"}, {key: "never set 7", value: "more"}, {key: "changed-1", del: true}} {
		var b engine.Batch
		w.addTo(&b)
		next.write(w)
		v, err := db.Apply(ctx, &b)
		require.NoError(t, err, d.what)
		require.Equal(t, next.version, v, d.what)
	}
	err := db.Checkpoint(ctx)
	if err != nil {
		s.requirePlace(t, d, err)
		require.Equal(t, atRead, found, d.what)
	} else {
		require.Zero(t, s.reads(t, d, db, &next), d.what)
	}
	require.NoError(t, db.Close(), d.what)
	again, openErr := engine.Open(s.opts)
	require.NoError(t, openErr, d.what)
	defer again.Close()
	require.True(t, again.Stats().Recovery.Clean, d.what)
	require.Empty(t, again.Stats().Recovery.Repaired, d.what)
	require.Equal(t, next.version, again.Version(), d.what)
	bad = s.compare(t, d, again, &next)
	if err == nil {
		require.Zero(t, bad, d.what)
		require.NoError(t, again.Close(), d.what)
		enginetest.CheckFiles(t, s.opts.Dir)
	}
}
