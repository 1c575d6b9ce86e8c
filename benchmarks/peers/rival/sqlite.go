package rival

import (
	"database/sql"
	"errors"
	"net/url"
	"path/filepath"
	"sync"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

func sqliteRival() *Rival {
	return &Rival{
		Name: "SQLite", Module: "modernc.org/sqlite", Durable: true, Reads: true, Ordered: true, Compacts: true, Missing: here, Open: openSQLite,
		Settings: "WAL, synchronous=FULL, mapped reads, WITHOUT ROWID, prepared statements, one connection for all writers and one for each reader",
	}
}

const (
	sqliteTable = `CREATE TABLE IF NOT EXISTS kv (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID` // one tree instead of two
	sqliteSet   = `INSERT INTO kv (k, v) VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v`
	sqliteGet   = `SELECT v FROM kv WHERE k = ?`
	sqliteScan  = `SELECT k, v FROM kv WHERE k >= ? ORDER BY k LIMIT ?`
)

// sqlitePragmas: in WAL mode FULL syncs the log with each commit; the default of some drivers does not.
var sqlitePragmas = []string{"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)", "mmap_size(2147418112)"}

func openSQLite(dir string) (Store, error) {
	query := url.Values{"_pragma": sqlitePragmas, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "sqlite.db")+"?"+query.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(1 << 10) // a connection costs much to make
	s := &sqliteStore{db: db}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

type sqliteStore struct {
	db     *sql.DB
	mu     sync.Mutex // held by who writes: waiting here costs less than SQLITE_BUSY and its back-off
	writer *sql.Conn
	set    *sql.Stmt
}

func (s *sqliteStore) prepare() (err error) {
	if s.writer, err = s.db.Conn(background); err != nil {
		return err
	}
	if _, err = s.writer.ExecContext(background, sqliteTable); err != nil {
		return err
	}
	s.set, err = s.writer.PrepareContext(background, sqliteSet)
	return err
}

func (s *sqliteStore) Session() (Session, error) { return &sqliteSession{sqliteStore: s}, nil }

func (s *sqliteStore) Load(batch []Pair) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	tx, err := s.writer.BeginTx(background, nil)
	if err != nil {
		return err
	}
	set := tx.Stmt(s.set)
	for _, p := range batch {
		if _, err := set.Exec(p.Key, p.Value); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

// Compact moves the log into the database.
func (s *sqliteStore) Compact() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.writer.ExecContext(background, "PRAGMA wal_checkpoint(RESTART)")
	return err
}

func (s *sqliteStore) Close() error {
	return errors.Join(s.set.Close(), s.writer.Close(), s.db.Close())
}

type sqliteSession struct {
	*sqliteStore
	reader    *sql.Conn // made with the first read: most writers need none
	get, scan *sql.Stmt
}

func (s *sqliteSession) read() (err error) {
	if s.reader != nil {
		return nil
	}
	if s.reader, err = s.db.Conn(background); err != nil {
		return err
	}
	if s.get, err = s.reader.PrepareContext(background, sqliteGet); err != nil {
		return err
	}
	s.scan, err = s.reader.PrepareContext(background, sqliteScan)
	return err
}

func (s *sqliteSession) Set(key, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.set.Exec(key, value)
	return err
}

func (s *sqliteSession) View(key []byte, read func(value []byte) error) (bool, error) {
	if err := s.read(); err != nil {
		return false, err
	}
	rows, err := s.get.Query(key)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	if !rows.Next() {
		return false, rows.Err()
	}
	var value sql.RawBytes // the driver's own copy
	if err := rows.Scan(&value); err != nil {
		return false, err
	}
	return true, read(value)
}

func (s *sqliteSession) Scan(start []byte, n int, visit func(key, value []byte)) error {
	if err := s.read(); err != nil {
		return err
	}
	rows, err := s.scan.Query(start, n)
	if err != nil {
		return err
	}
	defer rows.Close()
	var key, value sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&key, &value); err != nil {
			return err
		}
		visit(key, value)
	}
	return rows.Err()
}

func (s *sqliteSession) Close() error {
	if s.reader == nil {
		return nil
	}
	return errors.Join(s.get.Close(), s.scan.Close(), s.reader.Close())
}
