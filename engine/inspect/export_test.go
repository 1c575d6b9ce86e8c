package inspect

import (
	"context"

	"github.com/tongpengdl/small-db/mmapio"
)

// NewRepairOf is NewRepair of a directory that is open already, without its lock.
func NewRepairOf(ctx context.Context, d mmapio.Dir) (*Repair, error) {
	r := newRepair(ctx, newChecker(ctx, d, CheckOptions{Shallow: true}), func() {})
	return r, r.run()
}
