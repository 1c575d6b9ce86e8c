package main

import (
	"context"

	"github.com/tongpengdl/small-db/engine"
)

func delVerb() *verb {
	return &verb{
		name: "del", args: "KEY", min: 1, max: 1, summary: "delete a key",
		details: "A key that is not set is no error. A condition that does not hold is exit status 4; conditions go with -dir only.",
		prepare: func(c *call) func(context.Context) error {
			t, k, when := newTarget(c), newKeys(c), newConditions(c, true)
			t.small = true
			return func(ctx context.Context) error {
				key, err := k.key(c.args[0])
				if err != nil {
					return err
				}
				return t.use(ctx, func(s store) error {
					version, err := s.delete(ctx, key, *when)
					return c.written(version, err)
				})
			}
		},
	}
}

// written says that a write is durable, if that is asked for.
func (c *call) written(version engine.Version, err error) error {
	if err != nil || !c.json {
		return err
	}
	return c.printJSON(c.stdout, struct {
		OK      bool   `json:"ok"`
		Version string `json:"version,omitempty"`
	}{true, versionText(version)})
}

// versionText is empty for a version that is not known.
func versionText(v engine.Version) string {
	if v == (engine.Version{}) {
		return ""
	}
	return v.String()
}
