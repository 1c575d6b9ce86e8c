package mmapiotest_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// The units in which sketches are drawn, in bytes.
const (
	sector = 512
	page   = 4096
)

// fill is n units of a letter.
func fill(letter byte, n int) []byte { return bytes.Repeat([]byte{letter}, n) }

// sketch draws an image: a letter for each unit of a file, '.' for zeros, '?' for any other.
func sketch(m mmapiotest.Image, unit int) string {
	var files []string
	for _, name := range m.Names() {
		var b strings.Builder
		for piece := range slices.Chunk(m[name], unit) {
			b.WriteByte(letterOf(piece))
		}
		files = append(files, fmt.Sprintf("%s=%s", name, b.String()))
	}
	return strings.Join(files, " ")
}

func letterOf(piece []byte) byte {
	switch first := piece[0]; {
	case bytes.Count(piece, piece[:1]) < len(piece):
		return '?'
	case first == 0:
		return '.'
	case first >= 'A' && first <= 'Z':
		return first
	}
	return '?'
}

// sketches draws what a mode makes of a cut, under many seeds, sorted.
func sketches(t mmapiotest.Trace, cut mmapiotest.Cut, mode mmapiotest.Mode, unit int) []string {
	seen := make(map[string]bool)
	r := t.Replayer()
	for seed := range uint64(600) {
		seen[sketch(r.Image(cut, mode, seed), unit)] = true
	}
	var out []string
	for s := range seen {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

func atEnd(t mmapiotest.Trace) mmapiotest.Cut { return mmapiotest.Cut{Op: len(t)} }

// Hand-made ops.

func create(name string, inode int) mmapiotest.Op {
	return mmapiotest.Op{Kind: mmapiotest.Create, Name: name, Inode: inode}
}

func write(inode int, off int64, data []byte) mmapiotest.Op {
	return mmapiotest.Op{Kind: mmapiotest.WriteAt, Inode: inode, Off: off, Len: int64(len(data)), Data: data}
}

func writeDurable(inode int, off int64, data []byte) mmapiotest.Op {
	op := write(inode, off, data)
	op.Durable = true
	return op
}

func rename(from, to string, inode int) mmapiotest.Op {
	return mmapiotest.Op{Kind: mmapiotest.Rename, Name: from, NewName: to, Inode: inode}
}

func remove(name string, inode int) mmapiotest.Op {
	return mmapiotest.Op{Kind: mmapiotest.Remove, Name: name, Inode: inode}
}

func syncFile(inode int) mmapiotest.Op { return mmapiotest.Op{Kind: mmapiotest.Sync, Inode: inode} }

func readAround(inode int, off int64, data []byte) mmapiotest.Op {
	return mmapiotest.Op{Kind: mmapiotest.ReadAt, Mode: mmapio.ReadAround, Inode: inode, Off: off, Data: data}
}

func failed(op mmapiotest.Op, err error) mmapiotest.Op {
	op.Err = err
	return op
}

var syncDir = mmapiotest.Op{Kind: mmapiotest.SyncDir}

// durableFile is the ops that make a file durable under its name.
func durableFile(name string, inode int, data []byte) mmapiotest.Trace {
	return mmapiotest.Trace{create(name, inode), write(inode, 0, data), syncFile(inode), syncDir}
}

// trace joins ops and traces.
func trace(parts ...any) (out mmapiotest.Trace) {
	for _, p := range parts {
		switch p := p.(type) {
		case mmapiotest.Op:
			out = append(out, p)
		case mmapiotest.Trace:
			out = append(out, p...)
		default:
			panic(fmt.Sprintf("%T is no part of a trace", p))
		}
	}
	return out
}

// record opens a new directory through a new recorder.
func record(t *testing.T) (*mmapiotest.Recorder, mmapio.Dir) {
	t.Helper()
	r := mmapiotest.NewRecorder()
	d, err := r.OpenDir(t.TempDir(), false)
	require.NoError(t, err)
	return r, d
}

// put writes a file of the directory, syncing nothing.
func put(t *testing.T, d mmapio.Dir, name string, data []byte) mmapio.File {
	t.Helper()
	f, err := d.Create(name)
	require.NoError(t, err)
	_, err = f.WriteAt(data, 0)
	require.NoError(t, err)
	return f
}

// kinds lists the kinds of a trace.
func kinds(t mmapiotest.Trace) (out []mmapiotest.Kind) {
	for _, op := range t {
		out = append(out, op.Kind)
	}
	return out
}
