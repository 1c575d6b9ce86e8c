package rival

import (
	"sync"

	"github.com/puzpuzpuz/xsync/v4"
)

// The maps are durable in no way: they are the limit of reads in a Go program.

func mapRival() *Rival {
	return &Rival{
		Name: "map+RWMutex", Settings: "map[string][]byte behind a sync.RWMutex", Reads: true, Limit: true, Missing: here,
		Open: func(string) (Store, error) { return volatile{&lockedMap{m: map[string][]byte{}}}, nil },
	}
}

func xsyncRival() *Rival {
	return &Rival{
		Name: "xsync.Map", Module: "github.com/puzpuzpuz/xsync/v4", Settings: "xsync.Map[string, []byte]", Reads: true, Limit: true, Missing: here,
		Open: func(string) (Store, error) { return volatile{xsyncMap{xsync.NewMap[string, []byte]()}}, nil },
	}
}

// table is a map for many goroutines. Values in it never change.
type table interface {
	store(key string, value []byte)
	load(key string) ([]byte, bool)
}

type lockedMap struct {
	mu sync.RWMutex
	m  map[string][]byte
}

func (t *lockedMap) store(key string, value []byte) {
	t.mu.Lock()
	t.m[key] = value
	t.mu.Unlock()
}

func (t *lockedMap) load(key string) ([]byte, bool) {
	t.mu.RLock()
	value, ok := t.m[key]
	t.mu.RUnlock()
	return value, ok
}

type xsyncMap struct{ m *xsync.Map[string, []byte] }

func (t xsyncMap) store(key string, value []byte) { t.m.Store(key, value) }

func (t xsyncMap) load(key string) ([]byte, bool) { return t.m.Load(key) }

// volatile is a table as a Store, and as a Session of it.
type volatile struct{ table table }

func (s volatile) Session() (Session, error) { return s, nil }

func (s volatile) Load(batch []Pair) error {
	for _, p := range batch {
		s.table.store(string(p.Key), append([]byte(nil), p.Value...))
	}
	return nil
}

func (s volatile) Set(key, value []byte) error {
	s.table.store(string(key), append([]byte(nil), value...))
	return nil
}

func (s volatile) View(key []byte, read func(value []byte) error) (bool, error) {
	value, ok := s.table.load(inPlaceString(key))
	if !ok {
		return false, nil
	}
	return true, read(value)
}

func (s volatile) Scan([]byte, int, func(key, value []byte)) error { return errCannot }

func (s volatile) Close() error { return nil }
