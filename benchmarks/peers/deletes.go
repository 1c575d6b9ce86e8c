package main

import (
	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/report"
)

const (
	deleteSteps = 20
	// laterCheckpoints are those after which nothing of what was deleted is kept for a repair.
	laterCheckpoints = 2
)

// deletesSection deletes everything.
func (b *bench) deletesSection() error {
	part := &report.Part{Title: "Deleting everything", Text: "64 goroutines delete all " + count(b.keys) + " keys; then a checkpoint, and two more, each after one operation: the checkpoint " +
		"before the last, and the logs since, are kept for repairs. A scan finds nothing in the end. The log files that wait to be used again stay."}
	rate := part.Curve(report.Curve{Name: "Deletes by progress", X: "percent deleted", Unit: report.PerSecond})
	part.Facts.Heads = []string{"before", "all deleted", "after a checkpoint", "after two more"}
	b.results.AddPart(part)
	e, err := b.loadOurs(b.path("deletes"), b.keys, 0)
	if err != nil {
		return err
	}
	defer b.discard(e)
	var s states
	if err := b.state(e, &s, b.keys); err != nil {
		return err
	}
	step := max(1, b.keys/deleteSteps)
	reply, err := e.agent.Do(agent.Request{Do: agent.Delete, N: b.keys, Workers: setsOfMany, Step: step})
	if err != nil {
		return err
	}
	last := 0.0
	for i, t := range reply.Times {
		rate.Add("64 writers", 100*float64(i+1)/float64(len(reply.Times)), float64(step)/(t.Seconds()-last))
		last = t.Seconds()
	}
	if err := b.state(e, &s, 0); err != nil {
		return err
	}
	compact, err := e.agent.Do(agent.Request{Do: agent.Compact})
	if err != nil {
		return err
	}
	if err := b.state(e, &s, 0); err != nil {
		return err
	}
	for range laterCheckpoints {
		if err := e.do(agent.Request{Do: agent.Delete, N: 1, Workers: 1, Step: 1}, agent.Request{Do: agent.Compact}); err != nil {
			return err
		}
	}
	if err := b.state(e, &s, 0); err != nil {
		return err
	}
	part.Fact("get of a key that was, or is not, set", report.Nanos, "1 goroutine", s.get...)
	part.Fact("scan of all keys, the first", report.Millis, "it sorts what was written since the checkpoint", s.scan...)
	part.Fact("scan of all keys, again", report.Millis, "", s.again...)
	part.Fact("Go heap", report.MiB, "", s.heap...)
	part.Fact("resident memory", report.MiB, "mapped files included", s.resident...)
	part.Fact("disk", report.MiB, "files in the directory, and removed ones that are still mapped", s.disk...)
	b.say("%s deleted at %.0f/s, checkpoint %.0f ms", count(b.keys), reply.Rate(), millis(compact.Took))
	return e.leave()
}

// states are figures of one store at several times.
type states struct{ get, scan, again, heap, resident, disk []float64 }

// state adds those of now. left is how many keys there are: all or none.
func (b *bench) state(e *entrant, s *states, left uint64) error {
	for _, to := range []*[]float64{&s.scan, &s.again} {
		walk, err := e.agent.Do(agent.Request{Do: agent.Walk, N: left})
		if err != nil {
			return err
		}
		*to = append(*to, millis(walk.Took))
	}
	get, err := b.costOf(e, agent.Request{Do: agent.Get, N: b.keys, Workers: 1, Gone: left == 0, For: b.get})
	if err != nil {
		return err
	}
	s.get = append(s.get, get)
	return b.weight(e, s)
}

// weight adds what it takes now.
func (b *bench) weight(e *entrant, s *states) error {
	m, err := e.agent.Do(agent.Request{Do: agent.Memory})
	if err != nil {
		return err
	}
	s.heap = append(s.heap, float64(m.HeapBytes)/mebibyte)
	s.resident = append(s.resident, float64(m.Resident)/mebibyte)
	s.disk = append(s.disk, float64(m.Disk+m.Unlinked)/mebibyte)
	return nil
}
