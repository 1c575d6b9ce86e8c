package fuzz_test

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"maps"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/cmd/smalldb/reference"
	"github.com/tongpengdl/small-db/format"
)

// referenceRecord is op as the reference writes it to its log.
func referenceRecord(op operation) []byte {
	payload := binary.LittleEndian.AppendUint32([]byte{byte(op.kind)}, uint32(len(op.key)))
	payload = binary.LittleEndian.AppendUint32(payload, uint32(len(op.value)))
	payload = append(append(payload, op.key...), op.value...)
	return referenceFrame(payload)
}

func referenceFrame(payload []byte) []byte {
	b := append(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))), payload...)
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(payload))
}

// referenceCheckpoint is a state as the reference writes it.
func referenceCheckpoint(generation uint64, state map[string]string) []byte {
	b := binary.LittleEndian.AppendUint32([]byte("SMALLDB\x00"), 1)
	b = binary.LittleEndian.AppendUint64(b, generation)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(state)))
	for key, value := range state {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(key)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(value)))
		b = append(append(b, key...), value...)
	}
	return b
}

// Bits of the first byte of a script for a directory.
const (
	referenceBase   = 1 << iota // the first operations are in a checkpoint
	referenceHarm               // what is damaged is the checkpoint
	referenceAccept             // read up to the damage
)

// FuzzReference damages the log of a directory of the reference, or puts a tail to it, and reads it: what is read is what a prefix of the
// operations gives, and all of them if nothing is said. Its checkpoint has no checksums: what is damaged in it may go unseen.
func FuzzReference(f *testing.F) {
	ops := join(written(0, "a", "1"), written(asLast, "b", "22"), written(asDelete, "a", ""), written(asPattern|asLong, "c", "x"), written(0, "d", "4"))
	frame := func(payload string) []byte { return referenceFrame([]byte(payload)) }
	for how := range byte(2 * referenceAccept) {
		for _, tail := range [][]byte{
			nil, make([]byte, 8), {20, 0, 0, 0, 1}, {0xff, 0xff, 0xff, 0xff, 1, 1}, frame("\x01\x01\x00\x00\x00\x02\x00\x00\x00abb"),
			frame("\x01\xff\xff\xff\xff\x03\x00\x00\x00ab"), frame("\x01\x00\x00\x00\x80\x00\x00\x00\x80"), frame("\x01\xfd\xff\xff\xff\x0c\x00\x00\x00123456789"),
			frame("\x03\x01\x00\x00\x00\x00\x00\x00\x00a"), frame("\x02\x01\x00\x00\x00\x01\x00\x00\x00ab"), frame("\x01\x00\x00\x00\x00\x00\x00\x00\x00"),
			frame("\x01\x01\x00\x00\x00\x14\x00\x00\x00k" + string(frame("\x02\x01\x00\x00\x00\x00\x00\x00\x00a"))[:18])[:30],
		} {
			f.Add(join([]byte{how}, ops), tail, []byte{})
		}
		for _, where := range []int{0, 1, 4, 5, 9, 13, 14, 18, 19, 23, 27, 31, 60} {
			f.Add(join([]byte{how}, ops), []byte{}, at(turnBits, where, 0x80))
			f.Add(join([]byte{how}, ops), []byte{}, at(endThere, where, 0))
		}
	}
	f.Fuzz(func(t *testing.T, script, tail, damages []byte) {
		s := &tape{script}
		how := s.byte()
		files, ops, base, log := referenceDirectory(s, how, tail)
		harmed := "logfile.3"
		if how&referenceHarm != 0 {
			harmed = "checkpoint.3"
		}
		d := inflict(damages, files[harmed].Data)
		for i := 0; i+4 < len(damages); i += 5 {
			if damages[i]%damageKinds == copySector { // may copy a record, and the log has nothing against that
				return
			}
		}
		files[harmed].Data = d.file[:d.length]

		bounded(t, len(script)+len(tail)+len(damages)+len(log)+64<<10, func() {
			directory, err := reference.OpenFS(context.Background(), files, reference.Options{AcceptDamage: how&referenceAccept != 0})
			if err != nil {
				var limit *reference.LimitError // a key of no bytes
				require.True(t, errors.As(err, &limit) || errors.Is(err, format.ErrCorrupt) || errors.Is(err, format.ErrVersion), "%v", err)
				return
			}
			if harmed == "logfile.3" {
				requirePrefix(t, directory, base, ops, len(tail) == 0 && len(damages) == 0)
			}
		})
	})
}

// referenceDirectory returns a directory as a script wrote it, with a tail to its log, and what was written: operations, state in the checkpoint, log.
func referenceDirectory(s *tape, how byte, tail []byte) (files fstest.MapFS, ops []operation, base map[string]string, log []byte) {
	base = map[string]string{}
	for inBase := how&referenceBase != 0; !s.done(); {
		op, last := s.operation(log)
		if inBase {
			apply(base, op)
			inBase = !last
			continue
		}
		ops, log = append(ops, op), append(log, referenceRecord(op)...)
	}
	if rest := tail; len(rest) > 0 { // what it holds of whole records is written as well
		for {
			op, n := referenceOperation(rest)
			if n == 0 {
				break
			}
			ops, rest = append(ops, op), rest[n:]
		}
	}
	file := func(b []byte) *fstest.MapFile { return &fstest.MapFile{Data: b, Mode: fs.FileMode(0o600)} }
	return fstest.MapFS{
		"version": file([]byte("3\n")), "checkpoint.3": file(referenceCheckpoint(3, base)), "logfile.3": file(join(log, tail)),
	}, ops, base, log
}

// referenceOperation is the operation at the start of b, and its size; 0 if there is none.
func referenceOperation(b []byte) (op operation, n int) {
	if len(b) < 17 {
		return op, 0
	}
	length, keyLen, valueLen := int64(binary.LittleEndian.Uint32(b)), int64(binary.LittleEndian.Uint32(b[5:])), int64(binary.LittleEndian.Uint32(b[9:]))
	if 9+keyLen+valueLen != length || length+8 > int64(len(b)) {
		return op, 0
	}
	op = operation{kind: format.Kind(b[4]), key: string(b[13:][:keyLen]), value: string(b[13+keyLen:][:valueLen])}
	if op.kind != format.KindSet && (op.kind != format.KindDelete || valueLen != 0) || string(referenceRecord(op)) != string(b[:length+8]) {
		return op, 0
	}
	return op, int(length) + 8
}

func apply(state map[string]string, op operation) {
	if op.kind == format.KindDelete {
		delete(state, op.key)
		return
	}
	state[op.key] = op.value
}

// requirePrefix holds that the directory has the state after some of the operations, and after all unless it says otherwise.
func requirePrefix(t *testing.T, d *reference.Directory, base map[string]string, ops []operation, intact bool) {
	n := int(d.Operations())
	require.LessOrEqual(t, n, len(ops))
	if intact {
		require.Len(t, ops, n)
		require.Empty(t, d.Dropped())
	}
	want := maps.Clone(base)
	for _, op := range ops[:n] {
		apply(want, op)
	}
	got, last := map[string]string{}, ""
	require.NoError(t, d.Each(context.Background(), func(key, value []byte) error {
		require.Less(t, last, string(key), "keys rise")
		last = string(key)
		got[last] = string(value)
		return nil
	}))
	require.Equal(t, want, got)
	require.Equal(t, len(want), d.Keys())
}
