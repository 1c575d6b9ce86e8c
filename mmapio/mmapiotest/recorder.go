package mmapiotest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/tongpengdl/small-db/mmapio"
)

// Recorder writes down every call on one directory and its files, in the order in which they
// happened: it lets one call at a time through, reads too. All methods may be called concurrently.
type Recorder struct {
	under OpenFunc

	mu     sync.Mutex // held during every call
	trace  Trace
	path   string         // of the directory; "" before the first OpenDir
	life   life           // the current one: who has an older one is dead
	dirs   []*dir         // opened in this life; closing one twice does no harm
	inodes map[string]int // of the current names
	last   int            // inode given last
	killAt func(Op) bool  // see KillAtNextWrite; nil without
}

// NewRecorder returns a recorder over mmapio.OpenDir.
func NewRecorder() *Recorder { return NewRecorderOver(mmapio.OpenDir) }

// NewRecorderOver returns a recorder over another OpenDir.
func NewRecorderOver(under OpenFunc) *Recorder {
	return &Recorder{under: under, inodes: make(map[string]int)}
}

// OpenDir opens a directory as mmapio.OpenDir does, and records what is called on it. The files that it
// holds at first open the trace, as Base. Every later call names the same
// directory: after Kill, or after Close, the trace goes on.
func (r *Recorder) OpenDir(path string, create bool) (mmapio.Dir, error) {
	site := callSite()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.path != "" && filepath.Clean(path) != r.path {
		return nil, fmt.Errorf("record %s: this recorder has recorded %s, use another", path, r.path)
	}
	under, err := r.under(path, create)
	if err == nil && r.path == "" {
		r.path = filepath.Clean(path)
		err = r.recordBase()
	}
	r.trace = append(r.trace, Op{Kind: OpenDir, Name: path, Err: err, Site: site})
	if err != nil {
		return nil, err
	}
	d := &dir{layer: r, life: r.life, under: under}
	r.dirs = append(r.dirs, d)
	return d, nil
}

// recordBase records the files that the directory holds.
func (r *Recorder) recordBase() error {
	entries, err := os.ReadDir(r.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if err := r.recordFile(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// recordFile records a file that did not come about through the recorder.
func (r *Recorder) recordFile(name string) error {
	data, err := os.ReadFile(filepath.Join(r.path, name))
	if err != nil {
		return err
	}
	r.trace = append(r.trace, Op{Kind: Base, Name: name, Inode: r.newInode(name), Data: data})
	return nil
}

func (r *Recorder) newInode(name string) int {
	r.last++
	r.inodes[name] = r.last
	return r.last
}

// call performs and records one call of the current life, and refuses those of earlier ones.
func (r *Recorder) call(l life, op *Op, do func(op *Op) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l != r.life {
		if op.Kind == CloseFile {
			_ = do(op) // lets go of the descriptor; the dead are told the same as ever
		}
		return ErrKilled
	}
	kill := op.Kind == WriteAt && r.killAt != nil && r.killAt(*op)
	r.discover(op)
	if op.Err = do(op); op.Err == nil {
		r.follow(op)
	}
	if op.Kind == WriteAt {
		op.Data = bytes.Clone(op.Data)
	}
	kill = kill && op.Err == nil
	if kill {
		op.Err = ErrKilled
	}
	r.trace = append(r.trace, *op)
	if kill {
		r.kill()
	}
	return op.Err
}

// discover records the file that op names if it came about behind the recorder's back. If it
// cannot be read, the call will say why.
func (r *Recorder) discover(op *Op) {
	switch op.Kind {
	case Open, Rename, Remove:
		if r.inodes[op.Name] == 0 {
			_ = r.recordFile(op.Name)
		}
	}
}

// follow keeps track of which name is which inode after a call that succeeded, and fills it into op.
func (r *Recorder) follow(op *Op) {
	switch op.Kind {
	case Create:
		op.Inode = r.newInode(op.Name)
	case Open:
		op.Inode = r.inodes[op.Name]
	case Rename:
		op.Inode = r.inodes[op.Name]
		delete(r.inodes, op.Name)
		r.inodes[op.NewName] = op.Inode
	case Remove:
		op.Inode = r.inodes[op.Name]
		delete(r.inodes, op.Name)
	}
}

// Kill makes the process end here, as far as the directory can tell: every call on what was opened so
// far returns ErrKilled, nothing of it reaches the disk or the trace, and the lock is released. What was
// written is still in the page cache, and as durable as it was. OpenDir then opens the directory again.
//
// The descriptors of files stay open until their Close or until they are garbage, so that a
// goroutine that outlives the kill maps no other file by the same number.
func (r *Recorder) Kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kill()
}

func (r *Recorder) kill() {
	r.life++
	r.killAt = nil
	for _, d := range r.dirs {
		_ = d.under.Close()
	}
	r.dirs = nil
	r.trace = append(r.trace, Op{Kind: Kill})
}

// KillAtNextWrite kills at the next write that match accepts: it reaches the page cache as a whole but not the
// disk, even on an O_DSYNC descriptor, and returns ErrKilled, as does every call after it. match is called with
// the lock of the recorder held, so it must not call the recorder. nil calls it off.
func (r *Recorder) KillAtNextWrite(match func(Op) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.killAt = match
}

// Mark puts a value of the test into the trace: "operation 7 is issued", say.
func (r *Recorder) Mark(value any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trace = append(r.trace, Op{Kind: Mark, Value: value})
}

// Trace is what was recorded so far.
func (r *Recorder) Trace() Trace {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trace[:len(r.trace):len(r.trace)]
}
