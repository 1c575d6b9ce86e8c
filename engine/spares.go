package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// smallLogBytes is the size of a log that is made while somebody waits for it, in bytes: zeroing
// a whole log takes too long there.
const smallLogBytes = 1 << 20

// spares keeps one prepared log ahead of need, so that no allocation and no zeroing happens while writers wait, and a full
// disk shows up early. A helper goroutine prepares it, or it is a log that nobody needs any more.
type spares struct {
	dir    mmapio.Dir
	size   int64 // of the spare, in bytes
	logger *slog.Logger
	kick   chan struct{} // wakes the helper
	done   chan struct{} // closed when the helper has ended

	preparing sync.Mutex  // held while the helper prepares
	yielding  atomic.Bool // the helper is to give up
	notBefore time.Time   // no spare is prepared, since the disk was full; the helper's

	mu      sync.Mutex
	ready   bool     // the file format.SpareName is whole and waits
	retired []string // logs that may become the spare when it is gone
}

// maxRetired is how many logs are kept back to become the spare, one after the other, instead of new zeros.
const maxRetired = 4

// newSpares starts the helper. ready says that there is a spare.
func newSpares(dir mmapio.Dir, size int64, ready bool, logger *slog.Logger) *spares {
	s := &spares{dir: dir, size: size, logger: logger, ready: ready,
		kick: make(chan struct{}, 1), done: make(chan struct{})}
	go s.help()
	return s
}

// claimedName is what a prepared file is called between take and its going live.
const claimedName = "logfile" + format.TempSuffix

// take returns the name and the size of a prepared file of at least need bytes, which now is the
// caller's. If there is no spare, it makes a small one and the caller waits for that.
func (s *spares) take(need int64) (name string, size int64, err error) {
	claimed, err := s.claim(need)
	if err != nil {
		return "", 0, err
	}
	if claimed {
		return claimedName, s.size, nil
	}
	size = format.Align(max(need, min(s.size, smallLogBytes)), format.BlockSize)
	err = s.make(size)
	if errors.Is(diskError(err), ErrDiskFull) {
		s.yield() // the spare under way is what fills the disk
		err = s.make(size)
	}
	if err != nil {
		return "", 0, err
	}
	return claimedName, size, nil
}

// make prepares a file of this size under claimedName.
func (s *spares) make(size int64) error {
	if err := ignoreMissing(s.dir.Remove(claimedName)); err != nil { // of a take that failed
		return err
	}
	if err := mmapio.Prepare(s.dir, claimedName, size, nil); err != nil {
		return errors.Join(err, ignoreMissing(s.dir.Remove(claimedName)))
	}
	return nil
}

// yield makes the helper give up the spare that it prepares, if it does, and waits for that.
func (s *spares) yield() {
	s.yielding.Store(true)
	s.preparing.Lock()
	defer s.preparing.Unlock()
	s.yielding.Store(false)
}

// errYielded: a log that somebody waits for needs the room more than a spare does.
var errYielded = errors.New("the room is needed for a log")

// claim takes the spare, if there is one that is large enough. It gets another name at once, so
// that the next spare can have its name.
func (s *spares) claim(need int64) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready || need > s.size {
		return false, nil
	}
	s.ready = false
	return true, s.dir.Rename(format.SpareName, claimedName)
}

// want asks the helper for a spare. It does not wait.
func (s *spares) want() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// recycle takes over a log that nobody needs or maps any more, to become the spare now or later, and reports
// whether it did: its size may be another, or there may be enough.
func (s *spares) recycle(name string, size int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if size != s.size || len(s.retired) == maxRetired || slices.Contains(s.retired, name) {
		return slices.Contains(s.retired, name)
	}
	s.retired = append(s.retired, name)
	return s.ready || s.promote() == nil
}

// promote makes the first retired log the spare. The caller holds mu.
func (s *spares) promote() error {
	name := s.retired[0]
	s.retired = s.retired[1:]
	if err := s.dir.Rename(name, format.SpareName); err != nil {
		return err
	}
	s.ready = true
	return nil
}

// help prepares a spare whenever one is wanted.
func (s *spares) help() {
	defer close(s.done)
	for range s.kick {
		err := s.prepare()
		if err != nil {
			s.logger.Warn("no spare log prepared", "bytes", s.size, "error", err)
		}
		if errors.Is(err, errYielded) || errors.Is(diskError(err), ErrDiskFull) {
			s.notBefore = time.Now().Add(fullPause)
		}
	}
}

// fullPause is how long no spare is prepared after the disk was full: meanwhile logs are small, and made when they are needed.
const fullPause = 30 * time.Second

func (s *spares) prepare() error {
	if done, err := s.supply(); done || err != nil {
		return err
	}
	if time.Now().Before(s.notBefore) {
		return nil
	}
	s.preparing.Lock()
	defer s.preparing.Unlock()
	const temp = format.SpareName + format.TempSuffix
	if err := ignoreMissing(s.dir.Remove(temp)); err != nil {
		return err
	}
	interrupted := func() error {
		if s.yielding.Load() {
			return errYielded
		}
		return nil
	}
	if err := mmapio.Prepare(s.dir, temp, s.size, interrupted); err != nil {
		return errors.Join(err, ignoreMissing(s.dir.Remove(temp)))
	}
	s.mu.Lock()
	if s.ready { // a log was retired meanwhile
		s.mu.Unlock() // the removal may take its time, and a commit may want the spare
		return s.dir.Remove(temp)
	}
	defer s.mu.Unlock()
	if err := s.dir.Rename(temp, format.SpareName); err != nil {
		return err
	}
	s.ready = true
	return nil
}

// supply reports whether there is a spare, or makes a retired log the spare.
func (s *spares) supply() (done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready || len(s.retired) == 0 {
		return s.ready, nil
	}
	return true, s.promote()
}

// close ends the helper and removes retired logs. No other method may be called from then on.
func (s *spares) close() error {
	close(s.kick)
	<-s.done
	var errs []error
	for _, name := range s.retired {
		errs = append(errs, ignoreMissing(s.dir.Remove(name)))
	}
	return errors.Join(errs...)
}

// ignoreMissing returns err unless it says that there is no such file.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// diskError makes an error that means a full disk one that is ErrDiskFull as well.
func diskError(err error) error {
	if !errors.Is(err, ErrDiskFull) && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)) {
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}
