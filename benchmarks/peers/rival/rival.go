// Package rival puts what a user would pick instead of this project, and the limits that nothing can beat, behind one small interface.
// Each rival lies in its own file, with its best documented settings for the promise that is compared: what was acknowledged is synced. The
// comment on each setting gives its reason.
package rival

import (
	"errors"
	"fmt"
	"slices"
)

// Ours is the name of this project's engine.
const Ours = "small-db"

// Rival is one engine that can be measured.
type Rival struct {
	Name     string
	Module   string // import path of its Go module; "" if it is no module of its own
	Settings string // how it is opened, in words
	Durable  bool   // it promises that an acknowledged set is on disk, and that the next open finds it
	Reads    bool   // it can be read: the bare loops cannot
	Ordered  bool   // it can be scanned in key order
	Compacts bool   // its Store is a Compactor
	Served   bool   // its Store is a Server
	Limit    bool   // no engine, but a bound on what any can do

	// Open opens what lies in a directory that exists, or makes it there.
	Open func(dir string) (Store, error)
	// Missing says why it cannot be measured here; nil if it can.
	Missing func() error
}

// Store is an open engine. Its methods may be called concurrently, but for Close.
type Store interface {
	// Session returns what one goroutine works with. All sessions are made before the work starts, and closed when it
	// has ended.
	Session() (Session, error)
	// Load sets many keys at once, durably where Durable, in one batch if the engine has batches.
	Load(batch []Pair) error
	// Close waits for what goes on in the background, and closes cleanly. All sessions are closed.
	Close() error
}

// Session is the access of one goroutine to a Store.
type Session interface {
	// Set sets key to value, and returns when that is durable where Durable. Both are the caller's again then.
	Set(key, value []byte) error
	// View calls read with the value of key, in place where the engine allows it. read must not keep it. ok is false if the key is not set.
	View(key []byte, read func(value []byte) error) (ok bool, err error)
	// Scan calls visit with n keys and values in key order, from the first key >= start on, or with fewer at the end. It must not keep them.
	Scan(start []byte, n int, visit func(key, value []byte)) error
	Close() error
}

// Pair is a key and its value.
type Pair struct{ Key, Value []byte }

// Compactor is a Store with a background work that users cannot avoid: checkpoints, compactions, rewrites.
type Compactor interface {
	// Compact does all of it that there is to do now, and returns when it is done. It may be called beside the work of sessions.
	Compact() error
}

// Server is a Store whose engine runs in a process of its own.
type Server interface{ Pid() int }

// All are the rivals, ours first, then the engines, then the limits.
func All() []*Rival {
	return []*Rival{
		ours(), bboltRival(), pebbleRival(), badgerRival(), buntdbRival(), nutsdbRival(), lmdbRival(), sqliteRival(), redisRival(),
		mapRival(), xsyncRival(), writeLoopRival(), groupLoopRival(),
	}
}

// Find returns the rival with this name.
func Find(name string) (*Rival, error) {
	all := All()
	i := slices.IndexFunc(all, func(r *Rival) bool { return r.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("no rival is called %q", name)
	}
	return all[i], nil
}

func here() error { return nil }

// errCannot is returned by what a limit has not got.
var errCannot = errors.New("this rival cannot do that")
