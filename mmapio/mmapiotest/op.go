package mmapiotest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tongpengdl/small-db/mmapio"
)

// ErrKilled is what every call returns after Recorder.Kill.
var ErrKilled = errors.New("process was killed")

// OpenFunc opens a directory: mmapio.OpenDir, or OpenDir of a Recorder or an Injector.
type OpenFunc = func(path string, create bool) (mmapio.Dir, error)

// Kind says which call an Op was.
type Kind uint8

// The kinds.
const (
	Nothing   Kind = iota // a sync that WithoutSync took out
	Base                  // not a call: a file that was there before the trace, with its durable content
	OpenDir               // of the directory
	CloseDir              // of the directory
	SyncDir               // of the directory
	LockDir               // of the directory
	Names                 // of the directory
	Open                  // of the directory
	Create                // of the directory
	Rename                // of the directory
	Remove                // of the directory
	ReadAt                // of a file
	WriteAt               // of a file
	Flush                 // of a file
	Sync                  // of a file
	Evict                 // of a file
	Size                  // of a file
	CloseFile             // of a file
	Kill                  // not a call: Recorder.Kill
	Mark                  // not a call: Recorder.Mark
)

var kindNames = [...]string{"nothing", "base", "open directory", "close directory", "sync directory", "lock", "names",
	"open", "create", "rename", "remove", "read", "write", "flush", "sync", "evict", "size", "close", "kill", "mark"}

// String names the kind.
func (k Kind) String() string { return kindNames[k] }

// Mutates says whether such a call changes the directory, a file, or what of them is durable. Flush counts
// too: a disk reports failed writes through it.
func (k Kind) Mutates() bool {
	switch k {
	case Create, Rename, Remove, SyncDir, WriteAt, Flush, Sync:
		return true
	}
	return false
}

// Op is one call, or a mark between calls.
type Op struct {
	Kind    Kind
	Name    string      // file's name when it was opened; of Rename the old one; of OpenDir the path; "" if none
	NewName string      // of Rename
	Inode   int         // the file, whatever its name is by now; from 1; 0 if there is none (always in an Injector)
	Mode    mmapio.Mode // how the file was opened
	Off     int64       // of ReadAt, WriteAt and Flush, in bytes
	Len     int64       // asked for by ReadAt, WriteAt and Flush, in bytes
	N       int64       // read or written; the length that Size returned, in bytes
	Data    []byte      // of WriteAt, all of it; of ReadAt around the page cache, what was read; of Base, the content
	Durable bool        // of WriteAt: the descriptor is O_DSYNC, so what it wrote is durable on return
	Err     error       // what the call returned
	Site    Site        // where the call came from
	OpenBy  Site        // where the file's Open or Create came from
	Value   any         // of Mark
}

// String is one line for a failing test.
func (o Op) String() string {
	var b strings.Builder
	b.WriteString(o.Kind.String())
	if o.Name != "" {
		fmt.Fprintf(&b, " %s", o.Name)
	}
	switch o.Kind {
	case Rename:
		fmt.Fprintf(&b, " to %s", o.NewName)
	case ReadAt, WriteAt, Flush:
		fmt.Fprintf(&b, " [%d,+%d)", o.Off, o.Len)
	case Mark:
		fmt.Fprintf(&b, " %v", o.Value)
	}
	if o.Durable {
		b.WriteString(" durably")
	}
	if o.Err != nil {
		fmt.Fprintf(&b, " (%v)", o.Err)
	}
	if o.Site.Func != "" {
		fmt.Fprintf(&b, " in %s", o.Site)
	}
	return b.String()
}
