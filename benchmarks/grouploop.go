package benchmarks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/tongpengdl/small-db/format"
)

// GroupLoop is the limit of many writers: they append their records to the open group, and a
// flusher writes one group after the other, each as one frame with one pwrite, and answers its writers. It
// keeps no index, orders nothing and checks nothing. It gathers as the engine does. The one checksum covers
// the frame; records have the size that they have in a log of the engine, so that as many blocks are written.
type GroupLoop struct {
	log  *blockLog
	wake chan struct{} // the open group has its first record
	done chan struct{} // closed when the flusher has ended

	mu   sync.Mutex
	open *loopGroup
	ops  atomic.Int64 // in open; read without mu

	// These belong to the flusher.
	hoped  int64  // operations that the next group should have: those of the last one, and those that wait already
	spare  []byte // the buffer of the next group
	groups int64
	total  int64 // operations in all groups
}

type loopGroup struct {
	frame []byte
	err   error         // the outcome of all its writers; written before done is closed
	done  chan struct{} // closed when it is durable
}

const (
	loopHeaderLen   = 24 // length, operations, checksum
	loopYields      = 2
	loopGatherTime  = 100 * time.Microsecond
	loopRecordExtra = 24 // what a record has beside key and value, in bytes
)

// NewGroupLoop prepares a file of size bytes, a multiple of format.BlockSize, in a directory that exists and starts the flusher.
func NewGroupLoop(dir string, size int64) (*GroupLoop, error) {
	log, err := newBlockLog(dir, "grouploop", size)
	if err != nil {
		return nil, err
	}
	l := &GroupLoop{log: log, wake: make(chan struct{}, 1), done: make(chan struct{})}
	l.open = newLoopGroup(nil)
	go l.flush()
	return l, nil
}

func newLoopGroup(buf []byte) *loopGroup {
	return &loopGroup{frame: append(buf[:0], make([]byte, loopHeaderLen)...), done: make(chan struct{})}
}

// Set makes key and value durable. Any number of goroutines may call it.
func (l *GroupLoop) Set(key, value []byte) error {
	l.mu.Lock()
	g := l.open
	g.frame = appendLoopRecord(g.frame, key, value)
	first := l.ops.Add(1) == 1
	l.mu.Unlock()
	if first {
		l.wake <- struct{}{} // the flusher has taken the one for the group before
	}
	<-g.done
	return g.err
}

func appendLoopRecord(dst, key, value []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(key)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(value)))
	dst = append(dst, make([]byte, loopRecordExtra-8)...)
	dst = append(dst, key...)
	return append(dst, value...)
}

func (l *GroupLoop) flush() {
	defer close(l.done)
	for range l.wake {
		l.gather()
		l.mu.Lock()
		g, ops := l.open, l.ops.Load()
		l.open = newLoopGroup(l.spare)
		l.ops.Store(0)
		l.mu.Unlock()
		g.seal(ops)
		g.err = l.log.write(g.frame)
		l.hoped = ops + l.ops.Load()
		l.spare = g.frame
		l.groups, l.total = l.groups+1, l.total+ops
		close(g.done)
	}
}

// gather yields to the writers until as many operations have come as there is hope for, two yields in a row have brought
// none, or 100 µs have passed.
func (l *GroupLoop) gather() {
	ops := l.ops.Load()
	if ops >= l.hoped {
		return
	}
	started := time.Now()
	for fruitless := 0; ops < l.hoped && fruitless < loopYields && time.Since(started) < loopGatherTime; {
		runtime.Gosched()
		before := ops
		if ops = l.ops.Load(); ops == before {
			fruitless++
		} else {
			fruitless = 0
		}
	}
}

// seal completes the frame, up to the end of its last block.
func (g *loopGroup) seal(ops int64) {
	le := binary.LittleEndian
	le.PutUint64(g.frame, uint64(len(g.frame)))
	le.PutUint64(g.frame[8:], uint64(ops))
	le.PutUint64(g.frame[16:], xxhash.Sum64(g.frame[loopHeaderLen:]))
	padded := format.Align(int64(len(g.frame)), format.BlockSize)
	g.frame = append(g.frame, make([]byte, padded-int64(len(g.frame)))...)
}

// OpsPerGroup is the mean over all groups. No Set may be under way.
func (l *GroupLoop) OpsPerGroup() float64 { return float64(l.total) / float64(l.groups) }

// Fd is the descriptor that is written to.
func (l *GroupLoop) Fd() uintptr { return l.log.file.Fd() }

// Close ends the flusher and closes the file. No Set may be under way.
func (l *GroupLoop) Close() error {
	close(l.wake)
	<-l.done
	return l.log.file.Close()
}

var errLoopFrame = errors.New("frame does not verify")

// ReadLoopLog calls visit with every record of a file that a GroupLoop wrote and has not yet filled, in order.
func ReadLoopLog(log []byte, visit func(key, value []byte)) error {
	le := binary.LittleEndian
	for at := uint64(0); at+loopHeaderLen <= uint64(len(log)) && le.Uint64(log[at:]) != 0; {
		length := le.Uint64(log[at:])
		if length < loopHeaderLen || length > uint64(len(log))-at {
			return fmt.Errorf("%w: length %d at %d", errLoopFrame, length, at)
		}
		frame := log[at : at+length]
		if xxhash.Sum64(frame[loopHeaderLen:]) != le.Uint64(frame[16:]) {
			return fmt.Errorf("%w: checksum at %d", errLoopFrame, at)
		}
		ops := uint64(0)
		for rest := frame[loopHeaderLen:]; len(rest) > 0; ops++ {
			key := rest[loopRecordExtra:][:le.Uint32(rest)]
			value := rest[loopRecordExtra+len(key):][:le.Uint32(rest[4:])]
			visit(key, value)
			rest = rest[loopRecordExtra+len(key)+len(value):]
		}
		if ops != le.Uint64(frame[8:]) {
			return fmt.Errorf("%w: %d operations at %d", errLoopFrame, ops, at)
		}
		at += uint64(format.Align(int64(length), format.BlockSize))
	}
	return nil
}
