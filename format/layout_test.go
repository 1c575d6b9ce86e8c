package format_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/tongpengdl/small-db/format"
)

// The layouts, a second time: as tables of fields, written down without the code that they
// describe. TestLayouts holds the encoders to them, TestSpecificationTables the tables of FORMAT.md, and the
// dumps are annotated from them; so all of these say the same.

// field is one row of a layout.
type field struct {
	at, size int
	name     string
	want     any                 // uint64, or []byte, or string
	show     func([]byte) string // how the dump shows the bytes
}

func number(b []byte) uint64 {
	var full [8]byte
	copy(full[:], b)
	return binary.LittleEndian.Uint64(full[:])
}

func decimal(b []byte) string  { return fmt.Sprint(number(b)) }
func hexadec(b []byte) string  { return fmt.Sprintf("%0*x", 2*len(b), number(b)) }
func quoted(b []byte) string   { return fmt.Sprintf("%q", b) }
func digits(b []byte) string   { return hex.EncodeToString(b) }
func nothing([]byte) string    { return "" }
func whenText(b []byte) string { return time.Unix(0, int64(number(b))).UTC().Format(time.RFC3339) }

func num(at, size int, name string, want uint64) field { return field{at, size, name, want, decimal} }
func hexa(at int, name string, want uint64) field      { return field{at, 8, name, want, hexadec} }
func when(at int, name string, want int64) field {
	return field{at, 8, name, uint64(want), whenText}
}
func text(at int, name, want string) field { return field{at, len(want), name, want, quoted} }
func zero(at, end int, name string) field {
	return field{at, end - at, name, make([]byte, end-at), nothing}
}
func uuid(at int, id format.UUID) field { return field{at, 16, "uuid", id[:], digits} }

// named is a number with a name, as kinds are.
func named(at, size int, name string, want uint64, names map[uint64]string) field {
	return field{at, size, name, want, func(b []byte) string { return fmt.Sprintf("%d (%s)", number(b), names[number(b)]) }}
}

// local is the local checksum of data by its definition.
func local(data []byte, salt, offset uint64) uint64 {
	x := salt + offset*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return xxhash.Sum64(data) ^ x ^ x>>31
}

// seal is the checksum that ends b, which lies at offset of the file with this salt.
func seal(b []byte, salt, offset uint64) field {
	return hexa(len(b)-8, "checksum", local(b[:len(b)-8], salt, offset))
}

func prologue(magic string) []field {
	return []field{text(0, "magic", magic), num(8, 4, "version", 1)}
}

func positionFields(at int, p format.Position) []field {
	return []field{
		num(at, 8, "epoch", p.Epoch), num(at+8, 8, "seq", p.Seq), num(at+16, 8, "index", p.Index),
		when(at+24, "time", p.Time), hexa(at+32, "chain", p.Chain),
	}
}

func versionFields(b []byte, v format.VersionFile) []field {
	return append(prologue("SMDBVERS"), zero(12, 16, "reserved"), uuid(16, v.UUID),
		num(32, 8, "generation", v.Generation), num(40, 8, "previous", v.Previous),
		num(48, 8, "checkpoint length", v.CheckpointLen), hexa(56, "checkpoint sum", v.CheckpointSum),
		num(64, 8, "epoch", v.Epoch), zero(72, 120, "reserved"), seal(b, 0, 0))
}

func identityFields(b []byte, id format.LogIdentity) []field {
	return append(prologue("SMDBLOG\x00"), num(12, 4, "alignment", uint64(id.Align)), uuid(16, id.UUID),
		num(32, 8, "generation", id.Generation), hexa(40, "salt", id.Salt), num(48, 8, "size", uint64(id.Size)),
		zero(56, 4088, "reserved"), seal(b, 0, 0))
}

func predecessorFields(b []byte, p format.Predecessor, salt uint64) []field {
	fields := append(prologue("SMDBPRED"), zero(12, 16, "reserved"),
		num(16, 8, "generation", p.Generation), hexa(24, "salt", p.Salt), num(32, 8, "end", uint64(p.End)), num(40, 8, "commit", p.Commit))
	fields = append(fields, positionFields(48, p.Position)...)
	return append(fields, zero(88, 4088, "reserved"), seal(b, salt, 4096))
}

var frameKinds = map[uint64]string{1: "operations", 2: "empty", 3: "configuration", 4: "trailer"}

func frameFields(b []byte, h format.FrameHeader, salt, offset uint64) []field {
	return []field{
		text(0, "magic", "BRMF"), named(4, 1, "kind", uint64(h.Kind), frameKinds), zero(5, 8, "reserved"),
		num(8, 4, "length", uint64(h.Length)), num(12, 4, "count", uint64(h.Count)),
		num(16, 8, "first seq", h.FirstSeq), num(24, 8, "epoch", h.Epoch), num(32, 8, "index", h.Index),
		num(40, 8, "commit", h.Commit), when(48, "time", h.Time), num(56, 8, "synced", h.Synced),
		hexa(64, "chain", h.Chain), hexa(72, "payload sum", h.PayloadSum), seal(b[:88], salt, offset),
	}
}

var recordKinds = map[uint64]string{1: "set", 2: "delete"}

// recordFields are those of the record r, which takes all of b, with its padding.
func recordFields(b []byte, r format.Record, salt, offset uint64) []field {
	expiry := 0
	if r.Expiry != 0 {
		expiry = 8
	}
	value := 16 + expiry + len(r.Key)
	body := value + len(r.Value)
	fields := []field{
		num(0, 4, "length", uint64(body+8)), num(4, 2, "key length", uint64(len(r.Key))),
		named(6, 1, "kind", uint64(r.Kind), recordKinds), num(7, 1, "flags", uint64(expiry/8)), num(8, 8, "seq", r.Seq),
	}
	if expiry != 0 {
		fields = append(fields, when(16, "expiry", r.Expiry))
	}
	return append(fields, text(16+expiry, "key", string(r.Key)), text(value, "value", string(r.Value)),
		hexa(body, "checksum", local(b[:body], salt, offset)), zero(body+8, len(b), "padding"))
}

func trailerFields(t format.Trailer) []field {
	return []field{num(0, 8, "generation", t.Generation), hexa(8, "salt", t.Salt)}
}

func headerFields(b []byte, h format.CheckpointHeader) []field {
	fields := append(prologue("SMDBCKPT"), zero(12, 16, "reserved"), uuid(16, h.UUID),
		num(32, 8, "generation", h.Generation), hexa(40, "salt", h.Salt))
	fields = append(fields, positionFields(48, h.Position)...)
	return append(fields, zero(88, 4088, "reserved"), seal(b, 0, 0))
}

// entryFields are those of the entry e, which takes all of b.
func entryFields(b []byte, e format.Entry, salt, offset uint64) []field {
	flag := uint64(0)
	if e.Expiry != 0 {
		flag = 1
	}
	at := 0
	varint := func(name string, v uint64, show func([]byte) string) field {
		encoded := binary.AppendUvarint(nil, v)
		at += len(encoded)
		return field{at - len(encoded), len(encoded), name, encoded, show}
	}
	unsigned := func(b []byte) string { v, _ := binary.Uvarint(b); return fmt.Sprint(v) }
	signed := func(b []byte) string { v, _ := binary.Varint(b); return fmt.Sprintf("%+d", v) }
	halved := func(b []byte) string { v, _ := binary.Uvarint(b); return fmt.Sprintf("%d, expiry %d", v>>1, v&1) }
	fields := []field{
		varint("key length", uint64(len(e.Key)), unsigned),
		varint("value length and flag", uint64(len(e.Value))<<1|flag, halved),
		varint("seq delta", uint64(e.SeqDelta)<<1^uint64(e.SeqDelta>>63), signed),
	}
	if e.Expiry != 0 {
		fields = append(fields, when(at, "expiry", e.Expiry))
		at += 8
	}
	value := at + len(e.Key)
	body := value + len(e.Value)
	return append(fields, text(at, "key", string(e.Key)), text(value, "value", string(e.Value)),
		field{body, 4, "checksum", local(b[:body], salt, offset) & 0xffffffff, hexadec})
}

func bucketFields(b []byte, k format.Bucket, salt, offset uint64) []field {
	slot := func(b []byte) string {
		if number(b) == 0 {
			return "free"
		}
		return fmt.Sprintf("tag %06x, record at %08x", number(b)>>40, number(b)&(1<<40-1))
	}
	var fields []field
	for i, s := range k {
		fields = append(fields, field{8 * i, 8, fmt.Sprintf("slot %d", i), uint64(s), slot})
	}
	return append(fields, seal(b[:64], salt, offset))
}

func recordAt(b []byte) string { return fmt.Sprintf("record at %08x", number(b)) }

// wordFields are those of a word block; name and show say what the words are.
func wordFields(b []byte, w format.WordBlock, name string, show func([]byte) string, salt, offset uint64) []field {
	used := len(w)
	for used > 0 && w[used-1] == 0 {
		used--
	}
	var fields []field
	for i, v := range w[:used] {
		fields = append(fields, field{8 * i, 8, fmt.Sprintf("%s %d", name, i), v, show})
	}
	return append(fields, zero(8*used, 504, "unused"), seal(b[:512], salt, offset))
}

func epochFields(e format.EpochStart) []field {
	return []field{num(0, 8, "epoch", e.Epoch), num(8, 8, "first seq", e.FirstSeq)}
}

var segmentKinds = map[uint64]string{1: "records", 2: "buckets", 3: "ordered index", 4: "deadlines", 5: "epochs"}

func segmentFields(s format.Segment) []field {
	return []field{
		named(0, 4, "kind", uint64(s.Kind), segmentKinds), num(4, 4, "count", uint64(s.Count)), num(8, 8, "offset", s.Offset),
		num(16, 8, "length", s.Length), num(24, 8, "base seq", s.BaseSeq), hexa(32, "sum", s.Sum),
	}
}

func footerFields(b []byte, f format.Footer, salt uint64) []field {
	return []field{
		text(0, "magic", "SMDBFOOT"), num(8, 8, "records", f.Records), num(16, 8, "data length", f.DataLen),
		hexa(24, "hash seed 0", f.HashSeed.K0), hexa(32, "hash seed 1", f.HashSeed.K1),
		num(40, 8, "buckets", f.Buckets), num(48, 8, "buckets at", f.BucketsAt),
		num(56, 8, "entries", f.Entries), num(64, 8, "ordered at", f.OrderedAt),
		num(72, 8, "deadlines", f.Deadlines), num(80, 8, "deadlines at", f.DeadlinesAt),
		num(88, 8, "segments", f.Segments), num(96, 8, "directory at", f.Directory), hexa(104, "directory sum", f.DirSum),
		num(112, 8, "file length", f.FileLen), zero(120, 184, "reserved"), seal(b[:192], salt, f.FileLen-192),
	}
}

// checkFields says how b departs from the layout: the fields tile it, and each holds what is wanted.
func checkFields(b []byte, fields []field) error {
	at := 0
	for _, f := range fields {
		if f.at != at || f.at+f.size > len(b) {
			return fmt.Errorf("%s takes %d bytes at %d of %d, the field before it ends at %d", f.name, f.size, f.at, len(b), at)
		}
		at += f.size
		got := b[f.at:at]
		want := make([]byte, 8)
		switch w := f.want.(type) {
		case uint64:
			binary.LittleEndian.PutUint64(want, w)
			want = want[:f.size]
		case string:
			want = []byte(w)
		case []byte:
			want = w
		}
		if string(got) != string(want) {
			return fmt.Errorf("%s at %d: found % x, want % x", f.name, f.at, got, want)
		}
	}
	if at != len(b) {
		return fmt.Errorf("the fields end at %d of %d", at, len(b))
	}
	return nil
}
