package inspect

import (
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tongpengdl/small-db/format"
)

// Kind is the kind of a file in a data directory.
type Kind string

// The kinds.
const (
	KindLog        Kind = "log"
	KindCheckpoint Kind = "checkpoint"
	KindVersion    Kind = "version" // and newVersion
	KindSpare      Kind = "spare"
	KindLock       Kind = "lock"
	KindTemporary  Kind = "temporary" // was being written when a process stopped
	KindForeign    Kind = "foreign"   // not ours
)

// KindByName is the kind of the file with this name in a data directory, and the generation of a log or a checkpoint.
func KindByName(name string) (Kind, uint64) {
	if n, ok := format.ParseLogName(name); ok {
		return KindLog, n
	}
	if n, ok := format.ParseCheckpointName(name); ok {
		return KindCheckpoint, n
	}
	switch name {
	case format.VersionName, format.NewVersionName:
		return KindVersion, 0
	case format.SpareName:
		return KindSpare, 0
	case format.LockName:
		return KindLock, 0
	}
	whole, temporary := strings.CutSuffix(name, format.TempSuffix)
	if _, checkpoint := format.ParseCheckpointName(whole); temporary && (checkpoint || whole == format.SpareName || whole == claimed) {
		return KindTemporary, 0
	}
	return KindForeign, 0
}

// claimed is what the name of a log begins with before it has a generation.
const claimed = "logfile"

// KindOfFile is the kind of a file by what it begins with, whatever its name: KindLog, KindCheckpoint or KindVersion; if
// its first bytes say nothing, the kind is that of its name.
func KindOfFile(path string) (Kind, error) {
	f, err := openRegular(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, format.BlockSize)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	head = head[:n]
	_, log := format.DecodeLogIdentity(head)
	_, checkpoint := format.DecodeCheckpointHeader(head)
	_, version := format.DecodeVersionFile(head)
	switch {
	case n < magicLen:
	case !errors.Is(log, format.ErrMagic):
		return KindLog, nil
	case !errors.Is(checkpoint, format.ErrMagic):
		return KindCheckpoint, nil
	case !errors.Is(version, format.ErrMagic):
		return KindVersion, nil
	}
	kind, _ := KindByName(baseName(path))
	return kind, nil
}

// magicLen is enough of a file to hold its magic, in bytes.
const magicLen = 16

func baseName(path string) string { return path[strings.LastIndexByte(path, os.PathSeparator)+1:] }

// openRegular opens a file for reading. It neither waits for a pipe nor reads from anything but a regular file.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "read", Path: path, Err: errNotRegular}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

var errNotRegular = errors.New("it is not a regular file")
