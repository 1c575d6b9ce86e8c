package inspect

import (
	"fmt"

	"github.com/tongpengdl/small-db/format"
)

// about is what a finding is about: it decides what follows from it.
type about uint8

const (
	aboutNothing    about = iota // nothing follows, or it is said already
	aboutPointer                 // version
	aboutCheckpoint              // bytes of a checkpoint
	aboutContent                 // a checkpoint that is whole and holds something else than it must
	aboutLogHead                 // block 0, block 1 or the trailer of a log, which its neighbours repeat
	aboutLog                     // frames of a log, or all of it
)

// judge says of each damage what follows from it.
func (c *checker) judge() {
	for i := range c.report.Findings {
		f := &c.report.Findings[i]
		if f.Severity != Damage {
			continue
		}
		switch f.about {
		case aboutNothing:
		case aboutPointer:
			c.judgePointer(f)
		case aboutCheckpoint, aboutContent:
			c.judgeCheckpoint(f)
		case aboutLogHead, aboutLog:
			c.judgeLog(f)
		}
		if f.Follows == "" {
			f.Follows = "nothing is lost: no state needs it"
		}
	}
}

func (c *checker) judgePointer(f *Finding) {
	switch {
	case c.pointer == nil:
		f.Effect, f.Follows = EffectLost, "there is no intact checkpoint that it could be made from"
	case c.rebuilt:
		f.Effect, f.inPlace = EffectRepairable, true
		f.Follows = fmt.Sprintf("nothing is lost: it can be made from %s and the logs since; to repair: stop every process, ", format.CheckpointName(c.pointer.Generation))
		if !c.has(f.File) {
			f.Follows += "make an empty file of that name, "
		}
		f.Follows += "and open the directory"
	default:
		f.inPlace = true
		f.Effect, f.Follows = EffectRepairable, fmt.Sprintf("nothing is lost: %s says the same, and the next open puts it in its place", format.NewVersionName)
	}
}

func (c *checker) judgeCheckpoint(f *Finding) {
	if c.pointer == nil {
		f.Effect, f.Follows = EffectLost, "no other checkpoint is intact: what only it held is lost"
		return
	}
	base, previous := c.pointer.Generation, c.pointer.Previous
	p := c.checkpoints[f.generation]
	switch {
	case f.generation > base, f.generation < c.kept:
	case f.about == aboutContent:
		f.Effect, f.Follows = EffectLost, "both verify, so one of the two was written wrongly: a backup tells which"
	case f.generation != base && c.checkpoints[base].usable():
		f.Follows = fmt.Sprintf("nothing is lost, but %s could not be repaired until the next checkpoint", format.CheckpointName(base))
	case previous != 0 && c.checkpoints[previous].sound() && c.logsIntact(previous, base):
		f.Effect, f.inPlace = EffectRepairable, true
		f.Follows = fmt.Sprintf("nothing is lost: %s and the logs from %s on hold the same; to repair: stop every process, ", format.CheckpointName(previous), format.LogName(previous))
		if c.has(f.File) {
			f.Follows += fmt.Sprintf("move %s away, ", f.File)
		}
		f.Follows += "and open the directory"
	case p != nil && p.records:
		f.Effect, f.Follows = EffectRepairable, "nothing is lost: all its records are intact, and what is damaged follows from them"
	default:
		f.Effect, f.Follows = EffectLost, "what only the damaged part held is lost: nothing intact holds it"
	}
}

func (c *checker) judgeLog(f *Finding) {
	switch {
	case f.generation < c.kept:
	case c.pointer != nil && f.generation < c.pointer.Generation && c.checkpoints[c.pointer.Generation].sound():
		f.Follows = fmt.Sprintf("nothing is lost, but %s could not be repaired until the next checkpoint", format.CheckpointName(c.pointer.Generation))
	case f.about == aboutLogHead && c.readable(f.generation):
		f.Effect, f.Follows = EffectRepairable, "no operation is lost: what it says follows from its frames and the files beside it"
	case f.FirstSeq != 0 && f.LastSeq != 0:
		f.Effect, f.Follows = EffectLost, fmt.Sprintf("the operations %d to %d are lost unless a backup holds them", f.FirstSeq, f.LastSeq)
	case f.FirstSeq != 0:
		f.Effect, f.Follows = EffectLost, fmt.Sprintf("the operations from %d on are lost unless a backup holds them", f.FirstSeq)
	case c.readable(f.generation):
		f.Effect, f.Follows = EffectRepairable, "no operation is lost: none was in it"
	default:
		f.Effect, f.Follows = EffectLost, "what the damaged part held is lost unless a backup holds it"
	}
}

// logsIntact reports whether every operation of the logs from a generation up to another, which is left out, can be read.
func (c *checker) logsIntact(from, to uint64) bool {
	for n := from; n < to; n++ {
		if !c.readable(n) {
			return false
		}
	}
	return true
}

// readable reports whether every operation of a log can be read.
func (c *checker) readable(n uint64) bool {
	l := c.logs[n]
	return l != nil && l.walked && !l.damaged
}
