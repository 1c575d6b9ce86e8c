package engine

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/tongpengdl/small-db/mmapio"
)

// WarmUpMode says whether the files of a database are read into memory when it is opened.
type WarmUpMode int

// The modes.
const (
	// WarmUpOff reads nothing ahead: the first read of each page of the checkpoint may have to wait for the disk.
	WarmUpOff WarmUpMode = iota
	// WarmUpBackground reads the checkpoint in the background after Open has returned. Stats.Warm says when it is done.
	WarmUpBackground
	// WarmUpWait reads the checkpoint before Open returns: whoever is ready once Open has returned is ready warm.
	WarmUpWait
)

// warmer touches every page of a checkpoint once.
type warmer struct {
	stopped atomic.Bool
	running sync.WaitGroup
	cold    atomic.Bool // asked for and not done
}

// start warms in the background.
func (w *warmer) start(v *view) {
	w.cold.Store(true)
	w.running.Go(func() { w.warm(v) })
}

// stop ends what start began.
func (w *warmer) stop() {
	w.stopped.Store(true)
	w.running.Wait()
}

// warm reads a byte of every page of the base. A page that cannot be read is for readers to meet.
func (w *warmer) warm(v *view) {
	defer runtime.KeepAlive(v)
	data := v.base.Mapping().Bytes()
	for len(data) > 0 && !w.stopped.Load() {
		n := min(len(data), mmapio.PieceSize)
		_ = touch(data[:n])
		data = data[n:]
	}
	if len(data) == 0 {
		w.cold.Store(false)
	}
}

func touch(data []byte) (err error) {
	defer mmapio.Recover(mmapio.Arm(), &err)
	var sum byte
	for i := 0; i < len(data); i += os.Getpagesize() {
		sum += data[i]
	}
	runtime.KeepAlive(sum)
	return nil
}

// settle does what the options ask for before anybody may read.
func (db *DB) settle() error {
	v := db.view.Load()
	if db.opts.LockMemory {
		if err := db.lock(v); err != nil {
			return err
		}
	}
	if db.opts.WarmUp == WarmUpWait {
		db.warmer.warm(v)
	}
	return nil
}

// lock keeps the base and the logs of the delta in memory.
func (db *DB) lock(v *view) error {
	base := v.base.Mapping()
	if err := db.lockRange(base, 0, int64(len(base.Bytes()))); err != nil {
		return err
	}
	for _, log := range *v.delta.logs.Load() {
		if err := db.lockRange(v.delta.memory, log.start, log.end-log.start); err != nil {
			return err
		}
	}
	return nil
}

// lockPiece is how much is locked in memory at a time, in bytes.
const lockPiece = 1 << 20

// lockRange keeps a part of a mapping in memory, but for pieces that cannot be read: those are for readers to meet, and mlock would try to
// read them without end (seen: Linux 6.18).
func (db *DB) lockRange(m *mmapio.Mapping, off, n int64) error {
	for end := off + n; off < end; off += lockPiece {
		piece := min(lockPiece, end-off)
		if err := touch(m.Bytes()[off : off+piece]); err != nil {
			db.logger.Warn("not locked in memory", "error", err)
			continue
		}
		if err := m.Lock(off, piece); err != nil {
			return err
		}
	}
	return nil
}

// lockLater keeps what has been mapped since Open in memory, too. The limit of the process may not allow it: to be locked is
// worth less than to go on.
func (db *DB) lockLater(m *mmapio.Mapping, off, n int64) {
	if !db.opts.LockMemory {
		return
	}
	if err := db.lockRange(m, off, n); err != nil {
		db.logger.Warn("not locked in memory", "error", err)
	}
}
