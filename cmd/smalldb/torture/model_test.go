package torture_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/cmd/smalldb/torture"
)

const size = 100 // of values here

func set(key string) torture.Op { return torture.Op{Key: key, Size: size} }
func del(key string) torture.Op { return torture.Op{Key: key, Delete: true} }

func issue(unit uint64, ops ...torture.Op) torture.Event {
	return torture.Event{Kind: torture.Issued, Unit: unit, Ops: ops}
}

func ack(unit, seq uint64) torture.Event {
	return torture.Event{Kind: torture.Acknowledged, Unit: unit, Seq: seq}
}

func saw(key string, unit uint64, index int, seq uint64) torture.Event {
	return torture.Event{Kind: torture.Read, Key: key, Unit: unit, Index: index, Seq: seq}
}

func is(unit uint64, index int, seq uint64) torture.Entry {
	return torture.NewEntry(unit, index, size, seq, 0)
}

// plus is a history that goes on.
func plus(begun []torture.Event, more ...torture.Event) []torture.Event {
	return slices.Concat(begun, more)
}

type entries = map[string]torture.Entry

// TestJudge: what the model allows, and each way in which a store can lie.
func TestJudge(t *testing.T) {
	soon := time.Now().Add(-10 * torture.Slack).UnixNano()
	// Acknowledged: 1 sets own, 2 is a batch that sets marker and shared. Then 3 replaces shared and deletes x, in a batch without an answer.
	begun := []torture.Event{
		{Kind: torture.Opened}, issue(1, set("own")), ack(1, 1), issue(2, set("marker"), set("shared")), ack(2, 3),
	}
	batch := plus(begun, issue(3, set("other"), set("shared"), del("marker")))
	hidden := plus(begun, issue(3, del("own")))
	three := entries{"own": is(1, 0, 1), "marker": is(2, 0, 2), "shared": is(2, 1, 3)}
	with := func(change func(entries)) entries {
		out := maps.Clone(three)
		change(out)
		return out
	}
	all := with(func(e entries) { e["other"], e["shared"] = is(3, 0, 4), is(3, 1, 5); delete(e, "marker") })
	for name, row := range map[string]struct {
		events  []torture.Event
		seq     uint64
		entries entries
		want    string // of the violation; "" for none
		there   int
	}{
		"all is well":                {begun, 3, three, "", 0},
		"unknown and absent":         {batch, 3, three, "", 0},
		"unknown and there":          {batch, 6, all, "", 1},
		"hidden and there":           {hidden, 4, with(func(e entries) { delete(e, "own") }), "", 1},
		"hidden and absent":          {hidden, 3, three, "", 0},
		"lost, and the sequence":     {begun, 2, with(func(e entries) { delete(e, "shared") }), "operation 3 was acknowledged, only 2", 0},
		"lost":                       {begun, 3, with(func(e entries) { delete(e, "own") }), "lost: operation 1 on own", 0},
		"half a batch":               {batch, 6, with(func(e entries) { e["other"] = is(3, 0, 4); delete(e, "marker") }), "half a batch", 0},
		"half a batch, at the end":   {batch, 5, all, "half a batch", 0},
		"half a batch, no delete":    {batch, 6, with(func(e entries) { e["other"], e["shared"] = is(3, 0, 4), is(3, 1, 5) }), "half a batch", 0},
		"deleted by half a batch":    {batch, 3, with(func(e entries) { delete(e, "marker") }), "lost: operation 2 on marker", 0},
		"old version served":         {plus(batch, ack(3, 6)), 6, with(func(e entries) { e["other"] = is(3, 0, 4); delete(e, "marker") }), "lost: operation 5 on shared", 0},
		"nobody wrote it":            {begun, 4, with(func(e entries) { e["x"] = is(9, 0, 4) }), "nobody has written", 0},
		"written to another key":     {begun, 3, with(func(e entries) { e["x"] = is(1, 0, 1) }), "not what unit 1 has written", 0},
		"another size":               {begun, 3, with(func(e entries) { e["own"] = torture.NewEntry(1, 0, size+1, 1, 0) }), "not what unit 1 has written", 0},
		"a deadline from nowhere":    {begun, 3, with(func(e entries) { e["own"] = torture.NewEntry(1, 0, size, 1, 1<<62) }), "not what unit 1 has written", 0},
		"another version":            {begun, 3, with(func(e entries) { e["own"] = is(1, 0, 2) }), "unit 1 begins with 1", 0},
		"a sequence that is nobodys": {begun, 4, three, "those that were issued make 3", 0},
		"refused and there":          {plus(batch, torture.Event{Kind: torture.Refused, Unit: 3}), 6, all, "refused", 0},
		"read and gone":              {plus(batch, saw("shared", 3, 1, 5)), 3, three, "operation 5 was read, only 3", 0},
		"read, and half of it gone":  {plus(batch, saw("other", 3, 0, 4)), 6, with(func(e entries) { e["shared"] = is(3, 1, 5); delete(e, "marker") }), "half a batch: operation 4 on other", 0},
		"two with one sequence":      {plus(batch, issue(4, set("y"))), 6, with(func(e entries) { maps.Copy(e, all); delete(e, "marker"); e["y"] = is(4, 0, 6) }), "another unit's", 0},
		"expired and served": {plus(begun, issue(3, torture.Op{Key: "y", Size: size, Deadline: soon}), ack(3, 4)), 4,
			with(func(e entries) { e["y"] = torture.NewEntry(3, 0, size, 4, soon) }), "expired", 0},
		"expired and gone":       {plus(begun, issue(3, torture.Op{Key: "y", Size: size, Deadline: soon}), ack(3, 4)), 4, three, "", 0},
		"not expired and gone":   {plus(begun, issue(3, torture.Op{Key: "y", Size: size, Deadline: 1 << 62}), ack(3, 4)), 4, three, "lost: operation 4 on y", 0},
		"hidden, twice deleted":  {plus(hidden, ack(3, 4), issue(4, del("own"))), 5, with(func(e entries) { delete(e, "own") }), "", 0},
		"hidden, once deleted":   {plus(hidden, ack(3, 4), issue(4, del("own"))), 4, with(func(e entries) { delete(e, "own") }), "", 0},
		"hidden, thrice deleted": {plus(hidden, ack(3, 4), issue(4, del("own"))), 6, with(func(e entries) { delete(e, "own") }), "make 4", 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := torture.NewModel()
			for _, e := range row.events {
				require.NoError(t, m.Note(e))
			}
			_, there, err := m.Judge(torture.NewState(row.seq, row.entries))
			if row.want == "" {
				require.NoError(t, err)
				assert.Equal(t, row.there, there)
				assertKept(t, row.seq, row.entries)
				return
			}
			require.ErrorContains(t, err, row.want)
		})
	}
}

// assertKept: once a state was verified, it is what the next one must hold.
func assertKept(t *testing.T, seq uint64, verified entries) {
	t.Helper()
	m := torture.Settled(torture.NewState(seq, verified))
	_, _, err := m.Judge(torture.NewState(seq, verified))
	require.NoError(t, err)
	_, _, err = m.Judge(torture.NewState(seq-1, verified))
	assert.ErrorContains(t, err, "was verified")
	for key := range verified {
		less := maps.Clone(verified)
		delete(less, key)
		_, _, err = m.Judge(torture.NewState(seq, less))
		assert.ErrorContains(t, err, "lost: "+key)
	}
	assert.NoError(t, m.Note(torture.Event{Kind: torture.Opened, Seq: seq}))
	assert.ErrorContains(t, m.Note(torture.Event{Kind: torture.Opened, Seq: seq + 1}), "the next open begins")
}

// TestNote: what shows in the order of events alone.
func TestNote(t *testing.T) {
	one := []torture.Event{issue(1, set("a")), ack(1, 1)}
	two := plus(one, issue(2, set("a"), set("b")))
	for name, row := range map[string]struct {
		events []torture.Event
		last   torture.Event
		want   string
	}{
		"acknowledged after the log failed":   {plus(one, torture.Event{Kind: torture.LogFailed}, issue(2, set("b"))), ack(2, 2), "after the log had failed"},
		"acknowledged after an unknown one":   {plus(two, torture.Event{Kind: torture.Unknown, Unit: 2}, issue(3, set("b"))), ack(3, 4), "after the log had failed"},
		"in flight when the log failed":       {plus(two, torture.Event{Kind: torture.LogFailed}), ack(2, 3), ""},
		"condition that cannot hold":          {[]torture.Event{{Kind: torture.Issued, Unit: 1, Ops: []torture.Op{set("a")}, Never: true}}, ack(1, 1), "cannot hold"},
		"acknowledged with an old sequence":   {two, ack(2, 1), "older"},
		"read and acknowledged differently":   {plus(two, saw("b", 2, 1, 3)), ack(2, 4), "read as 2"},
		"read as it was acknowledged":         {plus(two, saw("b", 2, 1, 3)), ack(2, 3), ""},
		"read what nobody wrote":              {one, saw("a", 7, 0, 1), "does not hold"},
		"read at another key":                 {one, saw("b", 1, 0, 1), "another key"},
		"read as another version":             {one, saw("a", 1, 0, 2), "begins with 1"},
		"read what was refused":               {plus(two, torture.Event{Kind: torture.Refused, Unit: 2}), saw("b", 2, 1, 3), "refused"},
		"refused what was read":               {plus(two, saw("b", 2, 1, 3)), torture.Event{Kind: torture.Refused, Unit: 2}, "refused"},
		"a read that fails":                   {one, torture.Event{Kind: torture.Wrong, Text: "bad"}, "bad"},
		"an open that fails":                  {one, torture.Event{Kind: torture.OpenFailed, Text: "no room"}, ""},
		"an open that finds damage":           {one, torture.Event{Kind: torture.OpenFailed, Text: "corrupt", Damaged: true}, "no byte was damaged"},
		"an open that begins somewhere else":  {nil, torture.Event{Kind: torture.Opened, Seq: 2}, "begins with that of 2"},
		"a version below that of the opening": {[]torture.Event{issue(1, set("a"), set("b"))}, ack(1, 1), "older"},
	} {
		t.Run(name, func(t *testing.T) {
			m := torture.NewModel()
			for _, e := range row.events {
				require.NoError(t, m.Note(e))
			}
			err := m.Note(row.last)
			if row.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, row.want)
			}
		})
	}
}

// TestValues: a value names its operation, and no bit of it can change.
func TestValues(t *testing.T) {
	for _, n := range []int{16, 17, 100, 4096} {
		v := torture.Value(torture.Ref{Unit: 3<<32 | 7, Index: 5}, n)
		require.Len(t, v, n)
		r, err := torture.Parse(v)
		require.NoError(t, err)
		assert.Equal(t, torture.Ref{Unit: 3<<32 | 7, Index: 5}, r)
		for i := 12 * 8; i < n*8; i += 1 + n/16 { // another name is for the model to find
			v[i/8] ^= 1 << (i % 8)
			_, err := torture.Parse(v)
			assert.Error(t, err, "bit %d of %d bytes", i, n)
			v[i/8] ^= 1 << (i % 8)
		}
		_, err = torture.Parse(v[:n-1])
		assert.Error(t, err)
	}
}

// TestDamage stays in one block and is not far away from where it says.
func TestDamage(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	data := make([]byte, 3*4096+100)
	for i := range data {
		data[i] = byte(i>>9) + 1
	}
	for range 1000 {
		before := len(data)
		out, how := torture.Damage(rng, data)
		require.Len(t, out, before, how)
		first, last := -1, -1
		for i := range out {
			if out[i] != data[i] {
				if first < 0 {
					first = i
				}
				last = i
			}
		}
		require.GreaterOrEqual(t, first, 0, how)
		require.Equal(t, first/4096, last/4096, how)
	}
	out, _ := torture.Damage(rng, nil)
	assert.Len(t, out, 1)
}

func TestMountOf(t *testing.T) {
	const mounts = `25 1 254:0 / / rw,relatime - ext4 /dev/vda rw
26 25 0:5 / /dev rw - devtmpfs devtmpfs rw
27 26 0:22 / /dev/shm rw - tmpfs tmpfs rw
28 25 0:30 / /mnt/a\040b rw shared:1 - xfs /dev/sd\040b rw
`
	for path, want := range map[string]string{
		"/": "ext4 on /dev/vda", "/home": "ext4 on /dev/vda", "/dev/shm/x": "tmpfs on tmpfs", "/dev/shmx": "devtmpfs on devtmpfs",
		"/mnt/a b/c": "xfs on /dev/sd b", "/mnt/a": "ext4 on /dev/vda",
	} {
		assert.Equal(t, want, torture.MountOf(mounts, path), path)
	}
	assert.Equal(t, "unknown", torture.MountOf("nonsense\n", "/"))
	assert.NotEmpty(t, torture.FileSystem("."))
}
