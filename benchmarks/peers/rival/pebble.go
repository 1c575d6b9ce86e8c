package rival

import (
	"bytes"
	"errors"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

const (
	pebbleCacheBytes    = 2 << 30
	pebbleMemTableBytes = 64 << 20
	pebbleBloomBits     = 10
)

func pebbleRival() *Rival {
	return &Rival{
		Name: "pebble", Module: "github.com/cockroachdb/pebble/v2", Durable: true, Reads: true, Ordered: true, Compacts: true, Missing: here, Open: openPebble,
		Settings: "pebble.Sync, newest format, cache 2 GiB, memtables 64 MiB, Bloom filters of 10 bits, L0 as in CockroachDB",
	}
}

func openPebble(dir string) (Store, error) {
	opts := &pebble.Options{
		FormatMajorVersion:    pebble.FormatNewest,
		CacheSize:             pebbleCacheBytes,    // all data fits: it is compared with stores in memory
		MemTableSize:          pebbleMemTableBytes, // as CockroachDB sets it, and so the next two
		L0CompactionThreshold: 2,
		L0StopWritesThreshold: 1000,
		Logger:                silent{},
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(pebbleBloomBits) // spares a get the levels without its key
	}
	db, err := pebble.Open(dir, opts)
	if err != nil {
		return nil, err
	}
	return &pebbleStore{db}, nil
}

// silent is told what an engine does, and what it cannot go on after.
type silent struct{}

func (silent) Infof(string, ...any)         {}
func (silent) Warningf(string, ...any)      {}
func (silent) Debugf(string, ...any)        {}
func (silent) Errorf(string, ...any)        {}
func (silent) Fatalf(f string, args ...any) { pebble.DefaultLogger.Fatalf(f, args...) }

type pebbleStore struct{ db *pebble.DB }

func (s *pebbleStore) Session() (Session, error) { return pebbleSession(*s), nil }

func (s *pebbleStore) Load(batch []Pair) error {
	b := s.db.NewBatch()
	for _, p := range batch {
		if err := b.Set(p.Key, p.Value, nil); err != nil {
			return err
		}
	}
	return errors.Join(b.Commit(pebble.Sync), b.Close())
}

func (s *pebbleStore) Compact() error {
	if err := s.db.Flush(); err != nil {
		return err
	}
	return s.db.Compact(background, []byte{0}, bytes.Repeat([]byte{0xff}, 32), true)
}

func (s *pebbleStore) Close() error { return s.db.Close() }

type pebbleSession struct{ db *pebble.DB }

func (s pebbleSession) Set(key, value []byte) error { return s.db.Set(key, value, pebble.Sync) }

func (s pebbleSession) View(key []byte, read func(value []byte) error) (bool, error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = read(value)
	return true, errors.Join(err, closer.Close())
}

func (s pebbleSession) Scan(start []byte, n int, visit func(key, value []byte)) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: start})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && n > 0; ok = it.Next() {
		visit(it.Key(), it.Value())
		n--
	}
	return it.Close()
}

func (s pebbleSession) Close() error { return nil }
