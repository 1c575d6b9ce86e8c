//go:build cgo

package rival

import (
	"errors"

	"github.com/PowerDNS/lmdb-go/lmdb"
)

const (
	lmdbMapBytes = 64 << 30 // address space; the file grows as it is filled
	lmdbReaders  = 1024
)

func lmdbRival() *Rival {
	return &Rival{
		Name: "LMDB", Module: "github.com/PowerDNS/lmdb-go", Durable: true, Reads: true, Ordered: true, Missing: here, Open: openLMDB,
		Settings: "synced, no read-ahead, values read in place in a read transaction that each reader keeps and renews",
	}
}

func openLMDB(dir string) (Store, error) {
	env, err := lmdb.NewEnv()
	if err != nil {
		return nil, err
	}
	s := &lmdbStore{env: env}
	if err := s.open(dir); err != nil {
		return nil, errors.Join(err, env.Close())
	}
	return s, nil
}

type lmdbStore struct {
	env *lmdb.Env
	dbi lmdb.DBI
}

func (s *lmdbStore) open(dir string) error {
	if err := s.env.SetMapSize(lmdbMapBytes); err != nil {
		return err
	}
	if err := s.env.SetMaxReaders(lmdbReaders); err != nil {
		return err
	}
	// MapAsync, NoSync and NoMetaSync would break the promise. Its documentation: NoReadahead for random reads.
	if err := s.env.Open(dir, lmdb.NoReadahead, 0o600); err != nil {
		return err
	}
	return s.env.Update(func(txn *lmdb.Txn) (err error) {
		s.dbi, err = txn.OpenRoot(0)
		return err
	})
}

func (s *lmdbStore) Session() (Session, error) {
	txn, err := s.env.BeginTxn(nil, lmdb.Readonly)
	if err != nil {
		return nil, err
	}
	txn.RawRead = true
	txn.Reset()
	return &lmdbSession{lmdbStore: s, txn: txn}, nil
}

func (s *lmdbStore) Load(batch []Pair) error {
	return s.env.Update(func(txn *lmdb.Txn) error {
		for _, p := range batch {
			if err := txn.Put(s.dbi, p.Key, p.Value, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *lmdbStore) Close() error { return s.env.Close() }

type lmdbSession struct {
	*lmdbStore
	txn *lmdb.Txn // between two reads it is reset, and holds nothing
}

func (s *lmdbSession) Set(key, value []byte) error {
	return s.env.Update(func(txn *lmdb.Txn) error { return txn.Put(s.dbi, key, value, 0) })
}

func (s *lmdbSession) View(key []byte, read func(value []byte) error) (bool, error) {
	if err := s.txn.Renew(); err != nil {
		return false, err
	}
	defer s.txn.Reset()
	value, err := s.txn.Get(s.dbi, key)
	if lmdb.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, read(value)
}

func (s *lmdbSession) Scan(start []byte, n int, visit func(key, value []byte)) error {
	if n <= 0 {
		return nil
	}
	if err := s.txn.Renew(); err != nil {
		return err
	}
	defer s.txn.Reset()
	cursor, err := s.txn.OpenCursor(s.dbi)
	if err != nil {
		return err
	}
	defer cursor.Close()
	key, value, err := cursor.Get(start, nil, lmdb.SetRange)
	for ; err == nil; key, value, err = cursor.Get(nil, nil, lmdb.Next) {
		visit(key, value)
		if n--; n == 0 {
			return nil
		}
	}
	if lmdb.IsNotFound(err) {
		return nil
	}
	return err
}

func (s *lmdbSession) Close() error {
	s.txn.Abort()
	return nil
}
