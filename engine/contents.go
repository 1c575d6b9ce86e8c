package engine

import (
	"slices"
	"strings"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// contents are the files of a data directory, by what their names say.
type contents struct {
	logs        []uint64 // generations, rising
	checkpoints []uint64 // generations, rising
	version     bool
	newVersion  bool
	spare       bool
	temporary   []string // left by a crash
	foreign     []string // not ours
}

func readContents(dir mmapio.Dir) (*contents, error) {
	names, err := dir.Names()
	if err != nil {
		return nil, err
	}
	c := new(contents)
	for _, name := range names {
		c.add(name)
	}
	slices.Sort(c.logs)
	slices.Sort(c.checkpoints)
	return c, nil
}

func (c *contents) add(name string) {
	if n, ok := format.ParseLogName(name); ok {
		c.logs = append(c.logs, n)
		return
	}
	if n, ok := format.ParseCheckpointName(name); ok {
		c.checkpoints = append(c.checkpoints, n)
		return
	}
	switch {
	case name == format.VersionName:
		c.version = true
	case name == format.NewVersionName:
		c.newVersion = true
	case name == format.SpareName:
		c.spare = true
	case isTemporary(name):
		c.temporary = append(c.temporary, name)
	case name != format.LockName && name != "lost+found": // the root of a file system may be a data directory
		c.foreign = append(c.foreign, name)
	}
}

// newestLog is the generation of the newest log; 0 if there is none.
func (c *contents) newestLog() uint64 {
	if len(c.logs) == 0 {
		return 0
	}
	return c.logs[len(c.logs)-1]
}

// isTemporary reports whether this package gives such a name to a file that it is writing.
func isTemporary(name string) bool {
	whole, ok := strings.CutSuffix(name, format.TempSuffix)
	if !ok {
		return false
	}
	_, checkpoint := format.ParseCheckpointName(whole)
	return checkpoint || name == claimedName || whole == format.SpareName
}

// unfinished reports whether what is here may be left by a creation that a crash ended before its commit
// point: nothing, or nothing beyond the first generation.
func (c *contents) unfinished() bool {
	first := func(generations []uint64) bool {
		return len(generations) == 0 || len(generations) == 1 && generations[0] == 1
	}
	return !c.version && first(c.logs) && first(c.checkpoints)
}
