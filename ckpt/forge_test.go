package ckpt_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/ckpt"
	"github.com/tongpengdl/small-db/format"
)

// resum renews the checksum at the end of b, which lies at offset.
func resum(b []byte, salt, offset uint64) {
	n := len(b) - format.SumLen
	binary.LittleEndian.PutUint64(b[n:], format.Sum(b[:n], salt, offset))
}

// forge is a checkpoint whose parts can be changed, with all checksums renewed.
type forge struct {
	t        *testing.T
	b        []byte
	footer   format.Footer
	segments []format.Segment
}

func newForge(t *testing.T, whole []byte) *forge {
	footer, err := format.DecodeFooter(whole[len(whole)-format.FooterLen:], header.Salt, uint64(len(whole)))
	require.NoError(t, err)
	x := &forge{t: t, b: bytes.Clone(whole), footer: footer}
	for i := range footer.Segments {
		s, err := format.DecodeSegment(whole[footer.Directory+i*format.SegmentEntryLen:], footer.Directory)
		require.NoError(t, err)
		x.segments = append(x.segments, s)
	}
	return x
}

// bucket changes bucket i.
func (x *forge) bucket(i uint64, change func(*format.Bucket)) {
	at := x.footer.BucketsAt + i*format.BucketLen
	bucket, err := format.DecodeBucket(x.b[at:], header.Salt, at)
	require.NoError(x.t, err)
	change(&bucket)
	bucket.Encode(x.b[at:], header.Salt, at)
}

// ordered changes block i of the ordered index.
func (x *forge) ordered(i uint64, change func(*block)) { x.words(x.footer.OrderedAt, i, change) }

// deadlines changes block i of the deadlines.
func (x *forge) deadlines(i uint64, change func(*block)) { x.words(x.footer.DeadlinesAt, i, change) }

// words changes block i of the array at an offset.
func (x *forge) words(at, i uint64, change func(*block)) {
	at += i * format.WordBlockLen
	block, err := format.DecodeWordBlock(x.b[at:], header.Salt, at)
	require.NoError(x.t, err)
	change(&block)
	block.Encode(x.b[at:], header.Salt, at)
}

// entries rewrites the first record segment, in the same space.
func (x *forge) entries(change func([]format.Entry)) {
	s := &x.segments[0]
	var list []format.Entry
	for at := s.Offset; at < s.Offset+s.Length; {
		e, n, err := format.DecodeEntry(x.b[at:], header.Salt, at)
		require.NoError(x.t, err)
		e.Key, e.Value = bytes.Clone(e.Key), bytes.Clone(e.Value)
		list = append(list, e)
		at += uint64(n)
	}
	change(list)
	var out []byte
	for i := range list {
		out = format.AppendEntry(out, &list[i], header.Salt, s.Offset+uint64(len(out)))
	}
	require.Len(x.t, out, int(s.Length))
	copy(x.b[s.Offset:], out)
}

// bytes returns the checkpoint with the sums of segments, directory and footer renewed.
func (x *forge) bytes() []byte {
	var directory []byte
	for i := range x.segments {
		s := &x.segments[i]
		if end := s.Offset + s.Length; end <= x.footer.Directory {
			s.Sum = format.Sum(x.b[s.Offset:end], header.Salt, s.Offset)
		}
		directory = s.Append(directory)
	}
	copy(x.b[x.footer.Directory:], directory)
	x.footer.DirSum = format.Sum(directory, header.Salt, x.footer.Directory)
	x.footer.Encode(x.b[len(x.b)-format.FooterLen:], header.Salt)
	return x.b
}

type (
	bucket = format.Bucket
	block  = format.WordBlock
	entry  = format.Entry
)

// forgeries are checkpoints that no builder writes: all checksums are right, something else is not. They
// start from 900 records in 161 buckets, 10 ordered entries and 300 deadlines, the last 48 of them in block 4.
var forgeries = []struct {
	what   string
	change func(x *forge)
	says   string // "" if nothing is wrong
}{
	{"nothing", func(*forge) {}, ""},
	{"slot lost", func(x *forge) { x.bucket(0, func(k *bucket) { *k = bucket{} }) }, "hash index does not lead to"},
	{"slot behind a free one", func(x *forge) { x.bucket(7, func(k *bucket) { *k = bucket{0, k[0]} }) }, "follows a free one"},
	{"buckets swapped", func(x *forge) {
		var a bucket
		x.bucket(20, func(k *bucket) { a = *k })
		x.bucket(120, func(k *bucket) { a, *k = *k, a })
		x.bucket(20, func(k *bucket) { *k = a })
	}, "hash index does not lead to"},
	{"other tag", func(x *forge) { x.bucket(3, func(k *bucket) { k[0] ^= 1 << 50 }) }, "hash index does not lead to"},
	{"other offset", func(x *forge) { x.bucket(3, func(k *bucket) { k[0]++ }) }, "hash index does not lead to"},
	{"slot too many", func(x *forge) {
		for i := range x.footer.Buckets {
			done := false
			x.bucket(i, func(k *bucket) {
				for j := range k {
					if j > 0 && k[j] == 0 {
						k[j], done = k[0], true
						return
					}
				}
			})
			if done {
				return
			}
		}
	}, "leads to 901 records of 900"},
	{"ordered entry moved", func(x *forge) { x.ordered(0, func(o *block) { o[3] += 10 }) }, "entry 3 leads to"},
	{"ordered entry missing", func(x *forge) {
		x.footer.Entries--
		x.ordered(0, func(o *block) { o[x.footer.Entries] = 0 })
	}, "no entry for the record"},
	{"ordered entry too many", func(x *forge) {
		x.ordered(0, func(o *block) { o[x.footer.Entries] = 5000 })
		x.footer.Entries++
	}, "are due"},
	{"entry after the last", func(x *forge) { x.ordered(0, func(o *block) { o[62] = 1 }) }, "word after the last"},
	{"deadlines fall", func(x *forge) { x.deadlines(2, func(d *block) { d[7], d[30] = d[30], d[7] }) }, "the least possible is"},
	{"deadlines fall between blocks", func(x *forge) { x.deadlines(3, func(d *block) { d[0] = 6 }) }, "the least possible is"},
	{"no deadline", func(x *forge) { x.deadlines(0, func(d *block) { d[0] = 0 }) }, "0, the least possible is 1"},
	{"negative deadline", func(x *forge) { x.deadlines(4, func(d *block) { d[47] |= 1 << 63 }) }, "the least possible is"},
	{"other deadline", func(x *forge) { x.deadlines(4, func(d *block) { d[47]++ }) }, "not those of the records"},
	{"other deadlines of the same sum", func(x *forge) { x.deadlines(1, func(d *block) { d[3]++; d[9]-- }) }, "not those of the records"},
	{"one deadline for another", func(x *forge) { x.deadlines(1, func(d *block) { d[3] = d[4] }) }, "not those of the records"},
	{"two deadlines for two others", func(x *forge) {
		x.deadlines(0, func(d *block) { d[1], d[2] = d[0], d[3] })
	}, "not those of the records"},
	{"deadline of a record", func(x *forge) { x.entries(func(e []entry) { e[300].Expiry++ }) }, "not those of the records"},
	{"deadline missing", func(x *forge) {
		x.footer.Deadlines--
		x.deadlines(4, func(d *block) { d[47] = 0 })
	}, "299 of them, 300 records have one"},
	{"deadline too many", func(x *forge) {
		x.footer.Deadlines++
		x.deadlines(4, func(d *block) { d[48] = d[47] })
	}, "301 of them, 300 records have one"},
	{"deadline after the last", func(x *forge) { x.deadlines(4, func(d *block) { d[62] = d[47] }) }, "word after the last"},
	{"count of deadlines", func(x *forge) { x.footer.Deadlines -= 63 }, "5 blocks of deadlines at"},
	{"place of deadlines", func(x *forge) { x.footer.DeadlinesAt -= 512 }, "blocks of deadlines at"},
	{"deadlines as ordered index", func(x *forge) { x.segments[3].Kind = format.SegmentOrdered }, "6 ordered blocks"},
	{"ordered index as deadlines", func(x *forge) { x.segments[2].Kind = format.SegmentDeadlines }, "0 ordered blocks"},
	{"deadlines before the ordered index", func(x *forge) { x.segments[1].Kind = format.SegmentDeadlines }, "kind 4"},
	{"deadlines short", func(x *forge) { x.segments[3].Length -= 512 }, "kind 4"},
	{"base of the deadlines", func(x *forge) { x.segments[3].BaseSeq = 1 }, "kind 4"},
	{"key falls", func(x *forge) { x.entries(func(e []entry) { e[501].Key = e[3].Key }) }, "keys do not rise"},
	{"key twice", func(x *forge) { x.entries(func(e []entry) { e[501].Key = e[500].Key }) }, "keys do not rise"},
	{"other key", func(x *forge) { x.entries(func(e []entry) { e[899].Key[0]++ }) }, "hash index does not lead to"},
	{"first delta", func(x *forge) { x.entries(func(e []entry) { e[0].SeqDelta = 1 }) }, "sequence delta 1"},
	{"sequence too low", func(x *forge) { x.entries(func(e []entry) { e[5].SeqDelta = -1 }) }, "sequence 0"},
	{"sequence too high", func(x *forge) { x.segments[0].BaseSeq = header.Position.Seq - 20 }, "in a checkpoint of the operations"},
	{"padding before buckets", func(x *forge) { x.b[x.footer.BucketsAt-1] = 1 }, "padding is not zero"},
	{"length of data", func(x *forge) { x.footer.DataLen++ }, "bytes of keys and values"},
	{"count of records", func(x *forge) { x.footer.Records++ }, "900 records, the footer says 901"},
	{"count in segment", func(x *forge) { x.segments[0].Count--; x.footer.Records-- }, "after 899 records"},
	{"count of buckets", func(x *forge) { x.footer.Buckets-- }, "160"},
	{"place of buckets", func(x *forge) { x.footer.BucketsAt += 64; x.footer.Buckets-- }, "buckets at"},
	{"place of ordered index", func(x *forge) { x.footer.OrderedAt -= 8 }, "ordered blocks at"},
	{"segment moved", func(x *forge) { x.segments[0].Offset += 8; x.segments[0].Length -= 8 }, "kind 1"},
	{"segment short", func(x *forge) { x.segments[2].Length -= 512 }, "kind 3"},
	{"segment empty", func(x *forge) { x.segments[2].Count = 0 }, "kind 3"},
	{"segment past the end", func(x *forge) { x.segments[4].Length += 1 << 40 }, "bytes at"},
	{"segments out of order", func(x *forge) { x.segments[0].Kind = format.SegmentEpochs }, "kind"},
	{"base of an index", func(x *forge) { x.segments[1].BaseSeq = 1 }, "kind 2"},
	{"epochs fall", func(x *forge) { copy(x.b[x.segments[4].Offset:], []byte{9}) }, "epoch"},
	{"epochs cut", func(x *forge) { x.segments[4].Length -= 8 }, "kind 5"},
}

func TestVerifyFindsForgeries(t *testing.T) {
	_, f := create(t)
	_, err := fill(f, expiring(900), 900)
	require.NoError(t, err)
	whole := contents(t, f)
	for _, row := range forgeries {
		x := newForge(t, whole)
		row.change(x)
		forged := x.bytes()
		err := ckpt.Verify(bytes.NewReader(forged), int64(len(forged)), name)
		if row.says == "" {
			require.NoError(t, err, row.what)
			continue
		}
		c := requireCorrupt(t, err, row.what)
		require.ErrorContains(t, err, row.says, row.what)
		require.GreaterOrEqual(t, c.Offset, int64(format.CheckpointHeaderLen), row.what)
		_, _ = checkDamaged(stored(t, forged), expiring(900)) // whatever it answers, it does not panic
	}
}
