package torture

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// rot is a cycle: copies of a closed database are damaged and opened.
func (r *run) rot(ctx context.Context) error {
	dir := filepath.Join(r.dir, "closed")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	l := r.newLife(dir)
	l.LogFileBytes = 64 << 10
	m, told := newModel(), []event{}
	var mu sync.Mutex
	err := r.record(l, l.options(dir), func(e event) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, e)
	}, true)
	r.evidence = evidence{Life: l, Events: told}
	if err != nil {
		return err
	}
	r.count(told)
	for _, e := range told {
		if err := m.note(e); err != nil {
			return err
		}
	}
	opts := l.options(dir)
	opts.DisableBackgroundCheckpoint = true
	st, err := r.judgeDir(opts, m)
	if err != nil {
		return err
	}
	if err := diskFailure(told); err != nil {
		return err
	}
	image, err := readImage(dir)
	if err != nil {
		return err
	}
	return r.judgeAll(ctx, copiesPerRun, func() trialImage {
		copied, how := damaged(r.rng, image)
		return trialImage{copied, how, func(dir string) error { return r.judgeDamaged(l, dir, settled(st)) }}
	})
}

// readImage reads the files of a database.
func readImage(dir string) (mmapiotest.Image, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	image := mmapiotest.Image{}
	for _, e := range entries {
		if e.Name() == format.LockName {
			continue
		}
		if image[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return image, nil
}

// damaged changes one file of a copy in one place.
func damaged(rng *rand.Rand, image mmapiotest.Image) (copied mmapiotest.Image, how string) {
	names := image.Names()
	name := names[rng.IntN(len(names))]
	copied = maps.Clone(image)
	copied[name], how = damage(rng, image[name])
	return copied, name + ": " + how
}

// judgeDamaged opens a damaged copy: it is exactly what it was, or an error says that it is damaged.
func (r *run) judgeDamaged(l *life, dir string, m *model) error {
	opts := l.options(dir)
	opts.DisableBackgroundCheckpoint = true
	s, err := r.open(opts)
	switch {
	case refusal(err):
		r.change(func(out *Result) { out.Copies++; out.CopiesRefused++ })
		return nil
	case err != nil:
		return undamaged("a damaged copy fails in another way", err)
	}
	refusals, err := verifyDamaged(s, m)
	repaired := len(s.Repaired()) > 0
	_ = s.Close() // it may meet the damage
	r.change(func(out *Result) {
		switch out.Copies++; {
		case refusals > 0:
			out.CopiesPartly++
		case repaired:
			out.CopiesRepaired++
		default:
			out.CopiesExact++
		}
	})
	return err
}

// refusal reports whether an error says that bytes are damaged.
func refusal(err error) bool {
	return errors.Is(err, engine.ErrCorrupt) || errors.Is(err, format.ErrVersion)
}

// damage changes a block of 4 KiB, and says how.
func damage(rng *rand.Rand, data []byte) (out []byte, how string) {
	out = bytes.Clone(data)
	if len(out) == 0 {
		return []byte{byte(rng.Uint32())}, "a byte more"
	}
	at := rng.IntN(len(out))
	block := at / format.BlockSize * format.BlockSize
	sector := out[at/512*512 : min(len(out), at/512*512+512)]
	switch rng.IntN(5) {
	case 0, 1:
		out[at] ^= 1 << rng.IntN(8)
		how = "a bit flipped at "
	case 2:
		clear(sector)
		how = "zeros in the sector at "
	case 3:
		copy(sector, bytes.Repeat([]byte{0xff}, len(sector)))
		how = "ones in the sector at "
	default:
		for i := block; i < min(len(out), block+format.BlockSize); i++ {
			out[i] = byte(rng.Uint32())
		}
		how = "noise in the block at "
	}
	return out, how + strconv.Itoa(at)
}
