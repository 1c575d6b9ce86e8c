package rival

import (
	"errors"

	"github.com/nutsdb/nutsdb"
)

const nutsBucket = "kv"

func nutsdbRival() *Rival {
	return &Rival{
		Name: "nutsdb", Module: "github.com/nutsdb/nutsdb", Durable: true, Reads: true, Compacts: true, Missing: here, Open: openNuts,
		Settings: "SyncEnable, file I/O, keys and values in memory; not scanned, as its iterator keeps a lock for ever",
	}
}

func openNuts(dir string) (Store, error) {
	db, err := nutsdb.Open(nutsdb.DefaultOptions, nutsdb.WithDir(dir),
		nutsdb.WithSyncEnable(true),
		nutsdb.WithRWMode(nutsdb.FileIO),                        // mapped, it would sync a whole segment of 256 MiB with each set
		nutsdb.WithEntryIdxMode(nutsdb.HintKeyValAndRAMIdxMode), // its fastest reads
	)
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *nutsdb.Tx) error {
		if tx.ExistBucket(nutsdb.DataStructureBTree, nutsBucket) {
			return nil
		}
		return tx.NewBucket(nutsdb.DataStructureBTree, nutsBucket)
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &nutsStore{db}, nil
}

type nutsStore struct{ db *nutsdb.DB }

func (s *nutsStore) Session() (Session, error) { return nutsSession(*s), nil }

func (s *nutsStore) Load(batch []Pair) error {
	return s.db.Update(func(tx *nutsdb.Tx) error {
		for _, p := range batch { // it keeps them
			if err := tx.Put(nutsBucket, append([]byte(nil), p.Key...), append([]byte(nil), p.Value...), nutsdb.Persistent); err != nil {
				return err
			}
		}
		return nil
	})
}

// Compact merges the segments, if there are two.
func (s *nutsStore) Compact() error {
	err := s.db.Merge()
	if errors.Is(err, nutsdb.ErrDontNeedMerge) || errors.Is(err, nutsdb.ErrIsMerging) {
		return nil
	}
	return err
}

func (s *nutsStore) Close() error { return s.db.Close() }

type nutsSession struct{ db *nutsdb.DB }

func (s nutsSession) Set(key, value []byte) error {
	k, v := append([]byte(nil), key...), append([]byte(nil), value...) // it keeps them
	return s.db.Update(func(tx *nutsdb.Tx) error { return tx.Put(nutsBucket, k, v, nutsdb.Persistent) })
}

func (s nutsSession) View(key []byte, read func(value []byte) error) (bool, error) {
	err := s.db.View(func(tx *nutsdb.Tx) error {
		value, err := tx.Get(nutsBucket, key)
		if err != nil {
			return err
		}
		return read(value)
	})
	if errors.Is(err, nutsdb.ErrKeyNotFound) || errors.Is(err, nutsdb.ErrNotFoundKey) {
		return false, nil
	}
	return err == nil, err
}

// Scan: the iterator of this version keeps a read lock on the index that nothing releases, so that the next set would wait for ever; its range scan
// yields values alone, and knows no limit.
func (s nutsSession) Scan([]byte, int, func(key, value []byte)) error { return errCannot }

func (s nutsSession) Close() error { return nil }
