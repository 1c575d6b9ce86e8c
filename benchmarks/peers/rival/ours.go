package rival

import (
	"context"

	"github.com/tongpengdl/small-db/engine"
)

func ours() *Rival {
	return &Rival{
		Name: Ours, Settings: "default Options", Durable: true, Reads: true, Ordered: true, Compacts: true, Missing: here,
		Open: func(dir string) (Store, error) {
			return OpenOurs(dir, Own{})
		},
	}
}

// Own are the options in which ours may differ from the default ones, where a section says so. The zero value is the default.
type Own struct {
	Unsynced      bool // Sync: SyncNone
	NoCheckpoints bool // but those that are asked for
	FrameAlign    int
}

// OpenOurs opens ours with such options.
func OpenOurs(dir string, o Own) (*OurStore, error) {
	options := engine.Options{Dir: dir, Create: true, DisableBackgroundCheckpoint: o.NoCheckpoints, FrameAlign: o.FrameAlign}
	if o.Unsynced {
		options.Sync = engine.SyncNone
	}
	db, err := engine.Open(options)
	if err != nil {
		return nil, err
	}
	return &OurStore{DB: db}, nil
}

// OurStore is ours. Its database is open to what measures it alone.
type OurStore struct{ DB *engine.DB }

var background = context.Background()

func (s *OurStore) Session() (Session, error) { return ourSession{s.DB}, nil }

func (s *OurStore) Load(batch []Pair) error {
	var b engine.Batch
	for _, p := range batch {
		b.Set(p.Key, p.Value)
	}
	_, err := s.DB.Apply(background, &b)
	return err
}

// Compact is a checkpoint.
func (s *OurStore) Compact() error { return s.DB.Checkpoint(background) }

func (s *OurStore) Close() error { return s.DB.Close() }

type ourSession struct{ db *engine.DB }

func (s ourSession) Set(key, value []byte) error {
	_, err := s.db.Set(background, key, value)
	return err
}

func (s ourSession) View(key []byte, read func(value []byte) error) (bool, error) {
	return s.db.View(key, read)
}

func (s ourSession) Scan(start []byte, n int, visit func(key, value []byte)) error {
	snapshot := s.db.Snapshot()
	if n > 0 {
		for key, value := range snapshot.Scan(start, nil) {
			visit(key, value)
			if n--; n == 0 {
				break
			}
		}
	}
	return snapshot.Err()
}

func (s ourSession) Close() error { return nil }
