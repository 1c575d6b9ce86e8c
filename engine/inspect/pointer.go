package inspect

import (
	"errors"
	"fmt"
	"io"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// readPointers reads version and newVersion.
func (c *checker) readPointers() {
	var err error
	if c.has(format.VersionName) {
		if c.version, err = readVersion(c.dir, format.VersionName); err != nil {
			c.add(Finding{File: format.VersionName, Offset: 0, Severity: Damage, What: err.Error(), Err: err, about: aboutPointer})
		}
	}
	if !c.has(format.NewVersionName) {
		return
	}
	if c.next, err = readVersion(c.dir, format.NewVersionName); err != nil {
		c.add(Finding{File: format.NewVersionName, Offset: 0, Severity: Note, Err: err,
			What: fmt.Sprintf("a switch of checkpoints was cut off before this was written (%v); the next open removes it", err)})
	}
}

// readVersion reads version or newVersion.
func readVersion(d mmapio.Dir, name string) (*format.VersionFile, error) {
	around, err := mmapio.OpenAround(d, name)
	if err != nil {
		return nil, err
	}
	defer around.Close()
	b := make([]byte, min(around.Size(), format.VersionFileLen+1))
	if n, err := around.ReadAt(b, 0); n < len(b) && err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	v, err := format.DecodeVersionFile(b)
	if err != nil {
		return nil, err
	}
	return &v, nil
}

// choosePointer finds out which pointer counts, and says what is wrong with it. unfinished says that the files are
// what a creation leaves that was cut off before its end: no operation was ever acknowledged then.
func (c *checker) choosePointer() (unfinished bool, err error) {
	v, next := c.version, c.next
	switch {
	case next != nil && (v == nil || next.UUID == v.UUID && next.Generation > v.Generation):
		c.pointer = next
		c.notePending(next)
	case v != nil:
		c.pointer = v
		c.checkStale()
	case !c.has(format.VersionName):
		if unfinished, err = c.unfinishedCreation(); err != nil || unfinished {
			return unfinished, err
		}
		c.missing(format.VersionName, aboutPointer, 0, "it is missing, but there are logs or checkpoints")
		c.rebuildPointer()
	default:
		c.rebuildPointer()
	}
	if c.pointer == nil {
		c.kept = min(first(c.generations.logs), first(c.generations.checkpoints))
		return false, nil
	}
	c.report.Generation, c.report.Previous = c.pointer.Generation, c.pointer.Previous
	c.kept = c.pointer.Generation
	if c.pointer.Previous != 0 {
		c.kept = c.pointer.Previous
	}
	return false, nil
}

// notePending says what newVersion means that counts.
func (c *checker) notePending(next *format.VersionFile) {
	switch {
	case c.version != nil:
		c.note(format.NewVersionName, fmt.Sprintf("a switch to %s was cut off just before its end; the next open completes it", format.CheckpointName(next.Generation)))
	case c.has(format.VersionName): // damage, which is reported
	case next.Generation == 1:
		c.note(format.NewVersionName, "a creation was cut off just before its end; the next open completes it")
	default:
		c.missing(format.VersionName, aboutPointer, 0, fmt.Sprintf("it is missing; %s says what it must", format.NewVersionName))
	}
}

// checkStale judges a newVersion that does not count.
func (c *checker) checkStale() {
	switch next := c.next; {
	case next == nil:
	case next.UUID != c.version.UUID:
		err := fmt.Errorf("%w: it belongs to database %v, not to %v", format.ErrField, next.UUID, c.version.UUID)
		c.add(Finding{File: format.NewVersionName, Offset: 0, Severity: Damage, What: err.Error(), Err: err, Follows: "nothing is lost: the next open removes it"})
	default:
		c.note(format.NewVersionName, "it is older than version; the next open removes it")
	}
}

// unfinishedCreation reports whether there is nothing that a creation does not leave that never ended.
func (c *checker) unfinishedCreation() (bool, error) {
	only := func(generations []uint64) bool {
		return len(generations) == 0 || len(generations) == 1 && generations[0] == 1
	}
	if !only(c.generations.logs) || !only(c.generations.checkpoints) {
		return false, nil
	}
	if l := c.logs[1]; l != nil {
		if !l.headIntact() {
			return false, nil // it got its name when its head was durable
		}
		used, err := c.holdsFrames(l)
		if used || err != nil {
			return false, err
		}
	}
	c.note(format.VersionName, "there is none: the creation of this database was cut off, and nothing was ever stored in it; open it with Options.Create (-create) to finish it")
	return true, nil
}

// rebuildPointer finds out what version must have said: the newest intact checkpoint with all logs since is the state.
func (c *checker) rebuildPointer() {
	all := c.generations.checkpoints
	for i := len(all) - 1; i >= 0; i-- {
		p := c.checkpoints[all[i]]
		if p.reader == nil {
			continue
		}
		h := p.reader.Header()
		c.pointer = &format.VersionFile{
			UUID: h.UUID, Generation: p.generation, Epoch: h.Position.Epoch,
			CheckpointLen: p.reader.Footer().FileLen, CheckpointSum: p.reader.FooterSum(),
		}
		if i > 0 {
			c.pointer.Previous = all[i-1]
		}
		c.rebuilt = true
		return
	}
}

// missing adds the finding that a file is not there.
func (c *checker) missing(name string, about about, generation uint64, what string) {
	err := fmt.Errorf("%s: %w", name, errMissing)
	c.add(Finding{File: name, Offset: -1, Severity: Damage, What: what, Err: err, about: about, generation: generation})
}

// errMissing is the error of a file that must be there and is not.
var errMissing = errors.New("the file is missing")

// first is the first of some generations, or a very high one if there is none.
func first(generations []uint64) uint64 {
	if len(generations) == 0 {
		return ^uint64(0)
	}
	return generations[0]
}

// checkIdentities finds the UUID of the database and holds all files against it.
func (c *checker) checkIdentities() {
	switch {
	case c.pointer != nil:
		c.uuid = c.pointer.UUID
	default:
		for _, n := range c.generations.logs {
			if l := c.logs[n]; l.idErr == nil {
				c.uuid = l.id.UUID
				break
			}
		}
	}
	for _, n := range c.generations.checkpoints {
		if p := c.checkpoints[n]; p.reader != nil {
			if h := p.reader.Header(); c.uuid != (format.UUID{}) && h.UUID != c.uuid {
				c.reject(p, 0, fmt.Errorf("%w: it belongs to database %v, not to %v", format.ErrField, h.UUID, c.uuid))
			}
		}
	}
	for _, n := range c.generations.logs {
		if l := c.logs[n]; l.idErr == nil && c.uuid != (format.UUID{}) && l.id.UUID != c.uuid && n >= c.kept {
			l.idErr = fmt.Errorf("%w: it belongs to database %v, not to %v", format.ErrField, l.id.UUID, c.uuid)
		}
	}
}
