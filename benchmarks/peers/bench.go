package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

// dataLen is the user's bytes in a key and its value.
const dataLen = benchmarks.KeyLen + benchmarks.ValueLen

// bench is a run.
type bench struct {
	plan
	ctx     context.Context
	dir     string // of the run, removed at its end
	results *report.Results
	rivals  []*rival.Rival // ours first
	seed    uint64         // of the next turn
	started time.Time

	loaded  map[string]string // the directory of each rival that was loaded with keys, and closed
	readers []*entrant        // all open at the same time, with the keys loaded and read
	costs   costs             // for what is computed on paper
}

// section is a part of a run that can be asked for by name.
type section struct {
	name  string
	run   func(*bench) error
	grows bool // it shows how cost changes as the work grows, on data of its own
}

// sections are all, in their order. Those up to open find the data as it was loaded.
var sections = []section{
	{name: "set", run: (*bench).setSection},
	{name: "open", run: (*bench).openSection},
	{name: "memory", run: (*bench).memorySection},
	{name: "get", run: (*bench).getSection},
	{name: "scan", run: (*bench).scanSection},
	{name: "ycsb", run: (*bench).mixSection},
	{name: "checkpoint", run: (*bench).checkpointSection},
	{name: "kill", run: (*bench).killSection},
	{name: "keys", run: (*bench).keysSection, grows: true},
	{name: "values", run: (*bench).valuesSection, grows: true},
	{name: "writers", run: (*bench).writersSection, grows: true},
	{name: "delta", run: (*bench).deltaSection, grows: true},
	{name: "growth", run: (*bench).growthSection, grows: true},
	{name: "deletes", run: (*bench).deletesSection, grows: true},
	{name: "snapshot", run: (*bench).snapshotSection, grows: true},
	{name: "paper", run: (*bench).paperSection, grows: true},
	{name: "large", run: (*bench).largeSection},
}

func sectionNames() []string {
	names := make([]string, len(sections))
	for i, s := range sections {
		names[i] = s.name
	}
	return names
}

// measure runs the sections; all if only is empty. What was measured before an error is returned with it.
func measure(ctx context.Context, p plan, parent string, only, engines []string) (*report.Results, error) {
	for _, name := range only {
		if !slices.Contains(sectionNames(), name) {
			return nil, fmt.Errorf("no section is called %q", name)
		}
	}
	if err := checkDisk(parent, p.freeNeeded); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, "small-db-peers")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b := &bench{
		plan: p, ctx: ctx, dir: dir, started: time.Now(), loaded: map[string]string{},
		results: &report.Results{Ours: rival.Ours, Ratios: map[string]float64{}},
	}
	defer b.closeReaders()
	if err := b.choose(engines); err != nil {
		return nil, err
	}
	for _, s := range sections {
		if len(only) > 0 && !slices.Contains(only, s.name) || len(only) == 0 && s.grows && !b.growth {
			continue
		}
		b.say("%s", s.name)
		if err := s.run(b); err != nil {
			return b.results, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return b.results, nil
}

// checkDisk refuses a directory in memory, and a disk without room.
func checkDisk(dir string, needed int64) error {
	if err := benchmarks.CheckDirectory(dir); err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if free := int64(fs.Bavail) * int64(fs.Bsize); free < needed {
		return fmt.Errorf("%s has %d GiB left, and %d are needed; name another one with -dir", dir, free>>30, needed>>30)
	}
	return nil
}

// choose takes the rivals that can be measured here.
func (b *bench) choose(names []string) error {
	for _, name := range names {
		if _, err := rival.Find(name); err != nil {
			return err
		}
	}
	for _, r := range rival.All() {
		if len(names) > 0 && r.Name != rival.Ours && !slices.Contains(names, r.Name) {
			continue
		}
		e := report.Engine{Name: r.Name, Version: report.Version(r.Module), Settings: r.Settings, Limit: r.Limit}
		if err := r.Missing(); err != nil {
			e.Missing = err.Error()
		} else {
			b.rivals = append(b.rivals, r)
		}
		b.results.Engines = append(b.results.Engines, e)
	}
	return nil
}

// say tells how far the run is.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%4.0fs  %s\n", time.Since(b.started).Seconds(), fmt.Sprintf(format, args...))
}

func (b *bench) note(format string, args ...any) {
	note := fmt.Sprintf(format, args...)
	b.say("%s", note)
	b.results.Notes = append(b.results.Notes, note)
}

// entrant is a rival that takes part in turns.
type entrant struct {
	rival *rival.Rival
	name  string // in the rows
	close bool   // a ratio is taken of it: it takes part in all rounds
	agent *agent.Agent
	dir   string
	fresh *agent.Reply // what it weighed when every key had been read once; of readers only
}

// enter starts an agent that opens a rival in a directory, which is made if need be. n is how many keys there are.
func (b *bench) enter(r *rival.Rival, dir string, n uint64) (*entrant, error) {
	e, _, err := b.enterAs(r, agent.Request{Dir: dir, N: n})
	return e, err
}

// enterAs is enter as a request says, and what came of it.
func (b *bench) enterAs(r *rival.Rival, request agent.Request) (*entrant, *agent.Reply, error) {
	if err := os.MkdirAll(request.Dir, 0o700); err != nil {
		return nil, nil, err
	}
	a, err := b.startAgent()
	if err != nil {
		return nil, nil, err
	}
	request.Do, request.Rival = agent.Open, r.Name
	reply, err := a.Do(request)
	if err != nil {
		a.Kill()
		return nil, nil, err
	}
	return &entrant{rival: r, name: r.Name, agent: a, dir: request.Dir}, reply, nil
}

func (b *bench) startAgent() (*agent.Agent, error) {
	a, err := agent.Start(b.ctx)
	if err == nil {
		a.Patience = b.patience
	}
	return a, err
}

// leave closes the rival, ends its agent and removes its data.
func (e *entrant) leave() error {
	_, err := e.agent.Close()
	e.agent.Kill()
	return errors.Join(err, os.RemoveAll(e.dir))
}

// path is a new directory of the run; it does not exist yet.
func (b *bench) path(parts ...string) string {
	return filepath.Join(b.dir, strings.ReplaceAll(strings.Join(parts, "-"), " ", "_"))
}

// failed is what becomes of an error of one rival: ours ends the run, the others' are noted.
func (b *bench) failed(r *rival.Rival, err error) error {
	if err == nil {
		return nil
	}
	if b.ctx.Err() != nil {
		return b.ctx.Err()
	}
	if r.Name == rival.Ours {
		return err
	}
	b.note("%s dropped out: %v", r.Name, err)
	return nil
}
