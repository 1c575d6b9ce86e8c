package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// ErrNoDatabase is what Check returns for a directory that holds no file of a database.
var ErrNoDatabase = errors.New("no database here")

// CheckOptions say how a directory is checked. The zero value checks everything.
type CheckOptions struct {
	// Shallow leaves out the proof that each checkpoint is the one before it and the logs between. The proof takes about
	// 100 bytes of memory for each key changed in these logs, and reads the checkpoints again. Default: false.
	Shallow bool
	// MaxFindings is how many findings are reported; more are only counted. Default: 1,000.
	MaxFindings int
	// Progress is told how many of how many bytes are done, if set, from the goroutine of Check and often. Neither number falls; total does not change.
	Progress func(done, total int64)
}

const defaultMaxFindings = 1000

// Check verifies every checksum, chain and pointer of a data directory, and, unless CheckOptions.Shallow says not to,
// that the checkpoint kept for repair and the logs since make the newest one. It holds the directory's lock, shared, and
// writes nothing. Damage is in the report, not in the error; it goes on behind damage.
//
// Errors: mmapio.ErrLocked (a process has the database open), ErrNoDatabase, the context's, and those of opening the directory.
func Check(ctx context.Context, dir string, opts CheckOptions) (*Report, error) {
	c, closeIt, err := openChecker(ctx, dir, opts)
	if err != nil {
		return nil, fmt.Errorf("check %s: %w", dir, err)
	}
	defer closeIt()
	if err := c.run(); err != nil {
		return nil, fmt.Errorf("check %s: %w", dir, err)
	}
	return c.report, nil
}

// openChecker opens a directory, locked so that no process writes to it before closeIt is called.
func openChecker(ctx context.Context, dir string, opts CheckOptions) (c *checker, closeIt func(), err error) {
	d, err := mmapio.OpenDir(dir, false)
	if err != nil {
		return nil, nil, err
	}
	c = newChecker(ctx, d, opts)
	lock, err := mmapio.LockShared(d, format.LockName)
	switch {
	case err == nil:
		return c, func() { _, _ = lock.Close(), d.Close() }, nil // read only
	case errors.Is(err, fs.ErrNotExist):
		c.note(format.LockName, "there is no such file, so nothing keeps a process from opening the database meanwhile")
		return c, func() { _ = d.Close() }, nil
	}
	return nil, nil, errors.Join(err, d.Close())
}

// checker is a check under way.
type checker struct {
	ctx      context.Context
	opts     CheckOptions
	dir      mmapio.Dir
	report   *Report
	progress progress
	findings int     // also those omitted
	salvage  *Repair // what of the logs is saved; nil unless a copy is to be made

	checkpoints map[uint64]*checkpoint
	logs        map[uint64]*log
	generations struct{ checkpoints, logs []uint64 } // of the files that are there, rising

	version, next *format.VersionFile // what version and newVersion say; nil if they say nothing
	pointer       *format.VersionFile // what counts; nil if nothing intact says where to start
	rebuilt       bool                // pointer was found out from the checkpoints
	uuid          format.UUID
	kept          uint64 // files of generations below it are not needed
}

func newChecker(ctx context.Context, d mmapio.Dir, opts CheckOptions) *checker {
	opts.MaxFindings = cmp.Or(opts.MaxFindings, defaultMaxFindings)
	return &checker{
		ctx: ctx, opts: opts, dir: d, report: &Report{Dir: d.Path(), Compared: []uint64{}, Files: []File{}, Findings: []Finding{}},
		progress:    progress{tell: opts.Progress},
		checkpoints: map[uint64]*checkpoint{}, logs: map[uint64]*log{},
	}
}

func (c *checker) run() error {
	if err := c.list(); err != nil {
		return err
	}
	if len(c.logs) == 0 && len(c.checkpoints) == 0 && !c.has(format.VersionName) && !c.has(format.NewVersionName) {
		return ErrNoDatabase
	}
	c.readPointers()
	for _, n := range c.generations.checkpoints {
		if err := c.verifyCheckpoint(c.checkpoints[n]); err != nil {
			return err
		}
	}
	for _, n := range c.generations.logs {
		if err := c.readLogHead(c.logs[n]); err != nil {
			return err
		}
	}
	c.salvage.distrustPointers(c)
	unfinished, err := c.choosePointer()
	if err != nil {
		return err
	}
	c.checkIdentities()
	c.checkCheckpoints(unfinished)
	if err := c.salvage.begin(c, unfinished); err != nil {
		return err
	}
	if err := c.checkLogs(unfinished); err != nil {
		return err
	}
	c.judge()
	c.finish()
	return c.ctx.Err()
}

// list reads what is there and what is to be done.
func (c *checker) list() error {
	names, err := c.dir.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		kind, generation := KindByName(name)
		f := File{Name: name, Kind: kind, Generation: generation}
		info, err := os.Lstat(filepath.Join(c.dir.Path(), name))
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() {
			f.Size = info.Size()
		}
		c.report.Files = append(c.report.Files, f)
		switch {
		case name == "lost+found":
		case kind == KindForeign:
			c.note(name, "it is no file of a database")
		case !info.Mode().IsRegular():
			c.add(Finding{File: name, Offset: -1, Severity: Damage, What: errNotRegular.Error(), Err: errNotRegular})
		case kind == KindTemporary:
			c.note(name, "it was being written when a process stopped; the next open removes it")
		case kind == KindLog:
			c.logs[generation] = &log{generation: generation, name: name, size: f.Size}
		case kind == KindCheckpoint:
			c.checkpoints[generation] = &checkpoint{generation: generation, name: name, size: f.Size}
		}
	}
	for n := range c.logs {
		c.generations.logs = append(c.generations.logs, n)
		c.progress.total += c.logs[n].size
	}
	for n := range c.checkpoints {
		c.generations.checkpoints = append(c.generations.checkpoints, n)
		c.progress.total += c.checkpoints[n].size
	}
	slices.Sort(c.generations.logs)
	slices.Sort(c.generations.checkpoints)
	for i, n := range c.generations.checkpoints {
		if i > 0 && !c.opts.Shallow {
			c.progress.total += c.checkpoints[c.generations.checkpoints[i-1]].size + c.checkpoints[n].size
		}
	}
	c.progress.say()
	return nil
}

// has reports whether a file is there.
func (c *checker) has(name string) bool { return c.report.file(name) != nil }

// open opens a file for reading around the page cache. A file that cannot be opened is nil, and damage unless ctx has ended.
func (c *checker) open(name string, size int64, about about, generation uint64) (*source, func()) {
	around, err := mmapio.OpenAround(c.dir, name)
	if err != nil {
		c.add(Finding{File: name, Offset: -1, Severity: Damage, What: fmt.Sprintf("it cannot be opened: %v", err), Err: err,
			about: about, generation: generation})
		return nil, nil
	}
	s := &source{ctx: c.ctx, ra: around, name: name, size: size, count: func(n int64) {
		c.report.Totals.Verified += n
		c.progress.add(n)
	}}
	return s, func() { _ = around.Close() } // read only
}

// add adds a finding.
func (c *checker) add(f Finding) {
	if f.Severity == Damage {
		if file := c.report.file(f.File); file != nil {
			file.Damaged = true
		}
	}
	if c.findings++; c.findings > c.opts.MaxFindings {
		c.report.Omitted++
		c.report.omitted = c.report.omitted || f.Severity == Damage
		return
	}
	if f.Effect == "" {
		f.Effect = EffectNone
	}
	c.report.Findings = append(c.report.Findings, f)
}

// note adds a finding about a whole file that is no damage.
func (c *checker) note(name, what string) {
	c.add(Finding{File: name, Offset: -1, Severity: Note, What: what})
}

// finish sorts and adds up.
func (c *checker) finish() {
	r := c.report
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset))
	})
	if c.uuid != (format.UUID{}) {
		r.UUID = c.uuid.String()
	}
	for i := range r.Files {
		f := &r.Files[i]
		f.Needed = f.Kind == KindVersion || (f.Kind == KindLog || f.Kind == KindCheckpoint) && f.Generation >= c.kept
		if f.Kind == KindCheckpoint && c.pointer != nil && f.Generation > c.pointer.Generation || f.Name == format.NewVersionName && c.pointer != c.next {
			f.Needed = false
		}
		if f.Needed {
			r.Totals.Files++
			r.Totals.Bytes += f.Size
			r.Totals.Frames += f.Frames
			r.Totals.Operations += f.Operations
		}
	}
	c.progress.done = c.progress.total
	c.progress.say()
}
