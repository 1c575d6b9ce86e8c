package torture

import (
	"context"
	"time"

	"github.com/tongpengdl/small-db/engine"
)

// Store is the part of a database that is tortured. Its methods are those of engine.DB.
type Store interface {
	Set(ctx context.Context, key, value []byte) (engine.Version, error)
	SetUntil(ctx context.Context, key, value []byte, deadline time.Time) (engine.Version, error)
	Delete(ctx context.Context, key []byte) (engine.Version, error)
	Apply(ctx context.Context, b *engine.Batch) (engine.Version, error)
	Entry(key []byte) (engine.Entry, bool, error)
	Checkpoint(ctx context.Context) error
	Version() engine.Version
	Close() error

	// Scan calls each with all entries of one moment, in order; an entry is only valid during the call.
	Scan(each func(engine.Entry)) error
	// Repaired is what opening has found damaged and rebuilt.
	Repaired() []string
}

// OpenFunc opens a store. It is Engine; tests put one that lies in its place.
type OpenFunc func(engine.Options) (Store, error)

// Engine opens a database.
func Engine(opts engine.Options) (Store, error) {
	db, err := engine.Open(opts)
	if err != nil {
		return nil, err
	}
	return database{db}, nil
}

type database struct{ *engine.DB }

func (d database) Scan(each func(engine.Entry)) error {
	s := d.Snapshot()
	for e := range s.Entries(nil, nil) {
		each(e)
	}
	return s.Err()
}

func (d database) Repaired() []string { return d.Stats().Recovery.Repaired }
