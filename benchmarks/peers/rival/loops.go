package rival

import (
	"sync"

	"github.com/tongpengdl/small-db/benchmarks"
)

// The loops write what our log writes, and nothing else: they keep no index, and nothing can be read from them.

func writeLoopRival() *Rival {
	return &Rival{
		Name: "bare pwrite loop", Settings: "one block after the other, O_DSYNC, file of zeros", Limit: true, Missing: here,
		Open: func(dir string) (Store, error) {
			loop, err := benchmarks.NewWriteLoop(dir, benchmarks.LogLen)
			if err != nil {
				return nil, err
			}
			return &loopStore{write: loop.Set, close: loop.Close, mu: new(sync.Mutex)}, nil
		},
	}
}

func groupLoopRival() *Rival {
	return &Rival{
		Name: "bare group commit", Settings: "a frame for each group, O_DSYNC, file of zeros", Limit: true, Missing: here,
		Open: func(dir string) (Store, error) {
			loop, err := benchmarks.NewGroupLoop(dir, benchmarks.LogLen)
			if err != nil {
				return nil, err
			}
			return &loopStore{write: loop.Set, close: loop.Close}, nil
		},
	}
}

type loopStore struct {
	write func(key, value []byte) error
	close func() error
	mu    *sync.Mutex // for a loop that one goroutine uses; nil for others
}

func (s *loopStore) Session() (Session, error) { return loopSession{s}, nil }

func (s *loopStore) Load([]Pair) error { return errCannot }

func (s *loopStore) Close() error { return s.close() }

type loopSession struct{ store *loopStore }

func (s loopSession) Set(key, value []byte) error {
	if s.store.mu != nil {
		s.store.mu.Lock()
		defer s.store.mu.Unlock()
	}
	return s.store.write(key, value)
}

func (s loopSession) View([]byte, func(value []byte) error) (bool, error) { return false, errCannot }

func (s loopSession) Scan([]byte, int, func(key, value []byte)) error { return errCannot }

func (s loopSession) Close() error { return nil }
