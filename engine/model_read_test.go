package engine_test

import (
	"bytes"
	"iter"
	"os"
	"slices"
	"strings"

	"github.com/tongpengdl/small-db/engine"
)

// snapshot takes a snapshot and the state that it must show for ever.
func (m *modelMachine) snapshot() *modelSnapshot {
	m.tick()
	s := &modelSnapshot{m.db.Snapshot(), m.clone()}
	if s.Version() != m.version {
		m.t.Fatalf("snapshot of version %v; want %v", s.Version(), m.version)
	}
	return s
}

// which is a snapshot that is held, or a new one.
func (m *modelMachine) which(n int) *modelSnapshot {
	if n < modelSnapshots && m.snapshots[n] != nil {
		return m.snapshots[n]
	}
	return m.snapshot()
}

// read reads a key from the database and a snapshot.
func (m *modelMachine) read(s modelStep) {
	m.tick()
	m.checkKey(m.db, &m.modelState, s.Key)
	m.readSnapshot(m.which(s.N), s.Key)
}

func (m *modelMachine) readSnapshot(of *modelSnapshot, key string) {
	got, ok, err := of.Entry([]byte(key))
	m.compare("snapshot", key, got, ok, err, &of.modelState)
	want, set := of.get(key)
	value, ok, err := of.Get([]byte(key))
	if err != nil || ok != set || string(value) != want.value {
		m.t.Fatalf("get %.20q of a snapshot: %s, %t, %v; want %s, %t", key, brief(value), ok, err, brief(want.value), set)
	}
	if of.Version() != of.version || of.Err() != nil {
		m.t.Fatalf("snapshot of version %v, %v; want %v", of.Version(), of.Err(), of.version)
	}
}

// scan goes through a part of a snapshot in one of the ways, and perhaps leaves it early.
func (m *modelMachine) scan(s modelStep) {
	of := m.which(s.N)
	leave := -1
	if s.Size < 5 {
		leave = s.Size
	}
	keys := of.keys(s.Start, s.End)
	backward := slices.Clone(keys)
	slices.Reverse(backward)
	switch s.Until {
	case 0:
		m.checkPairs(of, "forward", of.Scan(s.Start, s.End), keys, leave, s.Flag)
	case 1:
		m.checkPairs(of, "backward", of.Backward(s.Start, s.End), backward, leave, s.Flag)
	case 2:
		p := string(s.Start)
		keys = of.those(func(key string) bool { return strings.HasPrefix(key, p) })
		m.checkPairs(of, "prefix", of.Prefix(s.Start), keys, leave, s.Flag)
		slices.Reverse(keys)
		m.checkPairs(of, "prefix backward", of.Backward(s.Start, engine.PrefixEnd(s.Start)), keys, leave, false)
	case 3:
		m.checkEntries(of, s.Start, s.End, leave)
	case 4:
		m.checkPulled(of, of.Scan(s.Start, s.End), of.Backward(s.Start, s.End), keys, leave)
	default: // the same sequence again starts anew
		sequence := of.Backward(s.Start, s.End)
		m.checkPairs(of, "backward", sequence, backward, leave, s.Flag)
		m.checkPairs(of, "backward again", sequence, backward, -1, false)
	}
	m.must("scan", of.Err())
}

// checkPairs compares a sequence with keys of the state. leave is after how many to leave it; -1 for not at all. Nested, another sequence and
// a get run inside.
func (m *modelMachine) checkPairs(of *modelSnapshot, what string, pairs iter.Seq2[[]byte, []byte], keys []string, leave int, nested bool) {
	n := 0
	for key, value := range pairs {
		if n == leave {
			return
		}
		if n == len(keys) {
			m.t.Fatalf("%s: %.20q after the last of %.20q", what, key, keys)
		}
		if nested {
			m.readSnapshot(of, modelKeys[(m.steps+n)%len(modelKeys)])
			m.checkPairs(of, "nested", of.Scan(key, nil), of.keys(key, nil), 2, false)
		}
		if want := of.entries[keys[n]]; string(key) != keys[n] || string(value) != want.value {
			m.t.Fatalf("%s: %d: %.20q: %s; want %.20q: %v", what, n, key, brief(value), keys[n], want)
		}
		n++
	}
	if n != len(keys) {
		m.t.Fatalf("%s: ended after %d of %.20q: %v", what, n, keys, of.Err())
	}
}

func (m *modelMachine) checkEntries(of *modelSnapshot, start, end []byte, leave int) {
	keys := of.keys(start, end)
	n := 0
	for e := range of.Entries(start, end) {
		if n == leave {
			return
		}
		if n == len(keys) || !of.entries[keys[n]].is(keys[n], e) {
			m.t.Fatalf("entries: %d: %s; want %.20q", n, briefly(e), keys[n:])
		}
		n++
	}
	if n != len(keys) {
		m.t.Fatalf("entries: ended after %d of %.20q: %v", n, keys, of.Err())
	}
}

// checkPulled steps through two sequences by turns.
func (m *modelMachine) checkPulled(of *modelSnapshot, forward, backward iter.Seq2[[]byte, []byte], keys []string, leave int) {
	next, stop := iter.Pull2(forward)
	defer stop()
	prev, stopToo := iter.Pull2(backward)
	defer stopToo()
	for n := 0; n != leave; n++ {
		key, value, ok := next()
		copies := [][]byte{bytes.Clone(key), bytes.Clone(value)}
		lastKey, lastValue, okToo := prev()
		if ok != (n < len(keys)) || okToo != ok {
			m.t.Fatalf("pulled: %t, %t after %d of %.20q", ok, okToo, n, keys)
		}
		if !ok {
			return
		}
		first, last := keys[n], keys[len(keys)-1-n]
		if string(key) != first || string(value) != of.entries[first].value || string(lastKey) != last || string(lastValue) != of.entries[last].value {
			m.t.Fatalf("pulled: %d: %.20q %.20q; want %.20q %.20q", n, key, lastKey, first, last)
		}
		if !bytes.Equal(copies[0], key) || !bytes.Equal(copies[1], value) {
			m.t.Fatalf("pulled: a step of one sequence changed what another had yielded")
		}
	}
}

// backup makes a backup, restores it elsewhere and compares. Sometimes the history goes on there.
func (m *modelMachine) backup(s modelStep) {
	var b bytes.Buffer
	m.tick()
	if m.nextDeadline() != 0 { // engine time goes with a backup of keys that expire
		m.sealed = m.time
	}
	m.rewind()
	v, err := m.db.Backup(ctx, &b)
	m.wantVersion("backup", v, err)
	opts := m.reopens()
	opts.Dir, opts.Now = m.newDir(), m.clock.now
	m.must("restore", engine.Restore(opts, &b))
	state := m.clone()
	db, err := engine.Open(opts)
	m.must("open what was restored", err)
	if state.version.Epoch = db.Version().Epoch; state.version.Epoch <= m.version.Epoch {
		m.t.Fatalf("restored epoch %d; want a later one than %d", state.version.Epoch, m.version.Epoch)
	}
	if db.Version() != state.version || db.Stats().Keys != state.count() || !db.Stats().Recovery.Clean {
		m.t.Fatalf("restored %v, %d keys; want %v, %d", db.Version(), db.Stats().Keys, state.version, state.count())
	}
	m.checkAll(db, &state)
	if s.Flag {
		db, m.db = m.db, db
		opts, m.opts = m.opts, opts
		m.modelState, m.sealed, m.written = state, state.time, false
	}
	m.must("close", db.Close())
	m.must("remove", os.RemoveAll(opts.Dir))
}
