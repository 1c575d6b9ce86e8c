package rival

import (
	"errors"
	"path/filepath"
	"unsafe"

	"github.com/tidwall/buntdb"
)

func buntdbRival() *Rival {
	return &Rival{
		Name: "buntdb", Module: "github.com/tidwall/buntdb", Durable: true, Reads: true, Ordered: true, Compacts: true, Missing: here, Open: openBunt,
		Settings: "SyncPolicy Always, its own shrinking left on",
	}
}

func openBunt(dir string) (Store, error) {
	db, err := buntdb.Open(filepath.Join(dir, "bunt.db"))
	if err != nil {
		return nil, err
	}
	var config buntdb.Config
	if err := db.ReadConfig(&config); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	config.SyncPolicy = buntdb.Always // the default is once a second
	if err := db.SetConfig(config); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &buntStore{db}, nil
}

type buntStore struct{ db *buntdb.DB }

func (s *buntStore) Session() (Session, error) { return buntSession(*s), nil }

func (s *buntStore) Load(batch []Pair) error {
	return s.db.Update(func(tx *buntdb.Tx) error {
		for _, p := range batch {
			if _, _, err := tx.Set(string(p.Key), string(p.Value), nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// Compact rewrites the file. One that is under way already is as good.
func (s *buntStore) Compact() error {
	err := s.db.Shrink()
	if errors.Is(err, buntdb.ErrShrinkInProcess) {
		return nil
	}
	return err
}

func (s *buntStore) Close() error { return s.db.Close() }

type buntSession struct{ db *buntdb.DB }

func (s buntSession) Set(key, value []byte) error {
	k, v := string(key), string(value) // it keeps them
	return s.db.Update(func(tx *buntdb.Tx) error {
		_, _, err := tx.Set(k, v, nil)
		return err
	})
}

func (s buntSession) View(key []byte, read func(value []byte) error) (bool, error) {
	err := s.db.View(func(tx *buntdb.Tx) error {
		value, err := tx.Get(inPlaceString(key))
		if err != nil {
			return err
		}
		return read(inPlaceBytes(value))
	})
	if errors.Is(err, buntdb.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (s buntSession) Scan(start []byte, n int, visit func(key, value []byte)) error {
	return s.db.View(func(tx *buntdb.Tx) error {
		return tx.AscendGreaterOrEqual("", inPlaceString(start), func(key, value string) bool {
			if n <= 0 {
				return false
			}
			visit(inPlaceBytes(key), inPlaceBytes(value))
			n--
			return n > 0
		})
	})
}

func (s buntSession) Close() error { return nil }

// inPlaceString is b as a string, for a call that does not keep it.
func inPlaceString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// inPlaceBytes is s as bytes, for a reader that changes nothing.
func inPlaceBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
