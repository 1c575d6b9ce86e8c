package mmapio

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Advice tells the system how a mapping will be read.
type Advice int

// The advices.
const (
	Random     Advice = unix.MADV_RANDOM
	Sequential Advice = unix.MADV_SEQUENTIAL
	WillNeed   Advice = unix.MADV_WILLNEED
)

// Mapping is a range of the address space in which files are mapped for
// reading. It is unmapped when nothing refers to it any more; who holds only its bytes does not keep it.
type Mapping struct {
	data  []byte
	mu    sync.Mutex // orders MapAt
	files *extents   // shared with the registry of the guard
}

// Map maps the first length bytes of f, which may be closed afterwards. length is positive.
func Map(f File, length int64) (*Mapping, error) {
	addr, err := unix.MmapPtr(int(f.Fd()), 0, nil, uintptr(length), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, &os.PathError{Op: "mmap", Path: f.Name(), Err: err}
	}
	m := newMapping(addr, length, nil)
	m.files.add(extent{name: f.Name(), end: length})
	return m, nil
}

// Reserve reserves size bytes of address space, and no memory, for MapAt. Where the
// system refuses that much it tries half, down to atLeast. unmapped, if not
// nil, is called from another goroutine when the mapping is gone; it must not refer to the mapping.
func Reserve(size, atLeast int64, unmapped func()) (*Mapping, error) {
	for {
		addr, err := unix.MmapPtr(-1, 0, nil, uintptr(size), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err == nil {
			return newMapping(addr, size, unmapped), nil
		}
		if !errors.Is(err, unix.ENOMEM) || size/2 < atLeast {
			return nil, fmt.Errorf("reserve %d bytes of address space (is it limited, as by ulimit -v?): %w", size, err)
		}
		size /= 2
	}
}

func newMapping(addr unsafe.Pointer, length int64, unmapped func()) *Mapping {
	m := &Mapping{data: unsafe.Slice((*byte)(addr), length)}
	m.files = register(uintptr(addr), uintptr(length))
	runtime.AddCleanup(m, func(files *extents) {
		unregister(files)
		_ = unix.MunmapPtr(addr, uintptr(length)) // fails only for a range that was never mapped
		if unmapped != nil {
			unmapped()
		}
	}, m.files)
	return m
}

// MapAt maps the first length bytes of f at offset at of a reserved mapping, in place of what was there. f may
// be closed afterwards. at is a multiple of the page size.
func (m *Mapping) MapAt(f File, at, length int64) error {
	if at < 0 || length <= 0 || at > int64(len(m.data))-length {
		return fmt.Errorf("map %s: %d bytes at %d do not fit into %d", f.Name(), length, at, len(m.data))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	addr := unsafe.Pointer(&m.data[at])
	if _, err := unix.MmapPtr(int(f.Fd()), 0, addr, uintptr(length), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_FIXED); err != nil {
		return &os.PathError{Op: "mmap", Path: f.Name(), Err: err}
	}
	m.files.add(extent{name: f.Name(), start: at, end: at + length})
	return nil
}

// Bytes is the whole range. It may be read where a file is mapped, while the Mapping is
// kept alive, inside a guard.
func (m *Mapping) Bytes() []byte { return m.data }

// Advise tells the system how the bytes from off to off+n will be read. off is a multiple of the page size.
func (m *Mapping) Advise(off, n int64, advice Advice) error {
	if err := unix.Madvise(m.data[off:off+n], int(advice)); err != nil {
		return fmt.Errorf("madvise: %w", err)
	}
	return nil
}

// Lock keeps the bytes from off to off+n in memory (mlock). It fails beyond the limit of the process (ulimit -l).
func (m *Mapping) Lock(off, n int64) error {
	if err := unix.Mlock(m.data[off : off+n]); err != nil {
		return fmt.Errorf("mlock %d bytes (see ulimit -l): %w", n, err)
	}
	return nil
}
