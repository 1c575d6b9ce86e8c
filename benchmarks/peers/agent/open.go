package agent

import (
	"errors"
	"time"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

func (s *server) open(r *Request, reply *Reply) (err error) {
	if s.rival, err = rival.Find(r.Rival); err != nil {
		return err
	}
	s.emptyResident, s.emptyObjects, s.emptyHeap = weigh(s.pids())
	reply.Took, err = s.openAndRead(r)
	return err
}

// openAndRead is the time to the value of the key in the middle of N, if there are any.
func (s *server) openAndRead(r *Request) (time.Duration, error) {
	started, n := time.Now(), r.N
	store, err := s.openStore(r)
	if err != nil {
		return 0, err
	}
	s.store = store
	if n == 0 {
		return time.Since(started), nil
	}
	session, err := store.Session()
	if err != nil {
		return 0, err
	}
	var key [benchmarks.KeyLen]byte
	benchmarks.PutKey(key[:], n/2)
	ok, err := session.View(key[:], func(value []byte) error {
		if len(value) != r.valueLen() {
			return errWrongAnswer
		}
		return nil
	})
	took := time.Since(started)
	if !ok && err == nil {
		err = errWrongAnswer
	}
	return took, errors.Join(err, session.Close())
}

// openStore opens the rival, or ours as the request says.
func (s *server) openStore(r *Request) (rival.Store, error) {
	if r.Own == nil {
		return s.rival.Open(s.dir)
	}
	if s.rival.Name != rival.Ours {
		return nil, errNotOurs
	}
	return rival.OpenOurs(s.dir, *r.Own)
}

// reopenTime bounds how long a slow opener is opened again and again.
const reopenTime = 2 * time.Second

// reopen opens the store several times in one process, so that its code is in memory, and its files are.
func (s *server) reopen(r *Request, reply *Reply) (err error) {
	if s.rival, err = rival.Find(r.Rival); err != nil {
		return err
	}
	for started := time.Now(); len(reply.Times) < r.Times && (len(reply.Times) == 0 || time.Since(started) < reopenTime); {
		took, err := s.openAndRead(r)
		if err != nil {
			return err
		}
		reply.Times = append(reply.Times, took)
		if err := s.close(r, reply); err != nil {
			return err
		}
	}
	return nil
}
