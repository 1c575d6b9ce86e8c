package rival

import (
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"
)

const boltMapBytes = 8 << 30

var boltBucket = []byte("kv")

func bboltRival() *Rival {
	return &Rival{
		Name: "bbolt", Module: "go.etcd.io/bbolt", Durable: true, Reads: true, Ordered: true, Missing: here, Open: openBolt,
		Settings: "synced; Update for one writer, Batch for several, a batch being full with one set of each; freelist as a map",
	}
}

func openBolt(dir string) (Store, error) {
	db, err := bbolt.Open(filepath.Join(dir, "bolt.db"), 0o600, &bbolt.Options{
		FreelistType:    bbolt.FreelistMapType, // its documentation: faster in almost all circumstances
		InitialMmapSize: boltMapBytes,          // growing the map makes writers wait for readers; address space costs nothing
		NoStatistics:    true,                  // its documentation: of benefit to concurrent reads
	})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(boltBucket)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &boltStore{db: db}, nil
}

type boltStore struct {
	db       *bbolt.DB
	mu       sync.Mutex
	sessions atomic.Int64 // open; changed under mu
}

// Session makes a batch full with one set of each session: one that waited for its default of 1000 sets would always wait for its delay of
// 10 ms instead.
func (s *boltStore) Session() (Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.db.MaxBatchSize = int(s.sessions.Add(1))
	return boltSession{s}, nil
}

func (s *boltStore) Load(batch []Pair) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(boltBucket)
		for _, p := range batch {
			if err := b.Put(p.Key, p.Value); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *boltStore) Close() error { return s.db.Close() }

type boltSession struct{ store *boltStore }

func (s boltSession) Set(key, value []byte) error {
	put := func(tx *bbolt.Tx) error { return tx.Bucket(boltBucket).Put(key, value) }
	if s.store.sessions.Load() == 1 {
		return s.store.db.Update(put)
	}
	return s.store.db.Batch(put)
}

func (s boltSession) View(key []byte, read func(value []byte) error) (ok bool, err error) {
	err = s.store.db.View(func(tx *bbolt.Tx) error {
		value := tx.Bucket(boltBucket).Get(key)
		if ok = value != nil; !ok {
			return nil
		}
		return read(value)
	})
	return ok, err
}

func (s boltSession) Scan(start []byte, n int, visit func(key, value []byte)) error {
	return s.store.db.View(func(tx *bbolt.Tx) error {
		cursor := tx.Bucket(boltBucket).Cursor()
		for key, value := cursor.Seek(start); key != nil && n > 0; key, value = cursor.Next() {
			visit(key, value)
			n--
		}
		return nil
	})
}

func (s boltSession) Close() error {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.db.MaxBatchSize = int(max(s.store.sessions.Add(-1), 1))
	return nil
}
