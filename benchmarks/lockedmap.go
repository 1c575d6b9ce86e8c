package benchmarks

import "sync"

// LockedMap is what reads must outrun: a Go map behind a sync.RWMutex. Any number of goroutines may use it.
type LockedMap struct {
	mu sync.RWMutex
	m  map[string][]byte
}

// NewLockedMap makes room for n keys.
func NewLockedMap(n int) *LockedMap { return &LockedMap{m: make(map[string][]byte, n)} }

// Set sets key to a copy of value.
func (m *LockedMap) Set(key, value []byte) {
	value = append([]byte(nil), value...) // a value in the map never changes
	m.mu.Lock()
	m.m[string(key)] = value
	m.mu.Unlock()
}

// AppendGet appends the value of key to dst, as the engine's AppendGet does.
func (m *LockedMap) AppendGet(dst, key []byte) ([]byte, bool) {
	m.mu.RLock()
	value, ok := m.m[string(key)]
	m.mu.RUnlock()
	return append(dst, value...), ok
}
