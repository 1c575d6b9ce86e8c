package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// operation is what one set or delete leaves its key with.
type operation struct {
	value   []byte // nil after a delete
	refused bool   // the answer said that nothing was written
}

// entry is a key and all that is known of it. One client writes it, and waits for each answer, so the order of its operations is known.
type entry struct {
	key string

	mu           sync.Mutex  // guards the rest
	operations   []operation // the first is the state that the last recovery found
	acknowledged int         // index of the last one that was
	seen         int         // index of the last one that a read has returned: what was visible must stay
}

func (e *entry) path() string { return "/v1/kv/" + e.key }

// value is what the key has if all its operations have taken place. Only its writer may ask.
func (e *entry) value() []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.operations[len(e.operations)-1].value
}

// issue notes an operation that is about to be sent.
func (e *entry) issue(value []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.operations = append(e.operations, operation{value: value})
}

// acknowledge notes that the last operation issued was acknowledged.
func (e *entry) acknowledge() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.acknowledged = len(e.operations) - 1
}

// refuse notes that the last operation issued was refused.
func (e *entry) refuse() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.operations[len(e.operations)-1].refused = true
}

// oldest is the first operation that a read which begins now may return.
func (e *entry) oldest() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return max(e.acknowledged, e.seen)
}

// find is the index of the first operation from a given one on that leaves the key with value; -1 if none does.
func (e *entry) find(from int, value []byte) int {
	for i := from; i < len(e.operations); i++ {
		if o := e.operations[i]; !o.refused && (o.value == nil) == (value == nil) && bytes.Equal(o.value, value) {
			return i
		}
	}
	return -1
}

// read judges what a read returned that began when oldest was the oldest. A value that two operations have in common counts as the earlier.
func (e *entry) read(oldest int, value []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := e.find(oldest, value)
	if i < 0 {
		return e.wrong("a read returned", value, oldest)
	}
	e.seen = max(e.seen, i)
	return nil
}

// wrong says what was found instead of what. The caller holds mu.
func (e *entry) wrong(what string, value []byte, oldest int) error {
	origin := "which was never sent"
	if i := e.find(0, value); i >= 0 {
		origin = fmt.Sprintf("operation %d", i)
	}
	return fmt.Errorf("%s: %s %s, %s; acknowledged up to %d, seen up to %d, issued up to %d, refused the last: %t; so it is %d or later",
		e.key, what, describe(value), origin, e.acknowledged, e.seen, len(e.operations)-1, e.operations[len(e.operations)-1].refused, oldest)
}

func describe(value []byte) string {
	if value == nil {
		return "nothing"
	}
	return fmt.Sprintf("%d bytes %.16x", len(value), value)
}

// recovered judges what is there after a recovery, and goes on from it.
func (e *entry) recovered(value []byte) (outcome tally, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	oldest, last := max(e.acknowledged, e.seen), len(e.operations)-1
	i := e.find(oldest, value)
	switch {
	case i < 0:
		err = e.wrong("recovered is", value, oldest)
		if earlier := e.find(0, value); earlier >= 0 {
			outcome.lost = e.acknowledged - earlier
		}
	case e.acknowledged == last || e.operations[last].refused: // no outcome is unknown
	case i == last:
		outcome.there = 1
	default:
		outcome.gone = 1
	}
	if value != nil {
		outcome.keys = 1
	}
	e.operations, e.acknowledged, e.seen = []operation{{value: value}}, 0, 0
	return outcome, err
}

// tally counts what has happened.
type tally struct {
	sets, deletes int // acknowledged
	refused       int
	unknown       int // without an answer, or with one that says so
	there, gone   int // what came of these
	reads         int // during a load, each judged
	lost          int // acknowledged, and not recovered
	checked       int // keys compared after a recovery
	keys          int // recovered at the last
}

func (a *tally) add(b tally) {
	a.sets += b.sets
	a.deletes += b.deletes
	a.refused += b.refused
	a.unknown += b.unknown
	a.there += b.there
	a.gone += b.gone
	a.reads += b.reads
	a.lost += b.lost
	a.checked += b.checked
	a.keys = b.keys
}

func (a tally) String() string {
	return fmt.Sprintf("%d sets and %d deletes acknowledged, %d refused, %d outcomes unknown (%d there, %d not), %d reads judged, %d keys compared after recoveries",
		a.sets, a.deletes, a.refused, a.unknown, a.there, a.gone, a.reads, a.checked)
}

// ledger is what a database must hold. Owners are the clients, each with the keys that it alone writes.
type ledger struct {
	owners     [][]*entry
	entries    []*entry // of all owners
	epoch, seq uint64   // of the last recovery
	total      tally
}

func newLedger(owners, each int) *ledger {
	l := &ledger{owners: make([][]*entry, owners)}
	for i := range l.owners {
		for j := range each {
			l.owners[i] = append(l.owners[i], &entry{key: fmt.Sprintf("owner-%d.key-%d", i, j), operations: make([]operation, 1)})
		}
		l.entries = append(l.entries, l.owners[i]...)
	}
	return l
}

// verify compares every key of a server that has just recovered with what was acknowledged, seen and sent since the last time, whose
// tally is given, and its counts with those that follow: the sequence says whether any operation took place twice or out of nowhere, and the number of keys
// whether there is one more. It returns what is wrong.
func (l *ledger) verify(t *testing.T, s *server, since tally) (found tally, wrong []error) {
	t.Helper()
	found, wrong = l.compare(t, s)
	epoch, seq := versionOf(t, s)
	if epoch < l.epoch || seq < l.seq {
		wrong = append(wrong, fmt.Errorf("the version went from %d.%d back to %d.%d", l.epoch, l.seq, epoch, seq))
	}
	if want := l.seq + uint64(since.sets+since.deletes+found.there); seq != want {
		wrong = append(wrong, fmt.Errorf("the sequence is %d; %d before, %d acknowledged and %d unknown ones that are there make %d",
			seq, l.seq, since.sets+since.deletes, found.there, want))
	}
	if s.field("keys") != strconv.Itoa(found.keys) {
		wrong = append(wrong, fmt.Errorf("%s keys were opened, %d are there", s.field("keys"), found.keys))
	}
	l.epoch, l.seq = epoch, seq
	l.total.add(since)
	l.total.add(found)
	return found, wrong
}

// compare reads every key.
func (l *ledger) compare(t *testing.T, s *server) (found tally, wrong []error) {
	t.Helper()
	var mu sync.Mutex
	each(t, s, len(l.entries), func(c *client, i int) bool {
		value, err := get(c, l.entries[i])
		var outcome tally
		if err == nil {
			outcome, err = l.entries[i].recovered(value)
		}
		mu.Lock()
		defer mu.Unlock()
		outcome.keys += found.keys
		outcome.checked = 1
		found.add(outcome)
		if err != nil {
			wrong = append(wrong, err)
		}
		return true
	})
	return found, wrong
}

// versionOf is the version that a server has opened.
func versionOf(t *testing.T, s *server) (epoch, seq uint64) {
	t.Helper()
	_, err := fmt.Sscanf(s.field("version"), "%d.%d", &epoch, &seq)
	require.NoError(t, err, s.intro)
	return epoch, seq
}

// get reads a key: nil if it is not there.
func get(c *client, e *entry) ([]byte, error) {
	status, answer, err := c.do("GET", e.path(), nil)
	if err != nil {
		return nil, err
	}
	switch status {
	case http.StatusNotFound:
		return nil, nil
	case http.StatusOK:
	default:
		return nil, fmt.Errorf("GET %s: %d %s", e.key, status, answer)
	}
	var body struct {
		Key   string `json:"key"`
		Value []byte `json:"value"`
	}
	if err := json.Unmarshal(answer, &body); err != nil || body.Key != e.key || body.Value == nil {
		return nil, fmt.Errorf("GET %s: %.100s: %w", e.key, answer, err)
	}
	return body.Value, nil
}

// few is at most so many of the errors, as one text.
func few(errs []error, n int) string {
	var lines []string
	for _, err := range errs[:min(n, len(errs))] {
		lines = append(lines, err.Error())
	}
	return fmt.Sprintf("%d wrong:\n%s", len(errs), strings.Join(lines, "\n"))
}

// TestLedger makes sure that the ledger finds what is wrong.
func TestLedger(t *testing.T) {
	a, b, c := []byte("a"), []byte("b"), []byte("c")
	// From a recovered "a" on, "b" and a delete were acknowledged; "c" was sent, and read if seen.
	for name, row := range map[string]struct {
		found         []byte
		seen, refused bool
		there, gone   int
		lost          int
		want          string // part of the error
	}{
		"unknown, there":             {found: c, there: 1},
		"unknown, not there":         {found: nil, gone: 1},
		"seen, there":                {found: c, seen: true, there: 1},
		"seen, not there":            {found: nil, seen: true, want: "operation 2"},
		"refused, not there":         {found: nil, refused: true},
		"refused, there":             {found: c, refused: true, want: "never sent"},
		"lost delete":                {found: b, lost: 1, want: "operation 1"},
		"lost set and delete":        {found: a, lost: 2, want: "operation 0"},
		"another value":              {found: []byte("d"), want: "never sent"},
		"an empty one, not a delete": {found: []byte{}, want: "never sent"},
	} {
		t.Run(name, func(t *testing.T) {
			e := &entry{key: "k", operations: []operation{{value: a}}}
			for _, value := range [][]byte{b, nil} {
				e.issue(value)
				e.acknowledge()
			}
			require.Error(t, e.read(e.oldest(), b), "a stale read")
			e.issue(c)
			if row.seen {
				require.NoError(t, e.read(e.oldest(), c))
				require.Error(t, e.read(e.oldest(), nil), "reads do not go back")
			}
			if row.refused {
				e.refuse()
				require.Error(t, e.read(e.oldest(), c))
			}
			outcome, err := e.recovered(slices.Clone(row.found))
			if row.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, row.want)
			}
			require.Equal(t, []int{row.there, row.gone, row.lost}, []int{outcome.there, outcome.gone, outcome.lost})
			require.Equal(t, row.found == nil, e.value() == nil)
		})
	}
}
