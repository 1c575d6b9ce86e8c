package inspect

import (
	"fmt"
	"slices"

	"github.com/tongpengdl/small-db/format"
)

// maxGap is how many logs are looked for one by one where none is: names may say anything.
const maxGap = 1000

// stops are the generations, rising, of which there is a log or a checkpoint that is needed, or ought to be one.
func (c *checker) stops() (out []uint64) {
	for _, n := range c.generations.logs {
		switch {
		case n < c.kept:
			c.note(format.LogName(n), "it is not needed any more; the next open removes it")
		case c.isStray(c.logs[n], out):
			c.stray(c.logs[n])
		default:
			out = append(out, n)
		}
	}
	to := uint64(0)
	if len(out) > 0 {
		to = out[len(out)-1]
	}
	if c.pointer != nil {
		to = max(to, c.pointer.Generation)
		out = append(out, c.kept, c.pointer.Generation)
	}
	for _, n := range c.generations.checkpoints {
		if n >= c.kept && n <= to {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// strayGap is how many logs must be missing before one that nothing shows to belong here, for it to be somebody's file with such a name and not
// the end of the history: so many files are not lost together with its first two blocks.
const strayGap = 8

// isStray reports whether a log is no part of the history, for all that can be seen, and stands far behind those before it.
func (c *checker) isStray(l *log, before []uint64) bool {
	n := l.generation
	last := c.kept // where a log ought to be at least
	if c.pointer != nil {
		last = c.pointer.Generation
	}
	if len(before) > 0 {
		last = max(last, before[len(before)-1])
	}
	if all := c.generations.checkpoints; len(all) > 0 && all[len(all)-1] < n {
		last = max(last, all[len(all)-1])
	}
	if c.uuid == (format.UUID{}) || n <= last || n-last <= strayGap || c.checkpoints[n] != nil || c.logs[n+1].names(l) {
		return false
	}
	if l.identified() {
		return l.id.UUID != c.uuid || l.id.Generation != n
	}
	return l.id.UUID != c.uuid && (l.beforeErr != nil || l.before.Generation != n-1)
}

// stray adds the finding that a file has the name of a log and is none of this database.
func (c *checker) stray(l *log) {
	err := fmt.Errorf("%w: nothing in it belongs to database %v, and the logs before it are missing", format.ErrField, c.uuid)
	c.add(Finding{File: l.name, Offset: -1, Severity: Damage, What: err.Error(), Err: err, Effect: EffectRepairable, inPlace: true, generation: l.generation,
		Follows: fmt.Sprintf("nothing is lost: it is no log of this database; to repair: stop every process, move %s away, and open the directory", l.name)})
	if c.salvage != nil {
		c.salvage.refuse(l.name, err.Error())
	}
}

// missingRun adds the finding that more logs are missing than are looked for one by one.
func (c *checker) missingRun(from, to uint64) {
	what := fmt.Sprintf("the logs up to %s are missing", format.LogName(to))
	c.missing(format.LogName(from), aboutLog, from, what)
	c.salvage.lose(format.LogName(from), -1, what, true)
}
