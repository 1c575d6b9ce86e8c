package mmapio

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
)

// ErrFault is what every *FaultError is, for errors.Is.
var ErrFault = errors.New("mapped bytes cannot be read")

// FaultError says which mapped bytes could not be read: the disk failed, or somebody
// made the file shorter.
type FaultError struct {
	File   string // the name it was opened under
	Offset int64  // in the file, in bytes
}

// Error names the place.
func (e *FaultError) Error() string {
	return fmt.Sprintf("%s at offset %d: %v", e.File, e.Offset, ErrFault)
}

// Is reports whether target is ErrFault.
func (e *FaultError) Is(target error) bool { return target == ErrFault }

// Arm makes a fault in this goroutine a panic, and returns what it replaces, for Recover. The
// two are one guard around reads of mapped bytes:
//
//	defer mmapio.Recover(mmapio.Arm(), &err)
//
// The pair costs some nanoseconds. Guards nest.
func Arm() (previous bool) { return debug.SetPanicOnFault(true) }

// Recover ends a guard. It must be deferred directly. If the goroutine panicked on a
// fault in one of our mappings, it stores a *FaultError in err; any other panic goes on.
func Recover(previous bool, err *error) {
	debug.SetPanicOnFault(previous)
	r := recover()
	if r == nil {
		return
	}
	if fault, ok := r.(interface {
		runtime.Error
		Addr() uintptr
	}); ok {
		if e := locate(fault.Addr()); e != nil {
			*err = e
			return
		}
	}
	panic(r)
}

// registry knows all mappings of the process, so that a guard takes no fault
// for ours that is not.
var registry struct {
	mu       sync.Mutex
	mappings map[*extents]struct{}
}

// extents are the files within one mapping.
type extents struct {
	addr, length uintptr
	mu           sync.Mutex
	files        []extent
}

// extent is a file within a mapping, from start to end of it, in bytes.
type extent struct {
	name       string
	start, end int64
}

func register(addr, length uintptr) *extents {
	x := &extents{addr: addr, length: length}
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if registry.mappings == nil {
		registry.mappings = make(map[*extents]struct{})
	}
	registry.mappings[x] = struct{}{}
	return x
}

func unregister(x *extents) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	delete(registry.mappings, x)
}

func (x *extents) add(e extent) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.files = slices.DeleteFunc(x.files, func(old extent) bool { return old.start >= e.start && old.end <= e.end })
	x.files = append(x.files, e)
}

// locate finds the mapping that holds addr; nil if it is not ours.
func locate(addr uintptr) *FaultError {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	for x := range registry.mappings {
		if addr-x.addr < x.length {
			return x.locate(int64(addr - x.addr))
		}
	}
	return nil
}

func (x *extents) locate(at int64) *FaultError {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range slices.Backward(x.files) { // a later one may lie over part of an earlier one
		if at >= e.start && at < e.end {
			return &FaultError{File: e.name, Offset: at - e.start}
		}
	}
	return &FaultError{File: "reserved address space", Offset: at}
}
