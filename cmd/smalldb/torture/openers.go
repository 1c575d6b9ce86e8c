package torture

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// openers is how many images are opened at the same time: an open waits for the disk more than it computes.
const openers = 4

// kept is where an image that breaks a promise is kept as it was before it was opened.
const kept = "as-it-was"

// trialImage is a directory to be written and judged.
type trialImage struct {
	image mmapiotest.Image
	what  string                 // how it came about, for the evidence
	judge func(dir string) error // of the directory that holds it; called concurrently with others
}

// judgeAll writes and judges n images, which next makes, one after the other and in this goroutine. It returns the first error.
func (r *run) judgeAll(ctx context.Context, n int, next func() trialImage) error {
	var first error
	var all sync.WaitGroup
	images := make(chan trialImage)
	for i := range openers {
		dir := filepath.Join(r.dir, fmt.Sprintf("scratch-%d", i))
		all.Go(func() {
			for t := range images {
				err := t.image.WriteTo(dir)
				if err == nil {
					err = t.judge(dir)
				}
				r.checked()
				if err != nil {
					r.mu.Lock()
					if first == nil {
						first = r.keep(err, &t)
						r.evidence.Cut = t.what + "; opened in " + dir
					}
					r.mu.Unlock()
				}
			}
		})
	}
	for i := 0; i < n && !r.over(ctx, i) && !r.has(&first); i++ {
		images <- next()
	}
	close(images)
	all.Wait()
	return first
}

// has reports whether there is an error.
func (r *run) has(err *error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return *err != nil
}

// keep keeps the image that breaks a promise, if err says that it does.
func (r *run) keep(err error, t *trialImage) error {
	if !errors.Is(err, errViolation) {
		return err
	}
	return errors.Join(err, t.image.WriteTo(filepath.Join(r.dir, kept)))
}
