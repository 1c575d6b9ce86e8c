package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

var errSlow = errors.New("loading takes too long")

// loadAll loads each rival that keeps its data with the keys, compacts it and closes it: loaded says where it lies.
func (b *bench) loadAll() error {
	if len(b.loaded) > 0 {
		return nil
	}
	for _, r := range b.rivals {
		if !r.Durable {
			continue
		}
		dir := b.path("keys", r.Name)
		if err := b.loadOne(r, dir, b.keys); err != nil {
			if err := errors.Join(b.failed(r, err), os.RemoveAll(dir)); err != nil {
				return err
			}
			continue
		}
		b.loaded[r.Name] = dir
	}
	return nil
}

// loadOne loads n keys into a new directory.
func (b *bench) loadOne(r *rival.Rival, dir string, n uint64) error {
	b.say("load %s, %d keys", r.Name, n)
	e, err := b.enter(r, dir, 0)
	if err != nil {
		return err
	}
	defer e.agent.Kill()
	load, err := b.load(e, n)
	if err != nil {
		return err
	}
	compact, err := e.agent.Do(agent.Request{Do: agent.Compact, Weigh: true})
	if err != nil {
		return err
	}
	closing, err := e.agent.Close()
	if err != nil {
		return err
	}
	b.results.Add(fmt.Sprintf("load, %s keys in batches, in key order", count(n)), r.Name, load.Rate(), report.PerSecond)
	written := float64(load.Written + compact.Written + closing.Written)
	b.results.Add(fmt.Sprintf("written per byte, load of %s keys and compaction", count(n)), r.Name, written/(float64(n)*dataLen), report.Times)
	return nil
}

func (b *bench) load(e *entrant, n uint64) (*agent.Reply, error) {
	load, err := e.agent.Do(agent.Request{Do: agent.Load, N: n, For: b.loadTime, Weigh: true})
	if err == nil && load.Ops < n {
		return nil, fmt.Errorf("%w: %d of %d keys in %s", errSlow, load.Ops, n, load.Took.Round(time.Second))
	}
	return load, err
}

// count is a number of keys in words.
func count(n uint64) string {
	switch {
	case n >= 1e9 && n%1e8 == 0:
		return fmt.Sprintf("%g G", float64(n)/1e9)
	case n >= 1e6 && n%1e5 == 0:
		return fmt.Sprintf("%g M", float64(n)/1e6)
	case n >= 1e3 && n%100 == 0:
		return fmt.Sprintf("%g k", float64(n)/1e3)
	}
	return fmt.Sprint(n)
}

// open returns all that can be read, open at the same time, with the keys loaded and each of them read once: whoever keeps a cache of its own has it filled. Later
// sections change them.
func (b *bench) open() ([]*entrant, error) {
	if b.readers != nil {
		return b.readers, nil
	}
	if err := b.loadAll(); err != nil {
		return nil, err
	}
	for _, r := range b.rivals {
		dir, ok := b.loaded[r.Name]
		if !ok && (r.Durable || !r.Reads) {
			continue
		}
		e, err := b.openAndRead(r, dir)
		if err != nil {
			if err := b.failed(r, err); err != nil {
				return nil, err
			}
			continue
		}
		b.readers = append(b.readers, e)
	}
	return b.readers, nil
}

func (b *bench) openAndRead(r *rival.Rival, dir string) (*entrant, error) {
	b.say("open and read %s", r.Name)
	e, err := b.openOne(r, dir, b.keys)
	if err != nil {
		return nil, err
	}
	if e.fresh, err = e.agent.Do(agent.Request{Do: agent.Memory, N: b.keys, Warm: true}); err != nil {
		e.agent.Kill()
		return nil, err
	}
	return e, nil
}

// openOne opens what was loaded with n keys, or loads what forgets everything.
func (b *bench) openOne(r *rival.Rival, dir string, n uint64) (*entrant, error) {
	if r.Durable {
		return b.enter(r, dir, n)
	}
	e, err := b.enter(r, b.path("volatile", r.Name), 0)
	if err != nil {
		return nil, err
	}
	if _, err := b.load(e, n); err != nil {
		e.agent.Kill()
		return nil, err
	}
	return e, nil
}

// closeReaders ends all that open has opened, and removes their data.
func (b *bench) closeReaders() {
	for _, e := range b.readers {
		if err := e.leave(); err != nil && b.ctx.Err() == nil {
			b.note("%s: close: %v", e.name, err)
		}
	}
	b.readers, b.loaded = nil, map[string]string{}
}
