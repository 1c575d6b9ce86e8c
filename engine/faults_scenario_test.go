package engine_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// faultScenario is a short run of which every call is to fail once.
type faultScenario struct {
	name    string
	image   mmapiotest.Image  // what is there at first
	model   map[string]string // its state
	seq     uint64            // its operations
	sync    engine.SyncMode
	damaged bool // the first open has something to repair
	scrubs  bool // the scrubber is not switched off
	spoiled bool // and finds damage that no read and no open meets
	script  func(r *faultRun)
}

// count performs the scenario without a fault, and returns where its calls that can fail in a kind came from, in order.
func (s *faultScenario) count(t *testing.T, kind *faultKind) []string {
	t.Helper()
	r := newFaultRun(s, kind, 0, inMemory(t))
	require.Empty(t, r.perform(), s.name)
	return r.plan.counted
}

// prepared performs a script without a fault and without end, and returns a scenario that begins with what it leaves.
func prepared(t *testing.T, script func(r *faultRun)) faultScenario {
	t.Helper()
	r := newFaultRun(&faultScenario{model: map[string]string{}}, &faultKinds[0], 0, inMemory(t))
	script(r)
	require.Empty(t, r.violated)
	image, err := filesOf(r.dir)
	require.NoError(t, err)
	return faultScenario{image: image, model: r.model, seq: r.seq}
}

// with is the scenario that goes on so.
func (s faultScenario) with(name string, script func(r *faultRun)) *faultScenario {
	s.name, s.script = name, script
	return &s
}

// change is the scenario with other bytes in a file; nil removes it.
func (s faultScenario) change(name string, data []byte) faultScenario {
	image := mmapiotest.Image{}
	for n, d := range s.image {
		if n != name {
			image[n] = d
		}
	}
	if data != nil {
		image[name] = data
	}
	s.image = image
	return s
}

// broken is the scenario with a flipped byte in a file, which the first open repairs.
func (s faultScenario) broken(name string, at int) faultScenario {
	data := bytes.Clone(s.image[name])
	data[at] ^= 0x10
	s = s.change(name, data)
	s.damaged = true
	return s
}

// spoil is the scenario with damage in the padding of the newest checkpoint.
func (s faultScenario) spoil(t *testing.T) faultScenario {
	t.Helper()
	name := s.newest(t, "checkpoint.*")
	data := bytes.Clone(s.image[name])
	data[footerOf(t, data).BucketsAt-1] ^= 1
	s = s.change(name, data)
	s.spoiled = true
	return s
}

// torn is the scenario with half of the last frame, which is no frame then; nobody was acknowledged it.
func (s faultScenario) torn(t *testing.T) faultScenario {
	t.Helper()
	name := s.newest(t, "logfile.*")
	data := bytes.Clone(s.image[name])
	end := len(bytes.TrimRight(data, "\x00")) / format.BlockSize * format.BlockSize
	clear(data[end:])
	s = s.change(name, data)
	s.seq--
	delete(s.model, "torn")
	return s
}

// fill fills a log more than half.
func (r *faultRun) fill(key string) { r.batch(key, 5, 7500) }

// newest is the last of the names that match.
func (s faultScenario) newest(t *testing.T, pattern string) string {
	t.Helper()
	last := ""
	for _, name := range s.image.Names() {
		if ok, err := filepath.Match(pattern, name); err == nil && ok {
			last = name
		}
	}
	require.NotEmpty(t, last)
	return last
}

// faultScenarios are short runs that have, between them, every call there is.
func faultScenarios(t *testing.T) []*faultScenario {
	empty := faultScenario{model: map[string]string{}}
	var backup bytes.Buffer
	closed := prepared(t, func(r *faultRun) {
		r.open()
		r.put("anchor", 300)
		r.fill("base")
		r.checkpoint()
		r.fill("base")
		r.checkpoint()
		r.put("tail", 100)
		_, err := r.db.Load().Backup(ctx, &backup)
		require.NoError(t, err)
		r.close()
	})
	killed := prepared(t, func(r *faultRun) {
		r.open()
		r.put("anchor", 300)
		r.fill("base")
		r.checkpoint()
		r.fill("one")
		r.fill("two")
		r.put("tail", 100)
		r.put("torn", 6000)
		r.kill()
	})
	creating := prepared(t, func(r *faultRun) {
		r.rec.KillAtNextWrite(func(op mmapiotest.Op) bool { return op.Name == format.NewVersionName })
		_, err := engine.Open(r.options())
		require.ErrorIs(t, err, mmapiotest.ErrKilled)
	})
	switching := prepared(t, func(r *faultRun) {
		r.open()
		r.put("anchor", 300)
		r.fill("base")
		r.rec.KillAtNextWrite(func(op mmapiotest.Op) bool { return op.Name == format.NewVersionName })
		require.ErrorIs(t, r.db.Load().Checkpoint(ctx), mmapiotest.ErrKilled)
		_ = r.db.Swap(nil).Close()
	})
	none, data, scrubbing := closed, closed, closed
	scrubbing.scrubs = true
	none.sync, data.sync = engine.SyncNone, engine.SyncData
	reopen := func(r *faultRun) {
		r.open()
		r.put("more", 3000)
	}
	return []*faultScenario{
		empty.with("creation", func(r *faultRun) {
			r.open()
			r.put("anchor", 300)
			r.burst("b", 3)
			r.close()
		}),
		closed.with("life", func(r *faultRun) {
			r.open()
			r.scan()
			r.put("anchor", 300)
			r.putUntil("expiring")
			r.remove("base2")
			r.conditionFails()
			r.checkpoint()
			r.backup()
			r.close()
		}),
		closed.with("checkpoints", func(r *faultRun) { // the last ones recycle logs, and the close removes those that are too many
			r.open()
			for range 2 {
				r.put("more", 3000)
				r.checkpoint()
				r.unmapped()
			}
			r.fill("one")
			r.fill("two")
			r.close()
		}),
		closed.with("open, kill and open", func(r *faultRun) {
			r.open()
			r.put("more", 3000)
			r.kill()
			r.open()
			r.scan()
			r.close()
		}),
		closed.with("large group", func(r *faultRun) {
			r.open()
			r.batch("large", 2, 525_000)
			r.put("more", 10)
		}),
		data.with("sync=data", func(r *faultRun) {
			r.open()
			r.fill("one")
			r.fill("two")
		}),
		none.with("sync=none", func(r *faultRun) {
			r.open()
			r.fill("one")
			r.fill("two")
			r.close()
		}),
		killed.torn(t).with("recovery", reopen),
		switching.with("recovery of a switch", (*faultRun).open),
		creating.with("recovery of a creation", (*faultRun).open),
		creating.change(format.NewVersionName, nil).with("creation that was not finished", (*faultRun).open),
		scrubbing.with("scrub", func(r *faultRun) {
			r.open()
			r.put("more", 3000)
			r.scrubbed()
		}),
		scrubbing.spoil(t).with("repair while open", func(r *faultRun) {
			r.open()
			r.put("more", 3000)
			r.scrubbed()
			r.checkpoint()
		}),
		empty.with("restore", func(r *faultRun) { r.restore(closed, backup.Bytes()) }),
		closed.broken(format.VersionName, 20).with("version damaged", reopen),
		closed.broken(closed.newest(t, "checkpoint.*"), 50).with("checkpoint damaged", reopen),
	}
}
