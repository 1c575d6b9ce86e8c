package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// side says which of the two revisions is meant.
type side int

const (
	baseSide side = iota
	newSide
)

func (s side) String() string { return [...]string{"base", "new"}[s] }

// revision is one of the two states of the repository.
type revision struct {
	side   side
	label  string // for people
	commit string // "" is the working tree
	top    string // root of the repository

	tree   string // directory with its files
	binary string // its test binary
	output string // file with what its runs have printed
}

// revisions finds the two that are to be compared.
func (t *tools) revisions(o *options) (base, tested *revision, err error) {
	top, err := t.git(o.repository, "rev-parse", "--show-toplevel")
	if err != nil {
		return nil, nil, fmt.Errorf("%s is not in a git repository: %w", o.repository, err)
	}
	baseName, newName := o.base, o.new
	if baseName == "" {
		baseName = "HEAD"
		if newName == "" {
			changes, err := t.git(top, "--no-optional-locks", "status", "--porcelain")
			if err != nil {
				return nil, nil, err
			}
			if changes == "" {
				baseName, newName = "HEAD~1", "HEAD"
			}
		}
	}
	if base, err = t.named(baseSide, baseName, top); err != nil {
		return nil, nil, err
	}
	tested = &revision{side: newSide, label: "the working tree", top: top, tree: top}
	if newName != "" {
		if tested, err = t.named(newSide, newName, top); err != nil {
			return nil, nil, err
		}
	}
	for _, r := range []*revision{base, tested} {
		r.binary, r.output = filepath.Join(t.scratch, r.side.String()+".test"), filepath.Join(t.scratch, r.side.String()+".txt")
	}
	return base, tested, nil
}

var errUnknownRevision = errors.New("unknown revision")

// named finds a commit by any name that git understands.
func (t *tools) named(s side, name, top string) (*revision, error) {
	commit, err := t.git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}")
	if t.ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w %q in %s; git log --oneline lists those there are", s, errUnknownRevision, name, top)
	}
	line, err := t.git(top, "log", "-1", "--format=%h %s", commit)
	if err != nil {
		return nil, err
	}
	return &revision{
		side: s, label: fmt.Sprintf("%s (%s)", name, line), commit: commit, top: top, tree: filepath.Join(t.scratch, s.String()),
	}, nil
}

// checkOut writes the files of a commit, by an index of its own: nothing in the repository or its .git changes, so nothing has to be undone.
func (t *tools) checkOut(r *revision) error {
	if r.commit == "" {
		return nil
	}
	index := []string{"GIT_INDEX_FILE=" + filepath.Join(t.scratch, r.side.String()+".index")}
	if _, err := t.run(r.top, index, "git", "read-tree", r.commit); err != nil {
		return err
	}
	_, err := t.run(r.top, index, "git", "checkout-index", "--all", "--quiet", "--prefix="+r.tree+string(filepath.Separator))
	return err
}

var errDoesNotBuild = errors.New("does not build")

// build makes the test binary. Paths are left out of it, so equal sources give equal binaries wherever they lie.
func (t *tools) build(r *revision, o *options) error {
	dir := filepath.Join(r.tree, o.pkg)
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("%s, %s, has no package %s; -package names another one: %w", r.side, r.label, o.pkg, err)
	}
	said, err := t.run(dir, nil, "go", "test", "-c", "-trimpath", "-o", r.binary, ".")
	if t.ctx.Err() != nil {
		return err
	}
	if err != nil {
		return fmt.Errorf("%s, %s, %w: %w", r.side, r.label, errDoesNotBuild, err)
	}
	if _, err := os.Stat(r.binary); err != nil {
		return fmt.Errorf("%s, %s, has no benchmarks in %s: %s", r.side, r.label, o.pkg, strings.TrimSpace(said))
	}
	return nil
}
