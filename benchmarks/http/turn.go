package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tongpengdl/small-db/benchmarks"
)

// operation is a kind of request. It makes one for the pair, and verifies the answer.
type operation struct {
	name string
	do   func(c client, p *pair) error
}

var (
	getOperation = operation{"GET", func(c client, p *pair) error {
		value, err := c.get(p.key[:])
		if err != nil {
			return err
		}
		return p.check(value)
	}}
	putOperation = operation{"PUT", func(c client, p *pair) error { return c.put(p.key[:], p.value[:]) }}
)

// result is what came of a turn. Its CPU is that of this process.
type result struct {
	*benchmarks.Slice
	serverCPU time.Duration
}

// failures counts the requests that failed. Its methods may be called concurrently.
type failures struct {
	mu    sync.Mutex
	n     uint64
	first error
}

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n++; f.first == nil {
		f.first = err
	}
}

// err is nil if nothing failed.
func (f *failures) err(s *server, o operation, done uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n == 0 {
		return nil
	}
	return fmt.Errorf("%s: %d of %d requests to %s failed; the first: %w", s.name, f.n, f.n+done, o.name, f.first)
}

// lines are the connections of a turn.
type lines struct {
	clients []client
	close   func() // ends all; it may be called again
}

// connect makes n connections, which are of use until ctx ends, and for so long. Each has made a request already.
func connect(ctx context.Context, s *server, n int, long time.Duration) (l *lines, err error) {
	var conns []net.Conn
	end := func() {
		for _, conn := range conns {
			_ = conn.Close() // it may be closed
		}
	}
	defer func() {
		if err != nil {
			end()
		}
	}()
	l = new(lines)
	for range n {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.addr)
		if err != nil {
			return nil, err
		}
		conns = append(conns, conn)
		if err := conn.SetDeadline(time.Now().Add(long)); err != nil {
			return nil, err
		}
		var first pair
		first.choose(0)
		c := s.client(newWire(conn))
		if err := getOperation.do(c, &first); err != nil {
			return nil, fmt.Errorf("%s: first request on a connection: %w", s.name, err)
		}
		l.clients = append(l.clients, c)
	}
	stop := context.AfterFunc(ctx, end)
	l.close = func() {
		stop()
		end()
	}
	return l, nil
}

// turn lets n connections make one request after the other, each for a random key, for a while.
func (b *bench) turn(s *server, o operation, n int, length time.Duration) (*result, error) {
	l, err := connect(b.ctx, s, n, length+b.patience)
	if err != nil {
		return nil, err
	}
	defer l.close()
	b.seed++
	seed := b.seed * maxConnections
	var failed failures
	before, err := s.cpu()
	if err != nil {
		return nil, err
	}
	slice, err := benchmarks.RunSlice(n, length, func(worker int, stop *atomic.Bool, latencies *benchmarks.Histogram) (uint64, error) {
		return work(l.clients[worker], o, benchmarks.NewNumbers(seed+uint64(worker), b.keys), stop, latencies, &failed), nil
	})
	if err != nil {
		return nil, err
	}
	after, err := s.cpu()
	if err := errors.Join(b.ctx.Err(), failed.err(s, o, slice.Ops), err); err != nil {
		return nil, err
	}
	if slice.Ops == 0 {
		return nil, fmt.Errorf("%s: no request to %s was answered in %v", s.name, o.name, length)
	}
	return &result{slice, after - before}, nil
}

// work is that of one connection. It returns how many requests were answered rightly, once stop is set or the connection is of no use any more.
func work(c client, o operation, keys benchmarks.Numbers, stop *atomic.Bool, latencies *benchmarks.Histogram, failed *failures) (done uint64) {
	var p pair
	benchmarks.PutValue(p.value[:], keys.Next())
	for !stop.Load() {
		p.choose(keys.Next())
		started := time.Now()
		if err := o.do(c, &p); err != nil {
			failed.add(err)
			if errors.Is(err, errAnswer) {
				continue
			}
			return done
		}
		latencies.Add(time.Since(started))
		done++
	}
	return done
}

// load sets all keys.
func (b *bench) load(s *server) error {
	const connections = 128
	l, err := connect(b.ctx, s, connections, b.patience+b.loadTime)
	if err != nil {
		return err
	}
	defer l.close()
	var next, done atomic.Uint64
	var failed failures
	var wg sync.WaitGroup
	for _, c := range l.clients {
		wg.Go(func() {
			var p pair
			for i := next.Add(1) - 1; i < b.keys; i = next.Add(1) - 1 {
				p.choose(i)
				if err := putOperation.do(c, &p); err != nil {
					failed.add(err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return errors.Join(b.ctx.Err(), failed.err(s, putOperation, done.Load()))
}
