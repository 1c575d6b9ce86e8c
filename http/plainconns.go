package http

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// plainConns are the plain connections of a server. All methods may be called concurrently.
type plainConns struct {
	mu       sync.Mutex
	conns    map[*plainConn]struct{}
	leaving  bool          // no more are started
	watching *time.Timer   // runs watch, while conns is not empty
	gone     chan struct{} // made by wait, closed when conns is empty
}

// start runs c.
func (p *plainConns) start(c *plainConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leaving {
		_ = c.conn.Close()
		return
	}
	if p.conns == nil {
		p.conns = make(map[*plainConn]struct{})
	}
	p.conns[c] = struct{}{}
	if len(p.conns) == 1 {
		p.watching = time.AfterFunc(watchInterval, p.watch)
	}
	go func() {
		defer p.remove(c)
		c.serve()
	}()
}

// remove takes note that c is not plain any more. More than once is harmless.
func (p *plainConns) remove(c *plainConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	if len(p.conns) > 0 {
		return
	}
	p.watching.Stop()
	if p.gone != nil {
		close(p.gone)
		p.gone = nil
	}
}

// watchInterval is how often requests are looked at that take long.
const watchInterval = time.Second

// watch looks after requests that take long: one timer does it for all, so that a request that takes none has nothing to set up
// for it.
func (p *plainConns) watch() {
	p.mu.Lock()
	conns := slices.Collect(maps.Keys(p.conns))
	p.mu.Unlock()
	now := time.Now()
	for _, c := range conns { // it may ask the system, which nobody who connects shall wait for
		c.watch(now)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.conns) > 0 {
		p.watching.Reset(watchInterval)
	}
}

// leave ends all connections, each as soon as it answers nothing.
func (p *plainConns) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leaving {
		return // a second time would end what has a little time left
	}
	p.leaving = true
	for c := range p.conns {
		c.leave()
	}
}

// wait returns when all connections have ended after leave, or with the error of ctx.
func (p *plainConns) wait(ctx context.Context) error {
	p.mu.Lock()
	if len(p.conns) == 0 {
		p.mu.Unlock()
		return nil
	}
	if p.gone == nil {
		p.gone = make(chan struct{})
	}
	gone := p.gone
	p.mu.Unlock()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close cuts all connections off.
func (p *plainConns) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving = true
	for c := range p.conns {
		c.cancel()
		_ = c.conn.Close()
	}
}
