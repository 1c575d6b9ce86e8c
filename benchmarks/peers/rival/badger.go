package rival

import (
	"errors"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

func badgerRival() *Rival {
	return &Rival{
		Name: "badger", Module: "github.com/dgraph-io/badger/v4", Durable: true, Reads: true, Ordered: true, Compacts: true, Missing: here, Open: openBadger,
		Settings: "SyncWrites, no compression and no block cache, no conflict detection, no metrics",
	}
}

func openBadger(dir string) (Store, error) {
	db, err := badger.Open(badger.DefaultOptions(dir).
		WithSyncWrites(true).
		WithCompression(options.None).WithBlockCacheSize(0). // its documentation: without compression tables are read from the map, a cache is waste
		WithDetectConflicts(false).                          // a plain set has none
		WithMetricsEnabled(false).
		WithLogger(nil))
	if err != nil {
		return nil, err
	}
	return &badgerStore{db}, nil
}

type badgerStore struct{ db *badger.DB }

func (s *badgerStore) Session() (Session, error) { return badgerSession(*s), nil }

func (s *badgerStore) Load(batch []Pair) error {
	b := s.db.NewWriteBatch() // keeps keys and values until Flush
	defer b.Cancel()
	for _, p := range batch {
		if err := b.Set(p.Key, p.Value); err != nil {
			return err
		}
	}
	return b.Flush()
}

func (s *badgerStore) Compact() error { return s.db.Flatten(2) }

func (s *badgerStore) Close() error { return s.db.Close() }

type badgerSession struct{ db *badger.DB }

func (s badgerSession) Set(key, value []byte) error {
	return s.db.Update(func(txn *badger.Txn) error { return txn.Set(key, value) })
}

func (s badgerSession) View(key []byte, read func(value []byte) error) (ok bool, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		ok = true
		return item.Value(read)
	})
	return ok, err
}

func (s badgerSession) Scan(start []byte, n int, visit func(key, value []byte)) error {
	return s.db.View(func(txn *badger.Txn) error {
		opts := badger.DefaultIteratorOptions
		opts.PrefetchValues = false // the values lie beside their keys in the tables
		it := txn.NewIterator(opts)
		defer it.Close()
		for it.Seek(start); it.Valid() && n > 0; it.Next() {
			item := it.Item()
			if err := item.Value(func(value []byte) error { visit(item.Key(), value); return nil }); err != nil {
				return err
			}
			n--
		}
		return nil
	})
}

func (s badgerSession) Close() error { return nil }
